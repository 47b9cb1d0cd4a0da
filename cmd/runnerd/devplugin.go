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

// plugin is a plugin's program, ready to be run as an image.
type plugin struct {
	program     string // a static binary
	definitions []byte // its type definitions; the image is named in them
	image       string
}

// findPlugin takes the program it is given, or builds the sample plugin of the clone that the working directory is in.
func findPlugin(ctx context.Context, given string, out io.Writer) (plugin, error) {
	if given != "" {
		program, err := filepath.Abs(given)
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
	fmt.Fprintln(out, "Building the sample plugin; the first time, this takes a minute or two.")
	// Built as runnerd itself is, what both are made of is compiled once.
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", p.program, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOGC=800") // somebody waits: let the compiler have memory
	if said, err := build.CombinedOutput(); err != nil {
		return plugin{}, fmt.Errorf("build the sample plugin: %w\n%s", err, said)
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
			return "", errors.New("find the sample plugin: this is no clone of runnerd: " +
				"run it in one, or give your plugin's static binary with --plugin and its --type-definitions")
		}
		dir = parent
	}
}

// nameImage names the image in the type definitions, as a plugin's build does.
func (p *plugin) nameImage(image string) {
	const placeholder = "@registry.url@/@registry.org@/@project.name@:@project.version@"
	p.image = image
	p.definitions = bytes.ReplaceAll(p.definitions, []byte(placeholder), []byte(image))
}

// chooseDriver takes what is asked for. Only here, where nobody's work is at stake, it otherwise takes what is there.
func chooseDriver(ctx context.Context, asked string) (driver, why string, err error) {
	if asked != "" {
		return asked, "as asked", nil
	}
	engine, err := docker.New(docker.Options{RunnerID: uuid.NewString()})
	if err != nil {
		return "process", "because there is no engine to use: " + err.Error(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := errors.Join(engine.Check(ctx), engine.Close()); err != nil {
		return "process", "because there is no engine to use: " + err.Error(), nil
	}
	return "docker", "because a Docker Engine answers", nil
}

// makeImage makes a Docker image of the program. Its tag says what is in it, so that it is made once.
func (p *plugin) makeImage(ctx context.Context) error {
	sum, err := sha256File(p.program)
	if err != nil {
		return fmt.Errorf("read the plugin: %w", err)
	}
	engine, err := docker.New(docker.Options{RunnerID: uuid.NewString()})
	if err != nil {
		return err
	}
	defer engine.Close()
	p.nameImage(fmt.Sprintf("runnerd-dev:%x", sum[:6]))
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
