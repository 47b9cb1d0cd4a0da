package main

import (
	"context"
	"errors"

	"github.com/rs/zerolog"
)

func runDaemon(context.Context, RunConfig, zerolog.Logger) error {
	return errors.New("not wired yet")
}
