package main

import (
	"context"
	"os"

	"runnerd/infra/logging"
)

type runCommand struct {
	RunConfig `embed:""`
}

// Run checks all settings before it changes anything, then runs the runner until ctx ends.
func (c *runCommand) Run(ctx context.Context, file *configFile) error {
	ignoreSIGPIPE()
	warnings, err := c.complete()
	if err != nil {
		return configError(file.locate(err))
	}
	stderr, err := logging.NewDroppingWriter(os.Stderr, c.Self.Log.Format)
	if err != nil {
		return err
	}
	defer stderr.Close()
	log, err := logging.New(stderr, c.Self.Log.Format, c.Self.Log.Level)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		log.Warn().Fields(warning.fields).Msg(warning.text)
	}
	return file.locate(runDaemon(ctx, c.RunConfig, log))
}
