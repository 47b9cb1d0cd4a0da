package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestTheLogReadUpToTheResultIsThereBeforeTheFinish(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Log, fakes.Call{}, fakes.Call{Takes: 10 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"10:00:00 one", "10:00:01 two"}, Works: time.Second}})
		f := w.completes(id)
		if f.LogBytes != len("10:00:00 one\n10:00:01 two\n") {
			t.Errorf("the finish came with %d bytes of log", f.LogBytes)
		}
	})
}

func TestTheFinishDoesNotWaitLongerThanThirtySecondsForTheLog(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		for range 20 {
			w.server.Script(fakes.Log, fakes.Call{Fails: refusal(500, 0)})
		}
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: time.Second}})
		f := w.completes(id)
		if took := f.At.Sub(startOf(w)); f.LogBytes > 0 || took < 30*time.Second || took > 70*time.Second {
			t.Errorf("it was finished after %v with %d bytes of log", took, f.LogBytes)
		}
		w.nothingIsLeft()
		if log, ended := w.logOf(id); log != "one\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

func TestALogReachesTheServerOnceWhateverHappensOnTheWay(t *testing.T) {
	for name, calls := range map[string][]fakes.Call{
		"every second answer is lost":  {{AnswerLost: errNoAnswer}, {}, {AnswerLost: errNoAnswer}, {}, {AnswerLost: errNoAnswer}},
		"every second request is lost": {{Fails: errNoAnswer}, {}, {Fails: errNoAnswer}, {}, {Fails: errNoAnswer}},
		"the server is overloaded":     {{Fails: refusal(429, 7*time.Second)}, {Fails: refusal(500, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Log, calls...)
				var lines []string
				for n := range 300 {
					lines = append(lines, fmt.Sprintf("line %d %s", n, strings.Repeat("x", n*10)))
				}
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: lines, Trails: lines}})
				w.completes(id)
				w.nothingIsLeft()
				whole := strings.Join(append(lines, lines...), "\n") + "\n"
				if log, ended := w.logOf(id); log != whole || !ended {
					t.Errorf("the log has %d bytes, want %d; ended: %v", len(log), len(whole), ended)
				}
			})
		})
	}
}

func TestTheLogsOfTwoJobsOfOneExecutorDoNotMix(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		var ids []msg.JobID
		for n := range 5 {
			ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin", Secret: fmt.Sprintf("secret-%d", n), Errand: fakes.Errand{
				Prints: []string{fmt.Sprintf("job %d begins", n)}, Trails: []string{fmt.Sprintf("job %d ends and still knows secret-0", n)}}}))
		}
		for _, id := range ids {
			w.completes(id)
		}
		w.nothingIsLeft()
		for n, id := range ids {
			log, _ := w.logOf(id)
			if want := fmt.Sprintf("job %d begins\njob %d ends and still knows ", n, n); !strings.HasPrefix(log, want) || strings.Contains(log, "secret-0") || strings.Count(log, "\n") != 2 {
				t.Errorf("the log of job %d is %q", n, log)
			}
		}
	})
}

func TestAFinishIsRepeatedUntilTheServerTakesIt(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Finish, fakes.Call{Fails: refusal(500, 0)}, fakes.Call{AnswerLost: errNoAnswer}, fakes.Call{Stalls: false, Fails: errNoAnswer})
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		w.nothingIsLeft()
	})
}

func TestAFinishThatIsNeverWantedIsKeptForAPersonAndTheOthersGoOn(t *testing.T) {
	for _, status := range []int{400, 404, 409, 410, 413} {
		inWorld(t, daemonMode(1), func(w *world) {
			w.server.Script(fakes.Finish, fakes.Call{Fails: &msg.Refusal{Op: "finish", Status: status}})
			w.start()
			refused := w.server.Submit(fakes.Task{Image: "plugin"})
			w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			if kept, err := w.disk.ReadDir("rejected"); err != nil || len(kept) != 1 {
				t.Errorf("rejected/ has %v, error %v", kept, err)
			}
			if _, finished := w.server.FinishOf(refused); finished {
				t.Error("it is finished")
			}
			w.until("the spool is empty", time.Minute, func() bool { return len(w.spool.Jobs()) == 0 })
		})
	}
}

func TestALogThatIsNeverWantedKeepsNoFinishBack(t *testing.T) {
	for _, status := range []int{400, 404, 410, 413} {
		inWorld(t, daemonMode(1), func(w *world) {
			w.server.Script(fakes.Log, fakes.Call{Fails: &msg.Refusal{Op: "log", Status: status}})
			w.start()
			w.completes(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}}))
			w.until("the spool is empty", time.Minute, func() bool { return len(w.spool.Jobs()) == 0 })
		})
	}
}

func TestWhatEndsWithoutTheServerIsReportedWhenItIsBack(t *testing.T) {
	inWorld(t, daemonMode(4), func(w *world) {
		w.start()
		var ids []msg.JobID
		for range 4 {
			ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: time.Minute}}))
		}
		for _, id := range ids {
			w.begins(id)
		}
		w.server.Down(errNoAnswer)
		w.passes(10 * time.Minute)
		w.server.Down(nil)
		for _, id := range ids {
			w.completes(id)
		}
		w.nothingIsLeft()
	})
}

// drain asks for an orderly end and waits for it.
func (w *world) drain(within time.Duration) {
	w.t.Helper()
	done := make(chan struct{}, 2)
	asked := w.root
	w.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
	w.until("it is drained", within, func() bool {
		if w.root != asked { // it was started again meanwhile
			asked = w.root
			w.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

func TestADrainFinishesWhatRunsAndLeavesNothing(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		idle := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(idle)
		w.image("other", fakes.Plugin{})
		runs := w.server.Submit(fakes.Task{Image: "other", Errand: fakes.Errand{Works: 2 * time.Minute}})
		w.begins(runs)
		w.drain(3 * time.Minute)
		late := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(runs)
		w.passes(time.Minute)
		if len(w.alive()) > 0 || len(w.spool.Executors()) > 0 || len(w.spool.Jobs()) > 0 {
			t.Errorf("left: containers %v, executors %v, jobs %v", w.alive(), w.spool.Executors(), w.spool.Jobs())
		}
		if w.server.Confirmed(late) {
			t.Error("a job was taken while draining")
		}
	})
}

func TestADrainDoesNotWaitForAServerThatIsAway(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(id)
		w.server.Down(errNoAnswer)
		w.drain(2 * time.Minute)
		w.server.Down(nil)
		w.restart()
		w.completes(id)
	})
}

func TestADrainDoesNotWaitForAJobOfWhichThereIsNothingToReport(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		s.poison = crashesOn[msg.ConfirmDone](1)
		w.scheduler = s
		for range 100 {
			w.server.Script(fakes.Confirm, fakes.Call{Fails: errNoAnswer})
		}
		w.start()
		w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("an actor has crashed on it", time.Minute, func() bool {
			jobs := w.spool.Jobs()
			return len(jobs) == 1 && jobs[0].Crashes == 1
		})
		w.drain(5 * time.Second)
	})
}

func TestADrainEndsOnceWhateverCrashesThen(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		w.scheduler = s
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		var ended atomic.Int32
		w.root.Tell(msg.Drain{Done: func() { ended.Add(1) }})
		w.until("it is drained", time.Minute, func() bool { return ended.Load() > 0 })
		s.soon("poller")
		w.root.Tell(msg.Recovered{}) // of which the poller hears
		w.passes(time.Minute)
		crashed := strings.Contains(w.log.text(), "sabotage")
		if n := ended.Load(); n != 1 || !crashed {
			t.Errorf("it ended %d times; crashed: %v", n, crashed)
		}
	})
}

func TestADrainEndsWhenTheLastReportDoes(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Finish, fakes.Call{Takes: 17*time.Second + 37*time.Millisecond})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is being reported", time.Minute, func() bool { return len(w.server.Calls(fakes.Finish)) > 0 })
		var ended atomic.Pointer[time.Time]
		w.root.Tell(msg.Drain{Done: func() { now := time.Now(); ended.Store(&now) }})
		w.until("it is drained", time.Minute, func() bool { return ended.Load() != nil })
		if late := ended.Load().Sub(w.ends(id).At); late != 0 { // by the clock of the bubble, in which work takes no time
			t.Errorf("it ends %v after the last report", late)
		}
	})
}

func TestADrainEndsOnceThoughTheServerDeletesTheRunnerThen(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		var ended atomic.Int32
		w.root.Tell(msg.Drain{Done: func() { ended.Add(1) }})
		w.until("it is drained", time.Minute, func() bool { return ended.Load() > 0 })
		w.server.Say(msg.Delete{})
		w.until("the server is told that it is no more", time.Minute, func() bool { return len(w.server.Calls(fakes.Unregister)) > 0 })
		w.passes(time.Second)
		if n := ended.Load(); n != 1 {
			t.Errorf("it ended %d times", n)
		}
	})
}

func TestTheStatusSaysWhyARunnerIsNotReady(t *testing.T) {
	status := func(w *world) msg.Status {
		s, err := actorrt.Ask(context.Background(), w.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
		if err != nil {
			t.Fatal(err)
		}
		if told := *w.notReady.Load(); !slices.Equal(told, s.NotReady) {
			t.Errorf("the program was told %q, and the status says %q", told, s.NotReady)
		}
		return s
	}
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Register, fakes.Call{Fails: refusal(403, 0)})
		w.engine.Down(errNoAnswer)
		w.start()
		w.passes(100 * time.Millisecond)
		s := status(w)
		if s.State != "recovering" || len(s.NotReady) != 2 || !strings.Contains(s.NotReady[0], "connection reset") || !strings.Contains(s.NotReady[1], "403") {
			t.Errorf("it says %+v", s)
		}
		w.engine.Down(nil)
		w.passes(10 * time.Second)
		if s := status(w); s.State != "online" || len(s.NotReady) > 0 {
			t.Errorf("it says %+v", s)
		}
		w.server.Script(fakes.Heartbeat, fakes.Call{Fails: refusal(500, 0)})
		w.passes(15 * time.Second)
		if s := status(w); len(s.NotReady) != 1 || !strings.Contains(s.NotReady[0], "500") {
			t.Errorf("without a heartbeat it says %+v", s)
		}
		w.passes(15 * time.Second)
		if s := status(w); len(s.NotReady) > 0 {
			t.Errorf("with a heartbeat again it says %+v", s)
		}
	})
}

func TestAJobWhoseConfirmIsAnsweredAfterTheDrainStartsNothing(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 5 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(time.Second)
		w.drain(time.Minute)
		w.passes(time.Minute)
		if n := w.created(); n > 0 {
			t.Errorf("%d executors were created after the drain", n)
		}
		w.restart()
		w.completes(id)
	})
}

func TestALineHasTheTimeOfItsReceiptOverARestartToo(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one", "two"}, Works: time.Minute, Trails: []string{"three"}}})
		w.begins(id)
		w.passes(10 * time.Second)
		w.restart()
		w.completes(id)
		w.nothingIsLeft()
		log, _ := w.server.LogOf(id)
		if said, timed := fakes.Said(log); !timed || said != "one\ntwo\nthree\n" {
			t.Errorf("the log is %q", log)
		}
		if !strings.Contains(log, ":00:00.001Z one\n") || !strings.Contains(log, ":01:00.0") {
			t.Errorf("the times in %q are not those of the lines", log)
		}
	})
}

func TestALogThatIsTooLongEndsWithAWordAboutItOverARestartToo(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.logLimit = 100
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{
			Prints: append(slices.Repeat([]string{"01:23:45.6"}, 10), "left out"), Works: time.Minute, Trails: []string{"left out too"}}})
		w.begins(id)
		w.passes(10 * time.Second)
		w.restart()
		w.completes(id)
		w.nothingIsLeft()
		want := strings.Repeat("01:23:45.6\n", 10)[:100] + "\n… the log ends here: of a job's log this runner keeps 100 bytes\n"
		if log, ended := w.logOf(id); log != want || !ended {
			t.Errorf("the log is %q, want %q", log, want)
		}
		next := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"10:00:00 the next one"}}})
		w.completes(next)
		w.nothingIsLeft()
		if log, _ := w.logOf(next); log != "10:00:00 the next one\n" {
			t.Errorf("the log of the next job is %q", log)
		}
	})
}

// halting answers to a log, so many times, that it is as long as that.
type halting struct {
	*fakes.Server
	answers func() (int64, error)
	left    atomic.Int64
}

func (s *halting) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	if len(text) > 0 && s.left.Add(-1) >= 0 {
		return s.answers()
	}
	return s.Server.AppendLog(ctx, job, offset, text, total)
}

func TestAServerThatTakesNothingOfALogIsNotFlooded(t *testing.T) {
	second := false
	for name, answers := range map[string]func() (int64, error){
		"it has nothing, and says that all is well": func() (int64, error) { return 0, nil },
		"it names one place, and then another": func() (int64, error) {
			second = !second
			if second {
				return 0, &msg.Refusal{Op: fakes.Log, Status: 409, Offset: 3}
			}
			return 0, &msg.Refusal{Op: fakes.Log, Status: 409, Offset: 0}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				server := &halting{Server: w.server, answers: answers}
				const most = 1000
				server.left.Store(most)
				w.release = server
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one", "two"}}})
				w.completes(id)
				w.passes(10 * time.Second)
				if n := most - server.left.Load(); n < 2 || n > 300 {
					t.Errorf("it was sent the log %d times", n)
				}
				server.left.Store(0)
				w.nothingIsLeft()
				if log, ended := w.logOf(id); log != "one\ntwo\n" || !ended {
					t.Errorf("the log is %q, ended: %v", log, ended)
				}
			})
		})
	}
}
