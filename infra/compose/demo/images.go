package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	runnerImage = "runnerd-demo/runnerd"
	blue, green = "runnerd-demo/blue:1", "runnerd-demo/green:1"
)

// buildImages builds the programs of the clone in the working directory, and an image of each.
func buildImages(ctx context.Context) error {
	if _, err := os.Stat("infra/compose/compose.yaml"); err != nil {
		return fmt.Errorf("find the stack: %w: run the demo in the root of a clone", err)
	}
	dir, err := os.MkdirTemp("", "runnerd-demo-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "app"), 0o755); err != nil {
		return err
	}
	if err := buildProgram(ctx, ".", filepath.Join(root, "runnerd"), "./cmd/runnerd"); err != nil {
		return err
	}
	if err := os.Symlink("/runnerd", filepath.Join(root, "app", "release-runner")); err != nil {
		return err
	}
	if err := buildImage(ctx, runnerImage, "infra/compose/Dockerfile", dir); err != nil {
		return err
	}
	if err := buildProgram(ctx, "infra/sampleplugin", filepath.Join(dir, "sampleplugin"), "."); err != nil {
		return err
	}
	for _, ref := range []string{blue, green} {
		if err := buildImage(ctx, ref, "infra/sampleplugin/Dockerfile", dir); err != nil {
			return err
		}
	}
	return nil
}

func buildProgram(ctx context.Context, dir, to, what string) error {
	c := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", to, what)
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", what, dir, err, output)
	}
	return nil
}

// buildImage builds an image with the classic builder, which needs no client plugin. A label makes two images of one program different.
func buildImage(ctx context.Context, ref, dockerfile, dir string) error {
	c := exec.CommandContext(ctx, "docker", "build", "--quiet", "--label", "runnerd.demo="+ref, "--tag", ref, "--file", dockerfile, dir)
	c.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	output, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("build image %s: %w\n%s", ref, err, output)
	}
	lines := strings.Fields(string(output))
	say("%-22s %s", ref, strings.TrimPrefix(lines[len(lines)-1], "sha256:")[:12])
	return nil
}
