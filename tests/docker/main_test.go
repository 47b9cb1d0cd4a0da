// Package docker tests what users and operators see of the whole program, with a real engine (package rig).
//
// One test takes ten minutes and runs with RUNNERD_LONG=1 only.
package docker

import (
	"context"
	"os"
	"testing"

	"runnerd/tests/rig"
)

// shop is nil if no engine answers.
var shop *rig.Shop

// Images that are no plugins.
var (
	deaf    string // it never asks for a job
	quitter string // it ends before it asks for one
)

var supervised string // the sample plugin under a process 1 that starts it again

func TestMain(m *testing.M) { os.Exit(rig.Main(m, stock)) }

func stock(ctx context.Context, s *rig.Shop) (err error) {
	shop = s
	for ref, how := range map[*string]string{&deaf: "deaf", &quitter: "quitter"} {
		if *ref, err = s.Build(ctx, how, "./testdata/raw", "-X main.how="+how); err != nil {
			return err
		}
	}
	supervised, err = s.Wrap(ctx, s.Blue, "supervisor", "./testdata/supervisor")
	return err
}
