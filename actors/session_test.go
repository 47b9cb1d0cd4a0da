package actors

import (
	"errors"
	"slices"
	"testing"
	"time"

	msg "runnerd/messages"
)

// Bugs that the exploration of every state has found, each as the shortest sequence of messages that shows it.

// after returns the session after the messages, and the effects of the last one.
func after(s session, all ...msg.ToExecutor) (session, []effect) {
	var effects []effect
	for _, m := range all {
		s, effects = step(s, m)
	}
	return s, effects
}

// has returns the first effect of type E.
func has[E effect](effects []effect) (found E, ok bool) {
	i := slices.IndexFunc(effects, func(e effect) bool { _, is := e.(E); return is })
	if i < 0 {
		return found, false
	}
	return effects[i].(E), true
}

// runningSession returns a session that has handed job 2 out. Job 1 was its first.
func runningSession() session {
	s := newSession(msg.ExecutorRecord{ID: "x", Mode: msg.Daemon}, msg.ExecutorLimits{PickUp: time.Minute}, 0)
	s.state, s.observed, s.last, s.previous, s.jobs = running, true, "2", "1", 2
	s.job = openJob{Job: msg.Job{Execution: "2"}, handOut: handedOut, handOuts: 1}
	return s
}

func TestJobWithLateInputIsNotRunAgain(t *testing.T) {
	for _, row := range []struct {
		when     string
		messages []msg.ToExecutor
		moves    bool
	}{
		{"it never arrived", nil, true},
		{"it arrived before the kill took effect", []msg.ToExecutor{msg.Delivered{Execution: "2"}}, false},
	} {
		t.Run(row.when, func(t *testing.T) {
			s, effects := after(runningSession(), msg.DeliveryDue{})
			if _, ok := has[recordNotStarted](effects); ok {
				t.Error("the job is recorded as not started while its plugin may still begin it")
			}
			s, _ = after(s, row.messages...)
			s, effects = after(s, msg.LogsEnded{}, msg.Exited{})
			if e, ok := has[examine](effects); !ok || e.unstarted != row.moves {
				t.Errorf("examine effect %+v, want unstarted %v", e, row.moves)
			}
			_, effects = after(s, msg.Examined{NotHandedOut: row.moves, HandOuts: 1})
			if _, moves := has[tellDispatcher](effects); moves != row.moves {
				t.Errorf("job moves to another executor: %v, want %v", moves, row.moves)
			}
			if _, ends := has[endJob](effects); ends == row.moves {
				t.Errorf("job is ended: %v, want %v", ends, !row.moves)
			}
		})
	}
}

func TestExaminationBeforeHandOutIsRepeated(t *testing.T) {
	s := runningSession()
	s.job.handOut, s.job.handOuts = handingOut, 0
	_, effects := after(s, msg.LogsEnded{}, msg.Exited{}, msg.HandOutDone{Execution: "2", Request: 1}, msg.Examined{NotHandedOut: true})
	if _, ok := has[examine](effects); !ok {
		t.Errorf("a job that was handed out meanwhile is returned: %+v", effects)
	}
}

func TestRestartedContainerDoesNotReceiveJobAgain(t *testing.T) {
	for _, row := range []struct {
		when      string
		restarted bool
	}{{"the container was restarted", true}, {"it is the same process", false}} {
		t.Run(row.when, func(t *testing.T) {
			s := runningSession()
			s.inspected, s.attached = false, true
			s, effects := after(s, msg.SecretRequested{Request: 2}, msg.FileRead{Execution: "2"})
			if _, ok := has[resendJob](effects); ok {
				t.Fatal("the job is sent before the container is inspected")
			}
			s, _ = after(s, msg.Found{Container: &msg.Container{State: msg.ContainerRunning}, Restarted: row.restarted})
			_, effects = after(s, msg.FileRead{Execution: "2"})
			if _, sent := has[resendJob](effects); sent == row.restarted {
				t.Errorf("the job is sent: %v, want %v", sent, !row.restarted)
			}
		})
	}
}

func repeatedHandOut() session {
	s := runningSession()
	s.job.handOut, s.job.unstarted = handingOut, true
	return s
}

func TestResultDuringRepeatedHandOutIsStored(t *testing.T) {
	_, effects := after(repeatedHandOut(), msg.CallbackReceived{Request: 3, Execution: "2", ReceivedBody: msg.ReceivedBody{Verdict: msg.IsResult}})
	if _, stores := has[storeResult](effects); !stores {
		t.Errorf("the job's result is not stored: %+v", effects)
	}
}

func TestDeliveryDuringRepeatedHandOutCounts(t *testing.T) {
	for _, row := range []struct {
		when string
		err  error
		want bool
	}{{"it was handed out", nil, true}, {"it was not", errors.New("no"), false}} {
		t.Run(row.when, func(t *testing.T) {
			s, _ := after(repeatedHandOut(), msg.Delivered{Execution: "2"}, msg.HandOutDone{Execution: "2", Request: 2, Err: row.err})
			if s.job.delivered != row.want {
				t.Errorf("delivered: %v, want %v", s.job.delivered, row.want)
			}
		})
	}
}

func TestCallbackDoesNotWaitForEngine(t *testing.T) {
	s := runningSession()
	s.attached, s.runnerRestarted, s.inspected, s.readingFile = true, true, false, true
	s, _ = after(s, msg.CallbackReceived{Request: 7, Execution: "2", ReceivedBody: msg.ReceivedBody{Verdict: msg.IsResult}}, msg.SecretRequested{Request: 8})
	s, effects := after(s, msg.FileRead{Execution: "2"})
	if _, stores := has[storeResult](effects); !stores {
		t.Errorf("the job's result is not stored: %+v", effects)
	}
	if len(s.pending) != 1 {
		t.Errorf("%d requests wait for the engine, want only the GET", len(s.pending))
	}
}

// A stop must not resume when the plugin has already answered the signals of the previous runner.
func TestStopResumesAfterReadingResultFile(t *testing.T) {
	for name, row := range map[string]struct {
		read  msg.FileRead
		kills bool
	}{
		"there is none":           {msg.FileRead{Execution: "2"}, true},
		"it cannot be read":       {msg.FileRead{Execution: "2", Err: errors.New("EIO")}, true},
		"it answered the signals": {msg.FileRead{Execution: "2", Stored: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningSession()
			s.state, s.observed, s.inspected, s.readingFile, s.limits.Abort, s.limits.Term = stopping, false, false, true, time.Second, time.Second
			s.job.ending, s.job.stop = &msg.Ending{Outcome: msg.Aborted}, &stopSequence{elapsed: time.Minute, resumes: true}
			s, effects := after(s, msg.Found{Container: &msg.Container{State: msg.ContainerRunning}})
			if sent, ok := has[sendSignal](effects); ok {
				t.Errorf("a signal is sent before the file is read: %+v", sent)
			}
			_, effects = after(s, row.read)
			if _, kills := has[sendSignal](effects); kills != row.kills {
				t.Errorf("a signal is sent: %v, want %v: %+v", kills, row.kills, effects)
			}
		})
	}
}
