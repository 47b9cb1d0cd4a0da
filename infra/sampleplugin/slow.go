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

// slow takes its time, a log line per step. It can be aborted, which may take its time too. Where it is asked to, it tells somebody first that it is there:
// so others can count how often it has been.
type slow struct {
	Steps       int    `json:"steps"`
	DelayMillis int    `json:"delayMillis"` // per step
	AbortMillis int    `json:"abortMillis"`
	Name        string `json:"name"`
	Tell        string `json:"tell"` // host and port; empty: nobody

	done atomic.Int64 // steps so far
	stop chan struct{}
}

func newSlow() *slow { return &slow{stop: make(chan struct{})} }

func (s *slow) FetchResult(ctx context.Context) (*task.Result, error) {
	if s.Tell != "" {
		if err := tell(ctx, s.Tell, s.Name); err != nil {
			return nil, fmt.Errorf("tell %s: %w", s.Tell, err)
		}
		klog.Infof("told %s that %s is here", s.Tell, s.Name)
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

// tell returns once it was heard: the other side hangs up.
func tell(ctx context.Context, address, name string) error {
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

// abortSlow is run by the SDK on SIGABRT, while slow runs.
type abortSlow struct{ of *slow }

func (a *abortSlow) FetchResult(context.Context) (*task.Result, error) {
	close(a.of.stop)
	done := int(a.of.done.Load())
	klog.Info("cleaning up")
	time.Sleep(time.Duration(a.of.AbortMillis) * time.Millisecond)
	klog.Infof("aborted after %d steps", done)
	return task.NewResult().Int("stepsDone", done), nil
}
