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

// misbehave does what plugins should not do, and do. The SDK is left as it is: what happens after the result happens in the
// default HTTP client, by which the SDK calls back.
type misbehave struct {
	How  string `json:"how"`
	Size int    `json:"size"` // MiB, for memory
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
		"memory":                m.memory,
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

// memory takes Size MiB and touches every page of them.
func (m *misbehave) memory() error {
	held := make([]byte, m.Size*mib)
	for i := 0; i < len(held); i += os.Getpagesize() {
		held[i] = 1
	}
	klog.Infof("holding %d MiB", len(held)/mib)
	return nil
}
