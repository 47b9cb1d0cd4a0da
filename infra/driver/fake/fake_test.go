package fake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"runnerd/infra/driver"
	"runnerd/infra/driver/drivertest"
	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeConforms(t *testing.T) {
	programs := map[drivertest.Behavior]fake.Program{
		drivertest.Exits:          {Prints: []string{"one", "two", "three"}, RunFor: time.Millisecond, ExitCode: 7},
		drivertest.Waits:          {Prints: []string{"ready"}},
		drivertest.IgnoresSignals: {Prints: []string{"ready"}, IgnoresStop: true},
		drivertest.OOM:            {RunFor: time.Millisecond, OOM: true},
		drivertest.LongLine: {Run: func(_ context.Context, w *fake.Process) int {
			for range 4 {
				w.Print(strings.Repeat("x", 10_000))
			}
			w.Print("\n")
			return 0
		}},
		drivertest.Floods: {Run: func(_ context.Context, w *fake.Process) int {
			for i := range 2000 {
				w.Print(fmt.Sprintf("line %d\n", i))
			}
			return 0
		}},
	}
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t *testing.T) driver.Driver {
			d := fake.New()
			t.Cleanup(d.Close)
			d.Load("here", fake.Image{})
			return d
		},
		Spec: func(_ *testing.T, d driver.Driver, does drivertest.Behavior) (msg.ExecutorSpec, bool) {
			p, ok := programs[does]
			return msg.ExecutorSpec{Image: d.(*fake.Driver).Load(string(does), fake.Image{Program: p})}, ok
		},
		Restart: func(_ *testing.T, d driver.Driver, id msg.ExecutorID) { d.(*fake.Driver).Restart(id) },
		Reopen:  func(_ *testing.T, d driver.Driver) driver.Driver { return d }, // it is its own engine
		Image:   "here", Missing: "nowhere",
	})
}

func TestLongProgramTakesNoTimeInSynctest(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		begin := time.Now()
		id := run(t, d, fake.Program{RunFor: 3 * time.Hour, ExitCode: 2})
		exit, err := d.Wait(ctx, id)
		if err != nil || exit.Code != 2 || exit.At.Sub(begin) != 3*time.Hour {
			t.Errorf("ended with %+v after %v, error %v", exit, exit.At.Sub(begin), err)
		}
	})
}

func TestRunFunctionGetsSpecSignalsAndKill(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		seen := make(chan string, 3)
		id := run(t, d, fake.Program{Run: func(ctx context.Context, w *fake.Process) int {
			seen <- w.Spec.Env["WORD"]
			_ = w.Until(ctx, "get a signal", func() (bool, time.Time) {
				s := w.Signal()
				if s != "" {
					seen <- string(s)
				}
				return s != "", time.Time{}
			})
			<-ctx.Done()
			seen <- "killed"
			return 0
		}})
		check(t, d.Signal(ctx, id, msg.SIGTERM))
		if word, signal := <-seen, <-seen; word != "mellon" || signal != "SIGTERM" {
			t.Errorf("the program received %q and the signal %q", word, signal)
		}
		check(t, d.Signal(ctx, id, msg.SIGKILL))
		if exit, err := d.Wait(ctx, id); err != nil || exit.Code != 137 {
			t.Errorf("ended with %+v, error %v", exit, err)
		}
		if last := <-seen; last != "killed" {
			t.Errorf("the program received %q", last)
		}
	})
}

func TestEngineDownIsNotErrNoExecutor(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		away := errors.New("nothing answers")
		id := run(t, d, fake.Program{RunFor: time.Hour})
		time.AfterFunc(time.Minute, func() { d.Down(away) })
		if _, err := d.Wait(ctx, id); !errors.Is(err, away) || errors.Is(err, msg.ErrNoExecutor) {
			t.Errorf("wait returns %v", err)
		}
		if _, err := d.List(ctx); !errors.Is(err, away) {
			t.Errorf("list returns %v", err)
		}
		d.Down(nil)
		if exit, err := d.Wait(ctx, id); err != nil || exit.Code != 0 {
			t.Errorf("ended with %+v, error %v", exit, err)
		}
	})
}

func TestCreateWithLostAnswerTakesEffect(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		lost := errors.New("connection reset")
		d.Script(fake.Create, fake.Call{AnswerErr: lost}, fake.Call{Delay: time.Second})
		spec := msg.ExecutorSpec{ID: "e1", Image: d.Load("p", fake.Image{})}
		if err := d.Create(ctx, spec); !errors.Is(err, lost) {
			t.Errorf("create returns %v", err)
		}
		if list, err := d.List(ctx); err != nil || len(list) != 1 {
			t.Errorf("list returns %v, %v", list, err)
		}
		check(t, d.Create(ctx, spec))
	})
}

func TestStalledCallEndsWithItsContext(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		d.Script(fake.Pull, fake.Call{Stalls: true})
		ctx, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		if _, err := d.Pull(ctx, "p", msg.PullAlways, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pull returns %v", err)
		}
	})
}

func TestPull(t *testing.T) {
	for _, c := range []struct {
		name          string
		policy        msg.PullPolicy
		secret        string
		local         bool
		remote        bool
		pulled, fails bool
	}{
		{name: "local image is not pulled", policy: msg.PullIfNotPresent, local: true, remote: true},
		{name: `policy "always" pulls again`, policy: msg.PullAlways, secret: "s", local: true, remote: true, pulled: true},
		{name: "missing image is pulled", policy: msg.PullIfNotPresent, secret: "s", remote: true, pulled: true},
		{name: "pull without secret fails", policy: msg.PullIfNotPresent, remote: true, fails: true},
		{name: `policy "never" fails without local image`, policy: msg.PullNever, secret: "s", remote: true, fails: true},
		{name: "unknown image cannot be pulled", policy: msg.PullAlways, local: true, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := fake.New()
			var local, remote msg.ImageID
			if c.local {
				local = d.Load("p", fake.Image{})
			}
			if c.remote {
				remote = d.Push("p", fake.Image{Secret: "s"})
			}
			id, err := d.Pull(t.Context(), "p", c.policy, c.secret)
			switch {
			case c.fails:
				if !errors.Is(err, msg.ErrNoImage) {
					t.Errorf("pull returns %q, %v", id, err)
				}
			case err != nil, c.pulled && id != remote, !c.pulled && id != local:
				t.Errorf("pull returns %q, %v; local is %q, remote %q", id, err, local, remote)
			}
		})
	}
}

func inBubble(t *testing.T, test func(context.Context, *fake.Driver)) {
	synctest.Test(t, func(t *testing.T) {
		d := fake.New()
		defer d.Close()
		test(t.Context(), d)
	})
}

// run starts an executor with the program.
func run(t *testing.T, d *fake.Driver, p fake.Program) msg.ExecutorID {
	t.Helper()
	spec := msg.ExecutorSpec{
		ID: "e1", Image: d.Load("p", fake.Image{Program: p}), Env: map[string]string{"WORD": "mellon"},
	}
	check(t, d.Create(t.Context(), spec))
	check(t, d.Start(t.Context(), spec.ID))
	return spec.ID
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
