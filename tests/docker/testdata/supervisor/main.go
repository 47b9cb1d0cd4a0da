// Command supervisor is process 1 of images that start their plugin again whenever it exits. On SIGUSR1 it kills the plugin.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	kills := make(chan os.Signal, 1)
	signal.Notify(kills, syscall.SIGUSR1)
	for {
		if err := supervise(kills); err != nil {
			fmt.Fprintln(os.Stderr, "supervisor:", err)
			os.Exit(1)
		}
	}
}

// supervise runs the plugin, which is the program in the first argument, until it exits or a signal asks to kill it.
func supervise(kills <-chan os.Signal) error {
	plugin := exec.Command(os.Args[1])
	plugin.Stdout, plugin.Stderr = os.Stdout, os.Stderr
	if err := plugin.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = plugin.Wait() // it is started again in any case
		close(ended)
	}()
	select {
	case <-kills:
		_ = plugin.Process.Kill() // unless it has just ended
		<-ended
	case <-ended:
	}
	return nil
}
