// Command provide builds the programs and images that the test packages with the real runner share, runs the given command, and
// removes what it has built. A package that is tested without provide builds its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"runnerd/tests/harness"
)

func main() {
	// The command receives the same signals and ends; then provide removes what it has built.
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
	env, remove, err := harness.Share(context.Background())
	defer remove()
	if err != nil {
		return err
	}
	c := exec.Command(command[0], command[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.Env = os.Stdin, os.Stdout, os.Stderr, append(os.Environ(), env...)
	return c.Run()
}
