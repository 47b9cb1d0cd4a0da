package fake_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

func TestPendingWaitReturnsExitBeforeRestart(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		id := run(t, d, fake.Program{RunFor: time.Hour, ExitCode: 3})
		first := make(chan msg.Exit, 1)
		go func() {
			exit, err := d.Wait(ctx, id)
			check(t, err)
			first <- exit
		}()
		synctest.Wait()
		before, err := d.Inspect(ctx, id)
		check(t, err)
		d.Restart(id)
		if exit := <-first; exit.Code != 137 {
			t.Errorf("the process before the restart ended with %+v", exit)
		}
		if now, err := d.Inspect(ctx, id); err != nil || !now.StartedAt.After(before.StartedAt) {
			t.Errorf("started at %v; after the restart, at %v: %v", before.StartedAt, now.StartedAt, err)
		}
		if exit, err := d.Wait(ctx, id); err != nil || exit.Code != 3 {
			t.Errorf("the new process ended with %+v, %v", exit, err)
		}
	})
}

// A Run function that continues after its process was killed must not print, exit or read signals for the new process.
func TestKilledProgramCannotActForNewProcess(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		runs := 0
		id := run(t, d, fake.Program{Run: func(ctx context.Context, w *fake.Process) int {
			runs++
			first := runs == 1
			<-ctx.Done()
			time.Sleep(time.Minute)
			if first && (w.Print("late\n") || w.Signal() != "") {
				t.Error("the program acts after its end")
			}
			return 5
		}})
		synctest.Wait()
		d.Restart(id)
		check(t, d.Signal(ctx, id, msg.SIGTERM))
		time.Sleep(time.Hour)
		if c, err := d.Inspect(ctx, id); err != nil || c.State != msg.ContainerRunning {
			t.Errorf("the new process is %v, %v", c, err)
		}
	})
}

func TestEmptyAnswerIsEmptyListOrError(t *testing.T) {
	inBubble(t, func(ctx context.Context, d *fake.Driver) {
		id := run(t, d, fake.Program{RunFor: time.Hour})
		for _, op := range []string{fake.List, fake.Inspect, fake.Wait} {
			d.Script(op, fake.Call{EmptyAnswer: true})
		}
		if list, err := d.List(ctx); err != nil || len(list) > 0 {
			t.Errorf("list returns %v, %v", list, err)
		}
		_, inspecting := d.Inspect(ctx, id)
		_, waiting := d.Wait(ctx, id)
		for _, err := range []error{inspecting, waiting} {
			if err == nil || errors.Is(err, msg.ErrNoExecutor) {
				t.Errorf("inspect or wait returns %v", err)
			}
		}
		if list, err := d.List(ctx); err != nil || len(list) != 1 {
			t.Errorf("list returns %v, %v", list, err)
		}
	})
}
