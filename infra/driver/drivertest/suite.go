package drivertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	msg "runnerd/messages"
)

// Run tests that the driver conforms to driver.Driver.
func Run(t *testing.T, h Harness) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(h.fixture(t))
		})
	}
}

var cases = []struct {
	name string
	test func(*fixture)
}{
	{"ready", func(b *fixture) { b.ok(b.Ready(b.ctx)) }},
	{"list from create to remove", listed},
	{"calls are idempotent", repeatedCalls},
	{"exited executor does not start again", startsOnce},
	{"wait for a later exit", func(b *fixture) { b.expect(b.start(Waits), msg.SIGTERM, 143) }},
	{"wait for an earlier exit", waitsAfterExit},
	{"wait for executor not yet started", waitsForStart},
	{"wait for executor removed before start", waitsForRemoval},
	{"several waits for one exit", severalWaits},
	{"SIGABRT reaches the program", func(b *fixture) { b.expect(b.start(Waits), msg.SIGABRT, 134) }},
	{"SIGKILL ends program ignoring other signals", killIgnoringSignals},
	{"out of memory is reported", outOfMemory},
	{"remove while running", removedWhileRunning},
	{"restart of the runner", runnerRestarted},
	{"unknown executor is ErrNoExecutor", unknownExecutor},
	{"restarted executor has new start time", restarted},
	{"wait after restart", waitsForNewProcess},
	{"log continues after restart", logContinues},
	{"calls return the context's cause", contextEnds},
	{"log is complete and ordered", completeLog},
	{"long line is split into entries", longLine},
	{"log is followed", followsLog},
	{"log resumes at any position", resumesLog},
	{"error of emit ends logs", emitFails},
	{"pull of local image", pullsLocalImage},
	{"pull of missing image is ErrNoImage", pullsMissingImage},
}

func listed(b *fixture) {
	spec := b.spec(Waits)
	expect := func(want msg.ContainerState) msg.Container {
		b.Helper()
		found := b.containersOf(spec.ID)
		if want == "" && len(found) == 0 {
			return msg.Container{}
		}
		if len(found) != 1 || found[0].State != want || found[0].Image != spec.Image ||
			found[0].StartedAt.IsZero() != (want == msg.ContainerCreated) {
			b.Fatalf("listed as %v, want state %s and image %s", found, want, spec.Image)
		}
		alone, err := b.Inspect(b.ctx, spec.ID)
		if err != nil || !same(alone, found[0]) {
			b.Errorf("inspect returns %v, %v; list %v", alone, err, found[0])
		}
		return alone
	}
	expect("")
	b.ok(b.Create(b.ctx, spec))
	expect(msg.ContainerCreated)
	b.ok(b.Start(b.ctx, spec.ID))
	ran := expect(msg.ContainerRunning)
	b.ok(b.Signal(b.ctx, spec.ID, msg.SIGKILL))
	b.exit(spec.ID)
	if ended := expect(msg.ContainerExited); !ended.StartedAt.Equal(ran.StartedAt) {
		b.Errorf("started at %v; once it has ended, at %v", ran.StartedAt, ended.StartedAt)
	}
	b.ok(b.Remove(b.ctx, spec.ID))
	expect("")
}

func (b *fixture) containersOf(id msg.ExecutorID) (found []msg.Container) {
	b.Helper()
	list, err := b.List(b.ctx)
	b.ok(err)
	for _, c := range list {
		if c.ID == id {
			found = append(found, c)
		}
	}
	return found
}

func same(a, b msg.Container) bool {
	equal := a.StartedAt.Equal(b.StartedAt)
	a.StartedAt, b.StartedAt = time.Time{}, time.Time{}
	return equal && a == b
}

func repeatedCalls(b *fixture) {
	spec := b.spec(Waits)
	for range 2 {
		b.ok(b.Create(b.ctx, spec))
	}
	for range 2 {
		b.ok(b.Start(b.ctx, spec.ID))
	}
	b.ok(b.Create(b.ctx, spec))
	for range 2 {
		b.ok(b.Signal(b.ctx, spec.ID, msg.SIGKILL))
		b.exit(spec.ID)
	}
	for range 2 {
		b.ok(b.Remove(b.ctx, spec.ID))
	}
}

func startsOnce(b *fixture) {
	id := b.start(Exits)
	first := b.exit(id)
	b.ok(b.Start(b.ctx, id))
	if again := b.exit(id); !again.At.Equal(first.At) {
		b.Errorf("ended at %v, and again at %v", first.At, again.At)
	}
	if got := textOf(b.log(id, msg.Position{})); got != "one\ntwo\nthree\n" {
		b.Errorf("the executor's log is %q", got)
	}
}

// expect sends a signal and expects an exit code.
func (b *fixture) expect(id msg.ExecutorID, s msg.Signal, code int) {
	b.Helper()
	b.ok(b.Signal(b.ctx, id, s))
	if exit := b.exit(id); exit.Code != code || exit.OOM || exit.At.IsZero() {
		b.Errorf("%s ends it with %+v, want code %d", s, exit, code)
	}
}

func waitsAfterExit(b *fixture) {
	id := b.start(Exits)
	for range 2 {
		if exit := b.exit(id); exit.Code != 7 || exit.OOM || exit.At.IsZero() {
			b.Errorf("ended with %+v, want code 7", exit)
		}
	}
}

func waitsForStart(b *fixture) {
	id := b.create(Exits)
	exits := make(chan msg.Exit, 1)
	go func() {
		exit, err := b.Wait(b.ctx, id)
		if err != nil {
			b.Error(err)
		}
		exits <- exit
	}()
	select {
	case exit := <-exits:
		b.Fatalf("ended with %+v before it was started", exit)
	case <-time.After(100 * time.Millisecond): // the exit code reveals a wait that returns later, but still before the start
	}
	b.ok(b.Start(b.ctx, id))
	if exit := <-exits; exit.Code != 7 {
		b.Errorf("ended with %+v, want code 7", exit)
	}
}

func waitsForRemoval(b *fixture) {
	id := b.create(Exits)
	errs := make(chan error, 1)
	go func() {
		_, err := b.Wait(b.ctx, id)
		errs <- err
	}()
	b.ok(b.Remove(b.ctx, id))
	if err := <-errs; !errors.Is(err, msg.ErrNoExecutor) {
		b.Errorf("wait returns %v", err)
	}
}

func severalWaits(b *fixture) {
	id := b.start(Waits)
	exits := make(chan msg.Exit)
	for range 5 {
		go func() {
			exit, err := b.Wait(b.ctx, id)
			if err != nil {
				b.Error(err)
			}
			exits <- exit
		}()
	}
	b.ok(b.Signal(b.ctx, id, msg.SIGKILL))
	for range 5 {
		if exit := <-exits; exit.Code != 137 {
			b.Errorf("ended with %+v, want code 137", exit)
		}
	}
}

func killIgnoringSignals(b *fixture) {
	id := b.start(IgnoresSignals)
	b.ok(b.Signal(b.ctx, id, msg.SIGABRT))
	b.ok(b.Signal(b.ctx, id, msg.SIGTERM))
	b.expect(id, msg.SIGKILL, 137)
}

// outOfMemory tries three times: on a busy machine, Docker reports about one such exit in ten before it knows the reason.
func outOfMemory(b *fixture) {
	for range 3 {
		exit := b.exit(b.start(OOM))
		if exit.Code != 137 {
			b.Errorf("ended with %+v, want code 137", exit)
		}
		if exit.OOM {
			return
		}
	}
	b.Error("OOM was not reported in three attempts")
}

func removedWhileRunning(b *fixture) {
	id := b.start(Waits)
	b.ok(b.Remove(b.ctx, id))
	_, err := b.Wait(b.ctx, id)
	if !errors.Is(err, msg.ErrNoExecutor) {
		b.Errorf("wait returns %v", err)
	}
}

func runnerRestarted(b *fixture) {
	id := b.start(Waits)
	b.Driver = b.harness.Reopen(b.T, b.Driver)
	list, err := b.List(b.ctx)
	b.ok(err)
	i := slices.IndexFunc(list, func(c msg.Container) bool { return c.ID == id })
	if i < 0 {
		b.Fatalf("the next driver lists %v and not %s", list, id)
	}
	state := msg.ContainerRunning
	if b.harness.EndsWithRunner {
		state = msg.ContainerExited
		if exit := b.exit(id); exit.Code != -1 || exit.OOM || exit.At.IsZero() {
			b.Errorf("ended with %+v, want code -1", exit)
		}
	} else {
		b.expect(id, msg.SIGTERM, 143)
	}
	if list[i].State != state {
		b.Errorf("the next driver lists it as %s, want %s", list[i].State, state)
	}
	if got := textOf(b.log(id, msg.Position{})); got != "ready\n" {
		b.Errorf("the executor's log is %q", got)
	}
}

func unknownExecutor(b *fixture) {
	id := newID()
	_, waiting := b.Wait(b.ctx, id)
	_, inspecting := b.Inspect(b.ctx, id)
	for method, err := range map[string]error{
		"start":   b.Start(b.ctx, id),
		"wait":    waiting,
		"inspect": inspecting,
		"logs":    b.Logs(b.ctx, id, msg.Position{}, func([]msg.LogEntry) error { return nil }),
		"signal":  b.Signal(b.ctx, id, msg.SIGTERM),
	} {
		if !errors.Is(err, msg.ErrNoExecutor) {
			b.Errorf("%s returns %v", method, err)
		}
	}
	b.ok(b.Remove(b.ctx, id))
}

func contextEnds(b *fixture) {
	errCancelled := errors.New("enough")
	id := b.start(Waits)
	methods := map[string]func(context.Context) error{
		"wait": func(ctx context.Context) error { _, err := b.Wait(ctx, id); return err },
		"logs": func(ctx context.Context) error {
			return b.Logs(ctx, id, msg.Position{}, func([]msg.LogEntry) error { return nil })
		},
		"list":    func(ctx context.Context) error { _, err := b.List(ctx); return err },
		"inspect": func(ctx context.Context) error { _, err := b.Inspect(ctx, id); return err },
	}
	for method, call := range methods {
		ctx, cancel := context.WithCancelCause(b.ctx)
		if method == "list" || method == "inspect" {
			cancel(errCancelled)
		} else {
			time.AfterFunc(50*time.Millisecond, func() { cancel(errCancelled) }) // the call is probably waiting by then
		}
		if err := call(ctx); !errors.Is(err, errCancelled) || errors.Is(err, msg.ErrNoExecutor) {
			b.Errorf("%s returns %v", method, err)
		}
		cancel(nil)
	}
}

func pullsLocalImage(b *fixture) {
	if b.harness.Image == "" {
		b.Skip("this driver pulls nothing")
	}
	for _, policy := range []msg.PullPolicy{msg.PullIfNotPresent, msg.PullNever, ""} {
		if id, err := b.Pull(b.ctx, b.harness.Image, policy, ""); err != nil || id == "" {
			b.Errorf("%q: image %q, error %v", policy, id, err)
		}
	}
}

func pullsMissingImage(b *fixture) {
	if b.harness.Missing == "" {
		b.Skip("this driver pulls nothing")
	}
	if _, err := b.Pull(b.ctx, b.harness.Missing, msg.PullNever, ""); !errors.Is(err, msg.ErrNoImage) {
		b.Errorf("pull returns %v", err)
	}
}
