// Command provide builds the programs and images that the packages with the real runner share, runs the command that is given,
// and removes them. A package that is tested without it builds its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"runnerd/tests/rig"
)

func main() {
	// The command has the same signals, and ends; what was built is removed after that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM)
	err := provide(os.Args[1:])
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		os.Exit(max(ended.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "provide:", err)
		os.Exit(1)
	}
}

func provide(command []string) error {
	env, remove, err := rig.Share(context.Background())
	defer remove()
	if err != nil {
		return err
	}
	c := exec.Command(command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.Env = os.Stdin, os.Stdout, os.Stderr, append(os.Environ(), env...)
	return c.Run()
}
