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

// serve opens a door in a directory, and returns how to end it.
func serve(t *testing.T, dir string, p Program) (end func()) {
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

type fares struct {
	Phase string `json:"phase"`
}

func TestACommandIsAnsweredHoweverLongThePathIs(t *testing.T) {
	for what, dir := range map[string]string{"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("long/", 40))} {
		t.Run(what, func(t *testing.T) {
			must(t, os.MkdirAll(dir, 0o755))
			serve(t, dir, Program{Status: func(context.Context) any { return fares{"online"} }})
			var got fares
			must(t, NewClient(dir).Status(t.Context(), &got))
			if got.Phase != "online" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOnlyTheOwnerCanOpenTheSocketWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	serve(t, dir, Program{})
	info, err := os.Stat(filepath.Join(dir, socketFile))
	must(t, err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("its mode is %v", info.Mode())
	}
}

func TestWhereNoRunnerLivesThatIsSaidAlsoBesideASocketThatOneLeft(t *testing.T) {
	dir := t.TempDir()
	var got fares
	if err := NewClient(dir).Status(t.Context(), &got); !errors.Is(err, ErrNoRunner) {
		t.Errorf("without a socket: %v", err)
	}
	l, err := Listen(dir)
	must(t, err)
	must(t, l.(*listener).Listener.Close()) // killed, it leaves its socket
	if err := NewClient(dir).Status(t.Context(), &got); !errors.Is(err, ErrNoRunner) {
		t.Errorf("with a socket that nobody listens at: %v", err)
	}
	end := serve(t, dir, Program{Status: func(context.Context) any { return fares{"next"} }})
	must(t, NewClient(dir).Status(t.Context(), &got))
	end()
	if _, err := os.Stat(filepath.Join(dir, socketFile)); !os.IsNotExist(err) {
		t.Errorf("a runner that ended leaves its socket: %v", err)
	}
}

func TestWhatTheProgramRefusesIsSaidInItsWords(t *testing.T) {
	dir := t.TempDir()
	var asked []string
	serve(t, dir, Program{
		Resend:  func(_ context.Context, place string) error { asked = append(asked, place); return nil },
		Discard: func(context.Context, string) error { return errors.New("it runs") },
	})
	c := NewClient(dir)
	must(t, c.Resend(t.Context(), "rejected/x"))
	if len(asked) != 1 || asked[0] != "rejected/x" {
		t.Errorf("asked for %q", asked)
	}
	if err := c.Discard(t.Context(), "jobs/x"); err == nil || err.Error() != "it runs" {
		t.Errorf("refused with %v", err)
	}
	if _, err := c.do(t.Context(), "GET", "/nowhere", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a path that is none: %v", err)
	}
}

func TestADrainTellsHowFarItIsAndHowItEnded(t *testing.T) {
	for _, row := range []struct {
		how  string
		end  error
		says string
	}{
		{how: "drained"},
		{how: "told to leave", end: errors.New("told to leave its executors"), says: "told to leave its executors"},
	} {
		t.Run(row.how, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, dir, Program{Drain: func(_ context.Context, progress func(any)) error {
				progress(fares{"two run"})
				progress(fares{"one runs"})
				return row.end
			}})
			var told []fares
			err := Drain(t.Context(), NewClient(dir), func(f fares) { told = append(told, f) })
			if row.says == "" && err != nil || row.says != "" && (err == nil || err.Error() != row.says) {
				t.Errorf("it ended with %v, want %q", err, row.says)
			}
			if len(told) != 2 || told[1].Phase != "one runs" {
				t.Errorf("told: %v", told)
			}
		})
	}
}

func TestADrainWhoseRunnerEndsOtherwiseHasFailed(t *testing.T) {
	dir := t.TempDir()
	begun := make(chan struct{})
	end := serve(t, dir, Program{Drain: func(ctx context.Context, _ func(any)) error {
		close(begun)
		<-ctx.Done()
		panic(http.ErrAbortHandler) // the connection is cut
	}})
	failed := make(chan error, 1)
	go func() { failed <- Drain(context.Background(), NewClient(dir), func(fares) {}) }()
	<-begun
	end()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "ended before it was drained") {
		t.Errorf("it says %v", err)
	}
}

func TestMoreCommandsThanPlacesAreRefused(t *testing.T) {
	dir := t.TempDir()
	arrived, free := make(chan struct{}), make(chan struct{})
	serve(t, dir, Program{Status: func(context.Context) any { arrived <- struct{}{}; <-free; return fares{} }})
	answers := make(chan error, most)
	ask := func() { answers <- NewClient(dir).Status(context.Background(), new(fares)) }
	for range most {
		go ask()
		<-arrived
	}
	if err := NewClient(dir).Status(t.Context(), new(fares)); err == nil || !strings.Contains(err.Error(), "too many commands at once") {
		t.Errorf("one more is answered %v", err)
	}
	close(free)
	for range most {
		must(t, <-answers)
	}
}
