// Command nonplugin is the program of images that are not plugins. It is not built with an SDK, because an SDK would ask for a job.
package main

import (
	"fmt"
	"os"
	"os/signal"
)

// how selects what the program does. It is set at build time.
var how = "never-polls"

func main() {
	fmt.Println("this is not a plugin:", how)
	if how == "exits-early" {
		fmt.Fprintln(os.Stderr, "cannot find my settings")
		os.Exit(7)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals)
	for s := range signals {
		fmt.Println("ignoring", s)
	}
}
