// Package docker tests what users and operators see of the whole program, with a real engine (package harness).
//
// One test takes ten minutes and runs with RUNNERD_LONG=1 only.
package docker

import (
	"context"
	"os"
	"testing"

	"runnerd/tests/harness"
)

// shared is nil if no engine answers.
var shared *harness.Harness

// Images that are not plugins.
var (
	neverPolls string // it never asks for a job
	exitsEarly string // it ends before it asks for one
)

var supervised string // the sample plugin under a process 1 that starts it again

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
