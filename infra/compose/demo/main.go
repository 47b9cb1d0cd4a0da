// Command demo shows what a runner does, on this machine's Docker Engine: it makes the images, brings the stack of
// infra/compose/compose.yaml up, gives it work, kills the runner in the middle of a job, and takes everything down.
//
//	images.go   the images, from static binaries
//	stack.go    compose and the engine, by their command lines
//	server.go   the server's REST API
//	story.go    what is shown
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
	imagesOnly := flag.Bool("images-only", false, "make the images and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *imagesOnly); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, imagesOnly bool) (err error) {
	chapter("The images, from static binaries: no registry is asked")
	if err := makeImages(ctx); err != nil || imagesOnly {
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
	return tell(ctx, s)
}
