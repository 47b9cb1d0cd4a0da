package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

// plugin is a plugin's program and its type definitions.
type plugin struct {
	program     string // a static binary
	definitions []byte // type definitions, which name the image
	image       string
}

// findPlugin returns the given program, or builds the sample plugin of the clone in the working directory.
func findPlugin(ctx context.Context, path string, out io.Writer) (plugin, error) {
	if path != "" {
		program, err := filepath.Abs(path)
		return plugin{program: program}, err
	}
	root, err := cloneRoot()
	if err != nil {
		return plugin{}, err
	}
	source := filepath.Join(root, "infra", "sampleplugin")
	definitions, err := os.ReadFile(filepath.Join(source, "type-definitions.yaml"))
	if err != nil {
		return plugin{}, fmt.Errorf("read the sample plugin's type definitions: %w", err)
	}
	p := plugin{program: filepath.Join(root, "build", "sampleplugin"), definitions: definitions}
	fmt.Fprintln(out, "Building the sample plugin (the first time, this takes a minute or two).")
	// The same compiler settings as in runnerd's own build (CGO_ENABLED=0), so that common packages are compiled only once.
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", p.program, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOGC=800") // a faster build for more memory
	if output, err := build.CombinedOutput(); err != nil {
		return plugin{}, fmt.Errorf("build the sample plugin: %w\n%s", err, output)
	}
	return p, nil
}

func cloneRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the sample plugin: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "infra", "sampleplugin", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the sample plugin: the working directory is not in a clone of runnerd: " +
				"change to one, or set --plugin to your plugin's static binary and --type-definitions to its definitions")
		}
		dir = parent
	}
}

// setImage sets the image in the type definitions, as a plugin's build does.
func (p *plugin) setImage(image string) {
	const placeholder = "@registry.url@/@registry.org@/@project.name@:@project.version@"
	p.image = image
	p.definitions = bytes.ReplaceAll(p.definitions, []byte(placeholder), []byte(image))
}

// chooseDriver returns the requested driver. Without one it takes what is available, unlike run, because only development tasks run here.
func chooseDriver(ctx context.Context, requested string) (driver, reason string, err error) {
	if requested != "" {
		return requested, "as requested", nil
	}
	engine, err := docker.New(docker.Options{RunnerID: uuid.NewString()})
	if err != nil {
		return "process", "because no Docker Engine is usable: " + err.Error(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := errors.Join(engine.Check(ctx), engine.Close()); err != nil {
		return "process", "because no Docker Engine is usable: " + err.Error(), nil
	}
	return "docker", "because a Docker Engine answers", nil
}

// buildImage builds a Docker image of the program. Its tag is a hash of the program, so that it is built once.
func (p *plugin) buildImage(ctx context.Context) error {
	sum, err := sha256File(p.program)
	if err != nil {
		return fmt.Errorf("read the plugin: %w", err)
	}
	engine, err := docker.New(docker.Options{RunnerID: uuid.NewString()})
	if err != nil {
		return err
	}
	defer engine.Close()
	p.setImage(fmt.Sprintf("runnerd-dev:%x", sum[:6]))
	_, err = engine.Pull(ctx, p.image, msg.PullNever, "")
	if errors.Is(err, msg.ErrNoImage) {
		_, err = engine.BuildScratch(ctx, p.image, p.program, "65532:65532")
	}
	return err
}

func sha256File(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
