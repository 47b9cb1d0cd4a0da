package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/klog/v2"
)

// fork starts Size processes, or as many as it can, and kills them.
func (t *try) fork(ctx context.Context) (string, error) {
	var started []*exec.Cmd
	defer func() {
		for _, c := range started {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for n := range t.Size {
		c, err := startLingering()
		if err != nil {
			return fmt.Sprintf("after %d processes: %v", n, err), nil
		}
		started = append(started, c)
	}
	return fmt.Sprintf("%d processes", t.Size), t.waitForGate(ctx)
}

// leaveProcesses leaves Size processes behind, which hold the log open.
func (t *try) leaveProcesses(context.Context) (string, error) {
	for n := range t.Size {
		if _, err := startLingering(); err != nil {
			return fmt.Sprintf("left %d processes: %v", n, err), nil
		}
	}
	return fmt.Sprintf("left %d processes", t.Size), nil
}

func startLingering() (*exec.Cmd, error) {
	c := exec.Command(os.Args[0], "linger")
	c.Stderr = os.Stderr
	return c, c.Start()
}

// writableDirs returns the directories in which a plugin can write to the disk.
func writableDirs() []string { return []string{"/", filepath.Dir(os.Getenv("OUTPUT_LOCATION"))} }

// fill writes Size MiB into each writable directory.
func (t *try) fill(ctx context.Context) (string, error) {
	for _, dir := range writableDirs() {
		if err := writeFile(filepath.Join(dir, "filler"), t.Size); err != nil {
			klog.Infof("%s: %v", dir, err)
		}
	}
	return "filled", t.waitForGate(ctx)
}

func writeFile(path string, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(f, zeros{}, int64(mib)<<20)
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// fillLater runs fill in a second, when the job has ended.
func (t *try) fillLater(context.Context) (string, error) {
	later := *t
	time.AfterFunc(time.Second, func() { _, _ = later.fill(context.Background()) })
	return "later", nil
}

// makeDirs creates Size directories beside the result file, each with a file.
func (t *try) makeDirs(context.Context) (string, error) {
	dir := filepath.Dir(os.Getenv("OUTPUT_LOCATION"))
	for n := range t.Size {
		name := filepath.Join(dir, strconv.Itoa(n))
		if err := os.Mkdir(name, 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(name, "file"), nil, 0o600); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d directories", t.Size), nil
}

// nestDirs creates Size nested directories beside the result file.
func (t *try) nestDirs(context.Context) (string, error) {
	dir, err := os.OpenRoot(filepath.Dir(os.Getenv("OUTPUT_LOCATION")))
	if err != nil {
		return "", err
	}
	for range t.Size {
		if err := dir.Mkdir("deeper", 0o700); err != nil {
			return "", err
		}
		next, err := dir.OpenRoot("deeper")
		if err := errors.Join(err, dir.Close()); err != nil {
			return "", err
		}
		dir = next
	}
	return fmt.Sprintf("%d directories", t.Size), dir.Close()
}

// flood writes Size MiB without a newline and with bytes that are not text.
func (t *try) flood(context.Context) (string, error) {
	const mib = 1 << 20
	chunk := bytes.Repeat([]byte("flood \x00\xff "), mib/9)
	for range t.Size {
		if _, err := os.Stderr.Write(chunk); err != nil {
			return "", err
		}
	}
	return "flooded", nil
}
