// Package docker tests what users and operators see of the whole program, with a real engine (package harness).
//
// One test takes ten minutes and runs only with RUNNERD_LONG=1.
package docker

import (
	"context"
	"os"
	"testing"

	"runnerd/tests/harness"
)

// shared is nil if no engine answers.
var shared *harness.Harness

// Images whose program is not a plugin.
var (
	neverPolls string // the program never asks for a job
	exitsEarly string // the program exits before it asks for a job
)

var supervised string // an image of the sample plugin whose process 1 starts the plugin again when it exits

func TestMain(m *testing.M) { os.Exit(harness.Main(m, buildImages)) }

func buildImages(ctx context.Context, s *harness.Harness) (err error) {
	shared = s
	for ref, how := range map[*string]string{&neverPolls: "never-polls", &exitsEarly: "exits-early"} {
		if *ref, err = s.BuildImage(ctx, how, "./testdata/nonplugin", "-X main.how="+how); err != nil {
			return err
		}
	}
	supervised, err = s.WrapImage(ctx, s.Blue, "supervisor", "./testdata/supervisor")
	return err
}
