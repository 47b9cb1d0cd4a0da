package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// misbehave does what plugins should not do, but some do. The SDK is unmodified: misbehavior after the result happens in the default
// HTTP client, which the SDK uses for its callback.
type misbehave struct {
	How  string `json:"how"`
	Size int    `json:"size"` // MiB, for memory
}

const mib = 1 << 20

func (m *misbehave) FetchResult(context.Context) (*task.Result, error) {
	modes := map[string]func() error{
		"exit-without-result":   func() error { os.Exit(3); return nil },
		"hang":                  hang,
		"hang-ignoring-abort":   hangIgnoringAbort,
		"hang-ignoring-signals": hangIgnoringSignals,
		"exit-after-result":     m.afterCallback(func() { os.Exit(255) }),
		"hang-after-result":     m.afterCallback(func() { _ = hang() }),
		"log-after-result":      m.afterCallback(func() { klog.Info("logged after the result") }),
		"lose-callback":         m.loseCallback,
		"memory":                m.memory,
	}
	mode, ok := modes[m.How]
	if !ok {
		var names []string
		for name := range modes {
			names = append(names, name)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("unknown value %q of the property how: choose one of %s", m.How, strings.Join(names, ", "))
	}
	klog.Infof("misbehaving: %s", m.How)
	if err := mode(); err != nil {
		return nil, err
	}
	return task.NewResult().String("did", m.How), nil
}

func hang() error { select {} }

// hangIgnoringAbort still ends on SIGTERM, without a result. signal.Ignore removes the SDK's handler.
func hangIgnoringAbort() error {
	signal.Ignore(syscall.SIGABRT)
	return hang()
}

// hangIgnoringSignals ends only on SIGKILL.
func hangIgnoringSignals() error {
	signal.Ignore(syscall.SIGABRT, syscall.SIGTERM, syscall.SIGINT)
	return hang()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// onCallback makes f handle the next request of the SDK, its callback, and only that one.
func onCallback(f roundTripper) {
	http.DefaultClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		http.DefaultClient.Transport = nil
		return f(r)
	})
}

func (m *misbehave) afterCallback(do func()) func() error {
	return func() error {
		onCallback(func(r *http.Request) (*http.Response, error) {
			response, err := http.DefaultTransport.RoundTrip(r)
			do()
			return response, err
		})
		return nil
	}
}

// loseCallback makes the callback fail, so that the result is only in the file.
func (m *misbehave) loseCallback() error {
	onCallback(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost on purpose") })
	return nil
}

// memory allocates Size MiB and touches every page.
func (m *misbehave) memory() error {
	data := make([]byte, m.Size*mib)
	for i := 0; i < len(data); i += os.Getpagesize() {
		data[i] = 1
	}
	klog.Infof("allocated %d MiB", len(data)/mib)
	return nil
}
