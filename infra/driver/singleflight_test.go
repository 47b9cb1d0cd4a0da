package driver_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"runnerd/infra/driver"
)

func TestSingleFlight(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *flight){
		"concurrent callers share one call": func(t *testing.T, f *flight) {
			a, b := f.join(t.Context()), f.join(t.Context())
			f.want(t, a, nil)
			f.want(t, b, nil)
			f.wantRuns(t, 1)
		},
		"later call runs again": func(t *testing.T, f *flight) {
			f.want(t, f.join(t.Context()), nil)
			f.want(t, f.join(t.Context()), nil)
			f.wantRuns(t, 2)
		},
		"continues when one caller gives up": func(t *testing.T, f *flight) {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			a, b := f.join(soon), f.join(t.Context())
			f.want(t, a, context.DeadlineExceeded)
			f.want(t, b, nil)
			f.wantRuns(t, 1)
		},
		"cancelled with last caller, next one restarts": func(t *testing.T, f *flight) {
			soon, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			f.want(t, f.join(soon), context.DeadlineExceeded)
			f.want(t, f.join(t.Context()), nil)
			f.wantRuns(t, 2)
			if f.cancelled.Load() != 1 {
				t.Errorf("%d calls were cancelled", f.cancelled.Load())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, &flight{}) })
		})
	}
}

// flight is a SingleFlight whose work takes a minute.
type flight struct {
	driver.SingleFlight[int]
	runs, cancelled atomic.Int32
}

func (f *flight) join(ctx context.Context) <-chan error {
	errs := make(chan error, 1)
	go func() {
		_, err := f.Do(ctx, "key", func(ctx context.Context) (int, error) {
			f.runs.Add(1)
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				f.cancelled.Add(1)
			}
			return 0, nil
		})
		errs <- err
	}()
	synctest.Wait()
	return errs
}

func (f *flight) want(t *testing.T, got <-chan error, want error) {
	t.Helper()
	if err := <-got; !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func (f *flight) wantRuns(t *testing.T, want int32) {
	t.Helper()
	if got := f.runs.Load(); got != want {
		t.Errorf("the work was done %d times, want %d", got, want)
	}
}
