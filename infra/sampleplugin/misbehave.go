package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// misbehave does what plugins should not do, and do. The SDK is left as it is: what happens after the result happens in the
// default HTTP client, by which the SDK calls back.
type misbehave struct {
	How  string `json:"how"`
	Size int    `json:"size"` // MiB, for flood, memory and fill-disk
}

const mib = 1 << 20

func (m *misbehave) FetchResult(context.Context) (*task.Result, error) {
	ways := map[string]func() error{
		"exit-without-result":   func() error { os.Exit(3); return nil },
		"hang":                  hang,
		"hang-ignoring-abort":   hangIgnoringAbort,
		"hang-ignoring-signals": hangIgnoringSignals,
		"exit-after-result":     m.afterCallback(func() { os.Exit(255) }),
		"hang-after-result":     m.afterCallback(func() { _ = hang() }),
		"log-after-result":      m.afterCallback(func() { klog.Info("said after the result") }),
		"lose-callback":         m.loseCallback,
		"flood":                 m.flood,
		"memory":                m.memory,
		"leave-process":         leaveProcess,
		"leave-directory":       leaveDirectory,
		"fork":                  forkWithoutEnd,
		"fill-disk":             m.fillDisk,
	}
	way, ok := ways[m.How]
	if !ok {
		var names []string
		for name := range ways {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("how is %q: choose one of %s", m.How, strings.Join(names, ", "))
	}
	klog.Infof("misbehaving: %s", m.How)
	if err := way(); err != nil {
		return nil, err
	}
	return task.NewResult().String("did", m.How), nil
}

func hang() error { select {} }

// hangIgnoringAbort leaves SIGTERM, on which the program ends without a result. Ignore takes the SDK's handler away.
func hangIgnoringAbort() error {
	signal.Ignore(syscall.SIGABRT)
	return hang()
}

// hangIgnoringSignals leaves nothing but SIGKILL.
func hangIgnoringSignals() error {
	signal.Ignore(syscall.SIGABRT, syscall.SIGTERM, syscall.SIGINT)
	return hang()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// onCallback lets f answer the SDK's next request to the callback, and only that one.
func onCallback(f roundTripper) {
	http.DefaultClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		http.DefaultClient.Transport = nil
		return f(r)
	})
}

func (m *misbehave) afterCallback(do func()) func() error {
	return func() error {
		onCallback(func(r *http.Request) (*http.Response, error) {
			answer, err := http.DefaultTransport.RoundTrip(r)
			do()
			return answer, err
		})
		return nil
	}
}

// loseCallback leaves the result in the file only.
func (m *misbehave) loseCallback() error {
	onCallback(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost on purpose") })
	return nil
}

// flood writes Size MiB without one newline, with bytes that are no text.
func (m *misbehave) flood() error {
	chunk := bytes.Repeat([]byte("flood \x00\xff "), mib/9)
	for range m.Size {
		if _, err := os.Stderr.Write(chunk); err != nil {
			return fmt.Errorf("write the flood: %w", err)
		}
	}
	return nil
}

// memory takes Size MiB and touches every page of them.
func (m *misbehave) memory() error {
	held := make([]byte, m.Size*mib)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	klog.Infof("holding %d MiB", len(held)/mib)
	return nil
}

// leaveProcess starts a process that outlives the job: this program, which then lingers and holds the log open.
func leaveProcess() error {
	child := exec.Command(os.Args[0], "linger")
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		return fmt.Errorf("start a process: %w", err)
	}
	klog.Infof("left process %d behind", child.Process.Pid)
	return nil
}

// fillDisk writes Size MiB in each of the two places where it can, and then hangs.
func (m *misbehave) fillDisk() error {
	for _, dir := range []string{"/", filepath.Dir(os.Getenv("OUTPUT_LOCATION"))} {
		if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, m.Size*mib), 0o600); err != nil {
			klog.Infof("%s: %v", dir, err)
		}
	}
	return hang()
}

// forkWithoutEnd starts processes until it is not let, or there are more than anybody should have.
func forkWithoutEnd() error {
	const most = 2000
	for n := range most {
		if err := exec.Command(os.Args[0], "linger").Start(); err != nil {
			klog.Infof("after %d processes: %v", n, err)
			return nil
		}
	}
	return fmt.Errorf("%d processes could be started", most)
}

// leaveDirectory makes one beside the result that nobody but this user may look into.
func leaveDirectory() error {
	dir := filepath.Join(filepath.Dir(os.Getenv("OUTPUT_LOCATION")), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("leave a directory: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o600)
}

func linger() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}
