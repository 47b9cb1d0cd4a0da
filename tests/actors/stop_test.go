package actors_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// The stop sequence of a job, when it does not go undisturbed.

// ordered begins a job of a plugin and has its end asked for; it returns when the first signal is sent.
func (w *world) ordered(p fakes.Plugin) (msg.JobID, msg.ExecutorID) {
	w.t.Helper()
	w.image("odd", p)
	w.start()
	id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Prints: []string{"one"}, Hangs: true}})
	x := w.begins(id)
	w.server.Abort(id, "enough")
	w.until("it is told to end", time.Minute, func() bool { return len(w.engine.Calls(fake.Signal)) == 1 })
	return id, x
}

func TestAStopSequenceOutlivesARestartAndTheActorThatBeganIt(t *testing.T) {
	disturb := map[string]func(*world, msg.JobID){
		"the runner is killed": func(w *world, _ msg.JobID) { w.restart() },
		"the actor crashes": func(w *world, id msg.JobID) {
			w.scheduler.(*saboteur).soon("executor")
			w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: w.server.ExecutionOf(id), Reason: "once more"}})
			w.until("it has crashed", time.Second, func() bool { return strings.Contains(w.log.text(), "sabotage") })
		},
	}
	for name, c := range map[string]struct {
		plugin fakes.Plugin
		after  time.Duration // of the sequence
		says   string
		result string
	}{
		"while it answers SIGABRT": {fakes.Plugin{AbortsIn: 8 * time.Second}, 3 * time.Second,
			"The plugin answered SIGABRT with its result after 8.0s", `{"exitCode":134}`},
		"before it has SIGTERM": {fakes.Plugin{IgnoresAbort: true}, 7 * time.Second, "It ended on SIGTERM after 10.0s", ""},
		"while it answers SIGTERM": {fakes.Plugin{SDK: msg.PythonSDK, AbortsIn: 4 * time.Second}, 12 * time.Second,
			"The plugin answered SIGTERM with its result after 14.0s", `{"exitCode":1}`},
		"before it has SIGKILL": {fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true}, 13 * time.Second, "It took SIGKILL, after 15.0s", ""},
	} {
		for what, disturb := range disturb {
			t.Run(what+" "+name, func(t *testing.T) {
				inWorld(t, daemonMode(1), func(w *world) {
					w.scheduler = newSaboteur(point{})
					id, x := w.ordered(c.plugin)
					w.passes(c.after)
					disturb(w, id)
					f := w.fails(id, msg.Aborted, "aborted: enough. "+c.says)
					if f.Result != c.result {
						t.Errorf("its result is %q, want %q", f.Result, c.result)
					}
					w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
					w.nothingIsLeft()
				})
			})
		}
	}
}

func TestWhatEndsWhileTheRunnerIsAwayIsToldAsItIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		plugin fakes.Plugin
		says   string
	}{
		"the plugin has answered": {fakes.Plugin{AbortsIn: 5 * time.Second}, "The plugin had its result within 30.0s"},
		"its executor was killed": {fakes.Plugin{AbortsIn: time.Hour}, "It ended within 30.0s"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.maxStep = minStep // the time since the order is in what is told
				id, x := w.ordered(c.plugin)
				w.passes(time.Second)
				w.stop()
				time.Sleep(29*time.Second - 100*time.Millisecond)
				if c.plugin.AbortsIn > time.Minute {
					w.engine.Fell(x, msg.Exit{Code: 137})
				}
				time.Sleep(100 * time.Millisecond)
				w.start()
				w.fails(id, msg.Aborted, "aborted: enough. "+c.says)
				w.nothingIsLeft()
			})
		})
	}
}

func TestTheFinishWaitsForTheAnswerAsLongAsTheSignalsDo(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.limits.Abort, w.limits.Term = 2*time.Minute, 3*time.Minute
		id, _ := w.ordered(fakes.Plugin{SDK: msg.PythonSDK, AbortsIn: 2 * time.Minute})
		f := w.fails(id, msg.Aborted, "enough. The plugin answered SIGTERM with its result after 240.0s")
		if f.Result != `{"exitCode":1}` {
			t.Errorf("its result is %q", f.Result)
		}
	})
}

func TestAFinishThatCouldWaitNoLongerIsTheSameWheneverItIsRepeated(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Finish, fakes.Call{AnswerLost: errNoAnswer}, fakes.Call{Takes: time.Minute, Fails: errNoAnswer})
		w.image("odd", fakes.Plugin{AbortsIn: 31 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		gone := fake.Call{Fails: errNoAnswer} // the engine hears nothing but SIGABRT
		w.engine.Script(fake.Signal, append([]fake.Call{{}}, slices.Repeat([]fake.Call{gone}, 24)...)...)
		w.server.Abort(id, "enough")
		f := w.fails(id, msg.Aborted, "aborted: enough. It had not ended after 30.0s")
		if f.Result != "" {
			t.Errorf("its result is %q", f.Result)
		}
		w.until("its executor is gone", 10*time.Minute, func() bool { return !w.isAlive(x) })
		w.nothingIsLeft()
	})
}

func TestAnExecutorWhoseStopIsOverdueAfterARestartIsNotKilledInABusyLoop(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		_, x := w.ordered(fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		w.stop()
		time.Sleep(time.Minute)
		w.engine.Script(fake.Wait, fake.Call{Takes: 20 * time.Second}) // the engine is slow to say that it has ended
		w.engine.Script(fake.Signal, slices.Repeat([]fake.Call{{Takes: 100 * time.Millisecond}}, 300)...)
		before := len(w.engine.Calls(fake.Signal))
		w.start()
		w.until("its end is seen", time.Minute, func() bool { return w.state(x) != "stopping" && !w.isAlive(x) && len(w.spool.Executors()) == 0 })
		if sent := len(w.engine.Calls(fake.Signal)) - before; sent < 1 || sent > 5 {
			t.Errorf("%d signals are sent in 20 s", sent)
		}
	})
}

func TestASignalThatTheEngineDoesNotTakeIsNotSaidToHaveEndedAJob(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		gone := fake.Call{Fails: errNoAnswer}
		w.engine.Script(fake.Signal, fake.Call{}, gone, gone, gone, gone, gone)
		id, x := w.ordered(fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		w.maxStep = minStep
		w.until("SIGTERM has failed twice", time.Minute, func() bool { return len(w.engine.Calls(fake.Signal)) == 3 })
		w.engine.Fell(x, msg.Exit{Code: 1})
		w.fails(id, msg.Aborted, "aborted: enough. It ended on SIGABRT after 10.")
		w.nothingIsLeft()
	})
}

func TestAStopOfWhichTheDiskTakesNoNoteIsReportedAllTheSame(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		var armed atomic.Bool
		w.disk.Before = func(op memfs.Op) error {
			if strings.HasSuffix(op.Name, "/journal") && armed.CompareAndSwap(true, false) {
				return errNoSpace
			}
			return nil
		}
		id, x := w.ordered(fakes.Plugin{AbortsIn: time.Second})
		armed.Store(true)
		f := w.fails(id, msg.Aborted, "aborted: enough")
		if f.Message != "aborted: enough" || f.Result != `{"exitCode":134}` || armed.Load() {
			t.Errorf("%+v", f)
		}
		w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
		w.nothingIsLeft()
	})
}

func TestTheStopOfAnExecutorThatIsGivenUpIsNotWaitedFor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		w.scheduler = s
		id, _ := w.ordered(fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		s.poison = func(message any) bool { _, found := message.(msg.Found); return found }
		s.soon("executor")
		if f := w.fails(id, msg.Aborted, "aborted: enough"); f.Message != "aborted: enough" {
			t.Errorf("it says %q", f.Message)
		}
		w.nothingIsLeft()
	})
}

func TestAStopOfWhichNobodyIsLeftToTellIsNotWaitedFor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		offers, err := w.server.Reserve(t.Context(), 1, 0)
		if err != nil || len(offers) != 1 {
			t.Fatal(offers, err)
		}
		job := offers[0].Execution
		disk, err := spool.Open(w.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{
			disk.Add(offers[0]), w.server.Confirm(t.Context(), id, job), disk.Confirm(job),
			disk.CreateExecutor(msg.ExecutorRecord{ID: "x0"}, nil), disk.HandOut(msg.HandOut{Execution: job, Executor: "x0", From: time.Now()}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		_, ended := disk.End(job, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough"})
		if err := errors.Join(ended, disk.RemoveExecutor("x0"), disk.Close()); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.until("it is finished", time.Second, w.finished(id))
		if f, _ := w.server.FinishOf(id); f.Message != "aborted: enough" {
			t.Errorf("it says %q", f.Message)
		}
	})
}
