// Package docker looks at the whole program from outside: the real binary, a real Docker Engine, and plugins built with the
// official Go SDK. The development server, in the test's own process, is the oracle of the protocol; the engine's event
// stream is the oracle of the capacity.
//
// Every test has a world of its own (newWorld): a server, a state directory, the runner's processes. At its end the world
// drains the runner and looks at what is left: a breach in the ledger, a container, a network, a file in the spool, or the
// world's marker anywhere below the state directory fails the test. What a failed test leaves is removed.
//
// One test takes ten minutes and runs with RUNNERD_LONG=1 only.
package docker

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

// workshop is what all tests share: programs, and images made of them.
type workshop struct {
	dir     string
	runnerd string // with the race detector where that can be built
	plugin  string // the sample plugin
	types   []byte // its type definitions

	engine  *client.Client // to look and meddle from outside
	builder *docker.Driver
	images  []string

	blue, green string // two images of the sample plugin
	deaf        string // no SDK: it never asks for a job
	quitter     string // no SDK: it ends before it asks for one
	listener    string // no SDK: it never asks, and listens at port 8080
}

// shop is nil if no engine answers.
var shop *workshop

func TestMain(m *testing.M) { os.Exit(withShop(m)) }

func withShop(m *testing.M) int {
	s, err := openShop(context.Background())
	defer s.close()
	switch {
	case err == nil:
		shop = s
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

func openShop(ctx context.Context) (*workshop, error) {
	s := &workshop{}
	var err error
	if s.dir, err = os.MkdirTemp("", "runnerd-tests-"); err != nil {
		return s, err
	}
	if s.engine, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return s, err
	}
	s.engine.NegotiateAPIVersion(ctx) // the client's Events reads the version without its lock
	if s.builder, err = docker.New(docker.Options{RunnerID: uuid.NewString()}); err != nil {
		return s, err
	}
	if err := s.builder.Check(ctx); err != nil {
		return s, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	if s.types, err = os.ReadFile("../../infra/sampleplugin/type-definitions.yaml"); err != nil {
		return s, err
	}
	if err := s.buildPrograms(ctx); err != nil {
		return s, err
	}
	return s, s.buildImages(ctx)
}

func (s *workshop) buildPrograms(ctx context.Context) error {
	s.runnerd, s.plugin = filepath.Join(s.dir, "runnerd"), filepath.Join(s.dir, "plugin")
	if goBuild(ctx, "../..", nil, "-race", "-o", s.runnerd, "./cmd/runnerd") != nil {
		fmt.Fprintln(os.Stderr, "the race detector cannot be built here (it needs a C compiler): runnerd is built without")
		if err := goBuild(ctx, "../..", nil, "-o", s.runnerd, "./cmd/runnerd"); err != nil {
			return err
		}
	}
	static := []string{"CGO_ENABLED=0", "GOWORK=off"}
	return goBuild(ctx, "../../infra/sampleplugin", static, "-ldflags", "-s -w", "-o", s.plugin, ".")
}

func goBuild(ctx context.Context, dir string, env []string, args ...string) error {
	build := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	build.Dir, build.Env = dir, append(os.Environ(), env...)
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build.Args, err, said)
	}
	return nil
}

func (s *workshop) buildImages(ctx context.Context) error {
	green := filepath.Join(s.dir, "plugin.green") // other content, so another image id
	text, err := os.ReadFile(s.plugin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(green, append(text, "green"...), 0o755); err != nil {
		return err
	}
	for ref, program := range map[*string]string{&s.blue: s.plugin, &s.green: green} {
		if *ref, err = s.image(ctx, filepath.Base(program), program); err != nil {
			return err
		}
	}
	for ref, how := range map[*string]string{&s.deaf: "deaf", &s.quitter: "quitter", &s.listener: "listener"} {
		program := filepath.Join(s.dir, how)
		if err := goBuild(ctx, ".", []string{"CGO_ENABLED=0"}, "-ldflags", "-X main.how="+how, "-o", program, "./testdata/raw"); err != nil {
			return err
		}
		if *ref, err = s.image(ctx, how, program); err != nil {
			return err
		}
	}
	return nil
}

func (s *workshop) image(ctx context.Context, name, program string) (string, error) {
	ref := "runnerd-e2e/" + name + ":" + filepath.Base(s.dir)[len("runnerd-tests-"):]
	s.images = append(s.images, ref)
	_, err := s.builder.BuildScratch(ctx, ref, program, "65532:65532")
	return ref, err
}

func (s *workshop) close() {
	for _, ref := range s.images {
		if _, err := s.engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			fmt.Fprintln(os.Stderr, "remove image:", err)
		}
	}
	s.images = nil
	if s.builder != nil {
		_ = s.builder.Close()
	}
	if s.engine != nil {
		_ = s.engine.Close()
	}
	_ = os.RemoveAll(s.dir)
}
