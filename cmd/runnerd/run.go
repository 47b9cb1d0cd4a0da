package main

import (
	"context"
	"os"

	"runnerd/infra/logging"
)

type runCommand struct {
	RunConfig `embed:""`
}

// Run checks the settings before anything is touched, and then is a runner until ctx ends.
func (c *runCommand) Run(ctx context.Context) error {
	outliveReaders()
	warnings, err := c.complete()
	if err != nil {
		return wrongSettings(err)
	}
	log, err := logging.New(os.Stderr, c.Self.Log.Format, c.Self.Log.Level)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		log.Warn().Msg(warning)
	}
	return runDaemon(ctx, c.RunConfig, log)
}
