package control

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves commands in a directory until end is called.
func serve(t *testing.T, dir string, p Commands) (end func()) {
	t.Helper()
	l, err := Listen(dir)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, p) }()
	end = sync.OnceFunc(func() {
		cancel()
		must(t, <-served)
	})
	t.Cleanup(end)
	return end
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type status struct {
	Phase string `json:"phase"`
}

func TestSocketWorksWithLongPaths(t *testing.T) {
	for what, dir := range map[string]string{"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("long/", 40))} {
		t.Run(what, func(t *testing.T) {
			must(t, os.MkdirAll(dir, 0o755))
			serve(t, dir, Commands{Status: func(context.Context) any { return status{"online"} }})
			var got status
			must(t, NewClient(dir).Status(t.Context(), &got))
			if got.Phase != "online" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOnlyOwnerCanOpenSocket(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	serve(t, dir, Commands{})
	info, err := os.Stat(filepath.Join(dir, socketFile))
	must(t, err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode is %v", info.Mode())
	}
}

func TestMissingRunnerIsReported(t *testing.T) {
	dir := t.TempDir()
	var got status
	if err := NewClient(dir).Status(t.Context(), &got); !errors.Is(err, ErrNoRunner) {
		t.Errorf("without a socket: %v", err)
	}
	l, err := Listen(dir)
	must(t, err)
	must(t, l.(*listener).Listener.Close()) // a killed runner does not remove its socket
	if err := NewClient(dir).Status(t.Context(), &got); !errors.Is(err, ErrNoRunner) {
		t.Errorf("with an abandoned socket: %v", err)
	}
	end := serve(t, dir, Commands{Status: func(context.Context) any { return status{"next"} }})
	must(t, NewClient(dir).Status(t.Context(), &got))
	end()
	if _, err := os.Stat(filepath.Join(dir, socketFile)); !os.IsNotExist(err) {
		t.Errorf("a stopped runner did not remove its socket: %v", err)
	}
}

func TestErrorsReachTheClientUnchanged(t *testing.T) {
	dir := t.TempDir()
	var resent []string
	serve(t, dir, Commands{
		Resend:  func(_ context.Context, location string) error { resent = append(resent, location); return nil },
		Discard: func(context.Context, string) error { return errors.New("job is running") },
	})
	c := NewClient(dir)
	must(t, c.Resend(t.Context(), "rejected/x"))
	if len(resent) != 1 || resent[0] != "rejected/x" {
		t.Errorf("resent %q", resent)
	}
	if err := c.Discard(t.Context(), "jobs/x"); err == nil || err.Error() != "job is running" {
		t.Errorf("discard: %v", err)
	}
	if _, err := c.do(t.Context(), "GET", "/nowhere", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("unknown path: %v", err)
	}
}

func TestDrainReportsProgressAndOutcome(t *testing.T) {
	for _, row := range []struct {
		name    string
		err     error
		wantErr string
	}{
		{name: "drained"},
		{name: "detached", err: errors.New("the runner was detached"), wantErr: "the runner was detached"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, dir, Commands{Drain: func(_ context.Context, progress func(any)) error {
				progress(status{"two run"})
				progress(status{"one runs"})
				return row.err
			}})
			var updates []status
			err := Drain(t.Context(), NewClient(dir), func(s status) { updates = append(updates, s) })
			if row.wantErr == "" && err != nil || row.wantErr != "" && (err == nil || err.Error() != row.wantErr) {
				t.Errorf("got %v, want %q", err, row.wantErr)
			}
			if len(updates) != 2 || updates[1].Phase != "one runs" {
				t.Errorf("updates: %v", updates)
			}
		})
	}
}

func TestDrainFailsWhenRunnerEnds(t *testing.T) {
	dir := t.TempDir()
	started := make(chan struct{})
	end := serve(t, dir, Commands{Drain: func(ctx context.Context, _ func(any)) error {
		close(started)
		<-ctx.Done()
		panic(http.ErrAbortHandler) // closes the connection
	}})
	failed := make(chan error, 1)
	go func() { failed <- Drain(context.Background(), NewClient(dir), func(status) {}) }()
	<-started
	end()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "ended before it was drained") {
		t.Errorf("got %v", err)
	}
}

func TestTooManyCommandsAreRefused(t *testing.T) {
	dir := t.TempDir()
	arrived, free := make(chan struct{}), make(chan struct{})
	serve(t, dir, Commands{Status: func(context.Context) any { arrived <- struct{}{}; <-free; return status{} }})
	answers := make(chan error, maxRequests)
	send := func() { answers <- NewClient(dir).Status(context.Background(), new(status)) }
	for range maxRequests {
		go send()
		<-arrived
	}
	if err := NewClient(dir).Status(t.Context(), new(status)); err == nil || !strings.Contains(err.Error(), "too many concurrent commands") {
		t.Errorf("one request too many: %v", err)
	}
	close(free)
	for range maxRequests {
		must(t, <-answers)
	}
}
