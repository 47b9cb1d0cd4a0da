// Command raw is the program of images that are no plugins: it is not built with an SDK, because none of them can do this.
package main

import (
	"fmt"
	"os"
	"os/signal"
)

// how is set when it is built.
var how = "deaf"

func main() {
	fmt.Println("this is no plugin, but a", how)
	if how == "quitter" {
		fmt.Fprintln(os.Stderr, "cannot find my settings")
		os.Exit(7)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals)
	for s := range signals {
		fmt.Println("deaf to", s)
	}
}
