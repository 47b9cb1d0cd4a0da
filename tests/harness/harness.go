// Package harness provides the environment of the tests that run the whole program from outside: the real binary, a real
// Docker Engine, and plugins built with the official Go SDK. The development server, which runs in the test's process, checks the
// protocol; the engine's events show whether the capacity is kept.
//
// Every test has its own Env: a server, a state directory, the runner's processes. At the test's end the Env drains the
// runner. A violation in the ledger, or a leftover (a container, a network, a file in the spool, the Env's marker anywhere
// below the state directory), fails the test. Leftovers of a failed test are removed.
package harness

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

// Harness is what all tests of a package share: programs, the images built from them, and the client of the engine.
type Harness struct {
	Runnerd string         // built with the race detector if possible
	Plugin  string         // the sample plugin
	Types   [][]byte       // the plugins' type definitions
	Engine  *client.Client `json:"-"` // for tests that inspect or disturb containers

	Blue, Green string // two images of the sample plugin

	root    string // of the repository
	dir     string
	builder *docker.Driver
	images  []string
}

// Main creates a Harness, calls setup with it, and runs the tests. Without a Docker Engine it does not call setup, so that the tests
// are skipped; with CI=true it fails instead. The result is the process's exit code.
func Main(m *testing.M, setup func(context.Context, *Harness) error) int {
	ctx := context.Background()
	h := &Harness{root: "../.."}
	defer h.close()
	err := h.open(ctx, os.Getenv(sharedEnv))
	if err == nil {
		err = setup(ctx, h)
	}
	switch {
	case err == nil:
	case errors.Is(err, errNoEngine) && os.Getenv("CI") != "true":
		fmt.Fprintln(os.Stderr, "skipping tests:", err)
	default:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	h.close()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

var errNoEngine = errors.New("no Docker Engine")

// open connects to the engine. It loads the programs and images that the file from describes, or builds them if from is empty.
func (h *Harness) open(ctx context.Context, from string) (err error) {
	if h.dir, err = os.MkdirTemp("", "runnerd-tests-"); err != nil {
		return err
	}
	if h.Engine, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return err
	}
	h.Engine.NegotiateAPIVersion(ctx) // the client's Events reads the version without its lock
	if h.builder, err = docker.New(docker.Options{RunnerID: uuid.NewString()}); err != nil {
		return err
	}
	if err := h.builder.Check(ctx); err != nil {
		return fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if from != "" {
		return h.load(from)
	}
	if err := h.buildPrograms(ctx); err != nil {
		return err
	}
	return h.buildImages(ctx)
}

func (h *Harness) buildPrograms(ctx context.Context) error {
	h.Runnerd, h.Plugin = filepath.Join(h.dir, "runnerd"), filepath.Join(h.dir, "plugin")
	if goBuild(ctx, h.root, []string{"CGO_ENABLED=1"}, "-race", "-o", h.Runnerd, "./cmd/runnerd") != nil {
		fmt.Fprintln(os.Stderr, "building runnerd without the race detector, which needs a C compiler")
		if err := goBuild(ctx, h.root, []string{"CGO_ENABLED=0"}, "-o", h.Runnerd, "./cmd/runnerd"); err != nil {
			return err
		}
	}
	return h.buildPlugin(ctx, filepath.Join(h.root, "infra/sampleplugin"), h.Plugin)
}

// buildPlugin builds the plugin in dir, which is a module of its own, and adds its type definitions.
func (h *Harness) buildPlugin(ctx context.Context, dir, program string) error {
	types, err := os.ReadFile(filepath.Join(dir, "type-definitions.yaml"))
	if err != nil {
		return err
	}
	h.Types = append(h.Types, types)
	return goBuild(ctx, dir, []string{"CGO_ENABLED=0", "GOWORK=off"}, "-ldflags", "-s -w", "-o", program, ".")
}

// BuildPluginImage builds an image of the plugin in dir, which also has its type-definitions.yaml.
func (h *Harness) BuildPluginImage(ctx context.Context, name, dir string) (ref string, err error) {
	program := filepath.Join(h.dir, name)
	if err := h.buildPlugin(ctx, dir, program); err != nil {
		return "", err
	}
	return h.buildScratchImage(ctx, name, program)
}

// BuildRelease builds the runner as a release of this version, and returns its path.
func (h *Harness) BuildRelease(ctx context.Context, version string) (string, error) {
	program := filepath.Join(h.dir, "runnerd-"+version)
	return program, goBuild(ctx, h.root, []string{"CGO_ENABLED=0"}, "-ldflags", "-X main.version="+version, "-o", program, "./cmd/runnerd")
}

func goBuild(ctx context.Context, dir string, env []string, args ...string) error {
	build := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	build.Dir, build.Env = dir, append(os.Environ(), env...)
	if log, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build.Args, err, log)
	}
	return nil
}

// buildImages builds the two images of the sample plugin.
func (h *Harness) buildImages(ctx context.Context) error {
	green := filepath.Join(h.dir, "plugin.green") // other content, so another image id
	text, err := os.ReadFile(h.Plugin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(green, append(text, "green"...), 0o755); err != nil {
		return err
	}
	for ref, program := range map[*string]string{&h.Blue: h.Plugin, &h.Green: green} {
		if *ref, err = h.buildScratchImage(ctx, filepath.Base(program), program); err != nil {
			return err
		}
	}
	return nil
}

// BuildImage builds an image of the program in dir, a package main that uses only the standard library.
func (h *Harness) BuildImage(ctx context.Context, name, dir, ldflags string) (ref string, err error) {
	program := filepath.Join(h.dir, name)
	if err := goBuild(ctx, ".", []string{"CGO_ENABLED=0"}, "-ldflags", ldflags, "-o", program, dir); err != nil {
		return "", err
	}
	return h.buildScratchImage(ctx, name, program)
}

// reference returns the reference of a new image, which close removes.
func (h *Harness) reference(name string) string {
	ref := "runnerd-e2e/" + name + ":" + filepath.Base(h.dir)[len("runnerd-tests-"):]
	h.images = append(h.images, ref)
	return ref
}

func (h *Harness) buildScratchImage(ctx context.Context, name, program string) (string, error) {
	ref := h.reference(name)
	_, err := h.builder.BuildScratch(ctx, ref, program, "65532:65532")
	return ref, err
}

func (h *Harness) close() {
	for _, ref := range h.images {
		if _, err := h.Engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			fmt.Fprintln(os.Stderr, "remove image:", err)
		}
	}
	h.images = nil
	if h.builder != nil {
		_ = h.builder.Close()
	}
	if h.Engine != nil {
		_ = h.Engine.Close()
	}
	_ = os.RemoveAll(h.dir)
}
