package actors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// crashesOn crashes the actors that hear a message of a type, the first n of them.
func crashesOn[M any](n int) func(message any) bool {
	return func(message any) bool {
		_, is := message.(M)
		if is {
			n--
		}
		return is && n >= 0
	}
}

func TestAnExecutorWhoseActorsKeepCrashingIsGivenUp(t *testing.T) {
	for name, errand := range map[string]fakes.Errand{
		"it waits":     {},
		"it has a job": {Prints: []string{"one"}, Hangs: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				s := newSaboteur(point{})
				delivered := crashesOn[msg.Delivered](1)
				s.poison = func(message any) bool {
					_, found := message.(msg.Found)
					return found || errand.Hangs && delivered(message)
				}
				w.scheduler = s
				w.engine.Script(fake.Remove, fake.Call{Fails: errNoAnswer}, fake.Call{Stalls: true})
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: errand})
				x := w.begins(id)
				if errand.Hangs {
					w.fails(id, msg.Failed, "gave this job up")
				} else {
					w.becomesIdle(x)
					s.soon("executor")
					w.passes(20 * time.Second)
				}
				next := w.server.Submit(fakes.Task{Image: "plugin"})
				if f := w.completes(next); f.At.Sub(startOf(w)) > 5*time.Minute {
					t.Errorf("the next job had to wait until %v", f.At)
				}
				if w.isAlive(x) {
					t.Error("it is still alive")
				}
				w.nothingIsLeft()
			})
		})
	}
}

func TestAnOrphanThatCannotBeRemovedTakesAPlaceAndNoMore(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		image := w.engine.Load("stray", fake.Image{})
		if err := errors.Join(w.engine.Create(context.Background(), msg.ExecutorSpec{ID: "stray", Image: image}),
			w.engine.Start(context.Background(), "stray")); err != nil {
			t.Fatal(err)
		}
		w.engine.Script(fake.Remove, fake.Call{Fails: errNoAnswer}, fake.Call{Stalls: true}, fake.Call{Stalls: true})
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 30 * time.Second}})
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		if !w.isAlive("stray") {
			t.Error("it was removed before: this proves nothing")
		}
		w.completes(second)
		w.until("it is removed", 5*time.Minute, func() bool { return !w.isAlive("stray") })
	})
}

func TestTheLogOfAJobThatIsGivenUpIsReadToItsEnd(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		crashes, delivered := crashesOn[msg.Found](2), crashesOn[msg.Delivered](1)
		const lines = 500 // one a millisecond: longer than the crashes take
		s.poison = func(message any) bool { return delivered(message) || crashes(message) }
		w.scheduler = s
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: slices.Repeat([]string{"a line"}, lines), Hangs: true}})
		w.fails(id, msg.Failed, "gave this job up")
		w.nothingIsLeft()
		if log, ended := w.logOf(id); strings.Count(log, "\n") != lines || !ended {
			t.Errorf("its log has %d lines of %d, ended: %v", strings.Count(log, "\n"), lines, ended)
		}
	})
}

func TestACrashBetweenTheDoorAndTheDirectoryLeavesNoDoor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		s.poison = crashesOn[msg.Prepared](3) // as many as a job bears
		w.scheduler = s
		var full atomic.Bool
		w.disk.Before = func(op memfs.Op) error {
			if full.Load() && strings.Contains(op.Name, "executor") {
				return errNoSpace
			}
			return nil
		}
		w.start()
		full.Store(true)
		w.fails(w.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "")
		full.Store(false)
		w.nothingIsLeft()
	})
}

func TestTheResultThatAnExecutorWhichIsGivenUpHasLeftCountsThoughTheDiskFailsForAWhile(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		waits, runs := crashesOn[msg.Found](4), crashesOn[msg.CheckDiskDue](1) // one more ends it, long after its result is there
		var full atomic.Bool
		s.poison = func(message any) bool { return waits(message) || full.Load() && runs(message) }
		w.scheduler = s
		w.disk.Before = func(op memfs.Op) error {
			if full.Load() && strings.HasSuffix(op.Name, "/result") {
				return errNoSpace
			}
			return nil
		}
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		s.soon("executor")
		w.passes(20 * time.Second)
		full.Store(true)
		second := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{FileOnly: true}})
		w.until("its executor is given up", time.Minute, func() bool { return strings.Contains(w.log.text(), "executor is given up") })
		w.passes(5 * time.Second)
		full.Store(false)
		w.completes(second)
		if w.ranIn(first) != w.ranIn(second) {
			t.Error("it ran in another executor: this proves nothing")
		}
		w.nothingIsLeft()
	})
}
