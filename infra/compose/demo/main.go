// Command demo demonstrates a runner on this machine's Docker Engine: it builds the images, starts the stack of
// infra/compose/compose.yaml, runs jobs, kills the runner in the middle of a job, and removes everything.
//
//	images.go   builds the images from static binaries
//	stack.go    runs compose and the engine's command line
//	server.go   calls the server's REST API
//	scenes.go   the steps of the demo
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	imagesOnly := flag.Bool("images-only", false, "build the images, then exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *imagesOnly); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, imagesOnly bool) (err error) {
	heading("Images are built from static binaries, without a registry")
	if err := buildImages(ctx); err != nil || imagesOnly {
		return err
	}
	s, err := newStack(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if downErr := s.down(context.WithoutCancel(ctx)); err == nil {
			err = downErr
		}
	}()
	return runDemo(ctx, s)
}
