package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// slow takes its time, a log line per step. It can be aborted.
type slow struct {
	Steps       int `json:"steps"`
	DelayMillis int `json:"delayMillis"` // per step

	done atomic.Int64 // steps so far
	stop chan struct{}
}

func newSlow() *slow { return &slow{stop: make(chan struct{})} }

func (s *slow) FetchResult(ctx context.Context) (*task.Result, error) {
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

// abortSlow is run by the SDK on SIGABRT, while slow runs.
type abortSlow struct{ of *slow }

func (a *abortSlow) FetchResult(context.Context) (*task.Result, error) {
	close(a.of.stop)
	done := int(a.of.done.Load())
	klog.Infof("aborted after %d steps", done)
	return task.NewResult().Int("stepsDone", done), nil
}
