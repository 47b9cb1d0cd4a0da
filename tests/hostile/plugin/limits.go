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

// fork starts so many processes, unless it is not let, and ends them.
func (t *try) fork(ctx context.Context) (string, error) {
	var started []*exec.Cmd
	defer func() {
		for _, c := range started {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for n := range t.Size {
		c, err := lingering()
		if err != nil {
			return fmt.Sprintf("after %d processes: %v", n, err), nil
		}
		started = append(started, c)
	}
	return fmt.Sprintf("%d processes", t.Size), t.goOn(ctx)
}

// leave leaves so many processes behind, which hold the log open.
func (t *try) leave(context.Context) (string, error) {
	for n := range t.Size {
		if _, err := lingering(); err != nil {
			return fmt.Sprintf("left %d processes: %v", n, err), nil
		}
	}
	return fmt.Sprintf("left %d processes", t.Size), nil
}

func lingering() (*exec.Cmd, error) {
	c := exec.Command(os.Args[0], "linger")
	c.Stderr = os.Stderr
	return c, c.Start()
}

// places are where a plugin can write to the disk.
func places() []string { return []string{"/", filepath.Dir(os.Getenv("OUTPUT_LOCATION"))} }

// fill writes so many MiB into each place where it can.
func (t *try) fill(ctx context.Context) (string, error) {
	for _, dir := range places() {
		if err := writeFile(filepath.Join(dir, "filler"), t.Size); err != nil {
			klog.Infof("%s: %v", dir, err)
		}
	}
	return "filled", t.goOn(ctx)
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

// fillLater is fill, after the job.
func (t *try) fillLater(context.Context) (string, error) {
	later := *t
	time.AfterFunc(time.Second, func() { _, _ = later.fill(context.Background()) })
	return "later", nil
}

// litter makes so many directories where the result file is, each with a file.
func (t *try) litter(context.Context) (string, error) {
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

// deep makes so many directories in one another where the result file is.
func (t *try) deep(context.Context) (string, error) {
	at, err := os.OpenRoot(filepath.Dir(os.Getenv("OUTPUT_LOCATION")))
	if err != nil {
		return "", err
	}
	for range t.Size {
		if err := at.Mkdir("deeper", 0o700); err != nil {
			return "", err
		}
		next, err := at.OpenRoot("deeper")
		if err := errors.Join(err, at.Close()); err != nil {
			return "", err
		}
		at = next
	}
	return fmt.Sprintf("%d directories", t.Size), at.Close()
}

// flood writes so many MiB without one newline, with bytes that are no text.
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
