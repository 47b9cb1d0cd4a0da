package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// slow runs for a number of steps and logs each of them. It can be aborted, and its abort command can be slow as well. If Notify is
// set, it first sends its name to that address, so that a test can count its runs.
type slow struct {
	Steps       int    `json:"steps"`
	DelayMillis int    `json:"delayMillis"` // per step
	AbortMillis int    `json:"abortMillis"`
	Name        string `json:"name"`
	Notify      string `json:"notify"` // host and port; empty: no notification

	done atomic.Int64 // steps so far
	stop chan struct{}
}

func newSlow() *slow { return &slow{stop: make(chan struct{})} }

func (s *slow) FetchResult(ctx context.Context) (*task.Result, error) {
	if s.Notify != "" {
		if err := notify(ctx, s.Notify, s.Name); err != nil {
			return nil, fmt.Errorf("notify %s: %w", s.Notify, err)
		}
		klog.Infof("notified %s of the start of %s", s.Notify, s.Name)
	}
	step := time.NewTicker(max(time.Duration(s.DelayMillis)*time.Millisecond, time.Microsecond))
	defer step.Stop()
	for n := 1; n <= s.Steps; n++ {
		select {
		case <-step.C:
		case <-s.stop:
			return nil, errors.New("stopped")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		s.done.Store(int64(n))
		klog.Infof("step %d of %d", n, s.Steps)
	}
	return task.NewResult().Int("stepsDone", s.Steps), nil
}

// notify sends the name and returns when the other side has closed the connection, which confirms it.
func notify(ctx context.Context, address, name string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, name); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}

// abortSlow is the abort command of slow. The SDK runs it on SIGABRT, concurrently with slow.
type abortSlow struct{ slow *slow }

func (a *abortSlow) FetchResult(context.Context) (*task.Result, error) {
	close(a.slow.stop)
	done := int(a.slow.done.Load())
	klog.Info("cleaning up")
	time.Sleep(time.Duration(a.slow.AbortMillis) * time.Millisecond)
	klog.Infof("aborted after %d steps", done)
	return task.NewResult().Int("stepsDone", done), nil
}
