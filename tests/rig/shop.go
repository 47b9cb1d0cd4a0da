// Package rig looks at the whole program from outside: the real binary, a real Docker Engine, and plugins built with the
// official Go SDK. The development server, in the test's own process, is the oracle of the protocol; the engine's event
// stream is the oracle of the capacity.
//
// Every test has a World of its own: a server, a state directory, the runner's processes. At its end the world drains the
// runner and looks at what is left: a breach in the ledger, a container, a network, a file in the spool, or the world's marker
// anywhere below the state directory fails the test. What a failed test leaves is removed.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"runnerd/infra/docker"
)

// Shop is what all tests of a package share: programs, and images made of them.
type Shop struct {
	Runnerd string         // with the race detector where that can be built
	Plugin  string         // the sample plugin
	Types   [][]byte       // the plugins' type definitions
	Engine  *client.Client `json:"-"` // to look and meddle from outside

	Blue, Green string // two images of the sample plugin

	root    string // the repository's first directory
	dir     string
	builder *docker.Driver
	images  []string
}

// Main opens the shop, lets open have it, and runs the tests; where no engine answers it runs them without, but with CI=true it
// fails. The result is the process's exit code.
func Main(m *testing.M, open func(context.Context, *Shop) error) int {
	ctx := context.Background()
	s := &Shop{root: "../.."}
	defer s.close()
	err := s.open(ctx, os.Getenv(shared))
	if err == nil {
		err = open(ctx, s)
	}
	switch {
	case err == nil:
	case errors.Is(err, errNoEngine) && os.Getenv("CI") != "true":
		fmt.Fprintln(os.Stderr, "tests are skipped:", err)
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	s.close()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

var errNoEngine = errors.New("there is no Docker Engine")

// open connects to the engine, and takes over what is described in the file from, or builds it if there is no such file.
func (s *Shop) open(ctx context.Context, from string) (err error) {
	if s.dir, err = os.MkdirTemp("", "runnerd-tests-"); err != nil {
		return err
	}
	if s.Engine, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return err
	}
	s.Engine.NegotiateAPIVersion(ctx) // the client's Events reads the version without its lock
	if s.builder, err = docker.New(docker.Options{RunnerID: uuid.NewString()}); err != nil {
		return err
	}
	if err := s.builder.Check(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if from != "" {
		return s.load(from)
	}
	if err := s.buildPrograms(ctx); err != nil {
		return err
	}
	return s.paint(ctx)
}

func (s *Shop) buildPrograms(ctx context.Context) error {
	s.Runnerd, s.Plugin = filepath.Join(s.dir, "runnerd"), filepath.Join(s.dir, "plugin")
	if goBuild(ctx, s.root, []string{"CGO_ENABLED=1"}, "-race", "-o", s.Runnerd, "./cmd/runnerd") != nil {
		fmt.Fprintln(os.Stderr, "the race detector cannot be built here (it needs a C compiler): runnerd is built without")
		if err := goBuild(ctx, s.root, []string{"CGO_ENABLED=0"}, "-o", s.Runnerd, "./cmd/runnerd"); err != nil {
			return err
		}
	}
	return s.buildPlugin(ctx, filepath.Join(s.root, "infra/sampleplugin"), s.Plugin)
}

// buildPlugin builds the one in dir, a module of its own, and makes its types known.
func (s *Shop) buildPlugin(ctx context.Context, dir, program string) error {
	types, err := os.ReadFile(filepath.Join(dir, "type-definitions.yaml"))
	if err != nil {
		return err
	}
	s.Types = append(s.Types, types)
	return goBuild(ctx, dir, []string{"CGO_ENABLED=0", "GOWORK=off"}, "-ldflags", "-s -w", "-o", program, ".")
}

// BuildPlugin makes an image of the plugin in dir, which has its type-definitions.yaml there.
func (s *Shop) BuildPlugin(ctx context.Context, name, dir string) (ref string, err error) {
	program := filepath.Join(s.dir, name)
	if err := s.buildPlugin(ctx, dir, program); err != nil {
		return "", err
	}
	return s.image(ctx, name, program)
}

// Release builds the runner as a release of this version, and returns where it is.
func (s *Shop) Release(ctx context.Context, version string) (string, error) {
	program := filepath.Join(s.dir, "runnerd-"+version)
	return program, goBuild(ctx, s.root, []string{"CGO_ENABLED=0"}, "-ldflags", "-X main.version="+version, "-o", program, "./cmd/runnerd")
}

func goBuild(ctx context.Context, dir string, env []string, args ...string) error {
	build := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	build.Dir, build.Env = dir, append(os.Environ(), env...)
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build.Args, err, said)
	}
	return nil
}

// paint makes the two images of the sample plugin.
func (s *Shop) paint(ctx context.Context) error {
	green := filepath.Join(s.dir, "plugin.green") // other content, so another image id
	text, err := os.ReadFile(s.Plugin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(green, append(text, "green"...), 0o755); err != nil {
		return err
	}
	for ref, program := range map[*string]string{&s.Blue: s.Plugin, &s.Green: green} {
		if *ref, err = s.image(ctx, filepath.Base(program), program); err != nil {
			return err
		}
	}
	return nil
}

// Build makes an image of the program in dir, a package main without anything outside the standard library.
func (s *Shop) Build(ctx context.Context, name, dir, ldflags string) (ref string, err error) {
	program := filepath.Join(s.dir, name)
	if err := goBuild(ctx, ".", []string{"CGO_ENABLED=0"}, "-ldflags", ldflags, "-o", program, dir); err != nil {
		return "", err
	}
	return s.image(ctx, name, program)
}

// reference names an image, which is removed at the end.
func (s *Shop) reference(name string) string {
	ref := "runnerd-e2e/" + name + ":" + filepath.Base(s.dir)[len("runnerd-tests-"):]
	s.images = append(s.images, ref)
	return ref
}

func (s *Shop) image(ctx context.Context, name, program string) (string, error) {
	ref := s.reference(name)
	_, err := s.builder.BuildScratch(ctx, ref, program, "65532:65532")
	return ref, err
}

func (s *Shop) close() {
	for _, ref := range s.images {
		if _, err := s.Engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			fmt.Fprintln(os.Stderr, "remove image:", err)
		}
	}
	s.images = nil
	if s.builder != nil {
		_ = s.builder.Close()
	}
	if s.Engine != nil {
		_ = s.Engine.Close()
	}
	_ = os.RemoveAll(s.dir)
}
