package actors

import (
	"cmp"
	"errors"
	"slices"
	"testing"

	msg "runnerd/messages"
)

// After an unexpected exit the container may be starting again (docker restart), so its slot is freed only by its removal.
func TestUnexpectedExitFreesSlotOnRemoval(t *testing.T) {
	slotFreed := effect(tellDispatcher{msg.SlotFreed{Executor: "x"}})
	for _, row := range []struct {
		is      state
		mode    msg.Mode
		before  bool // somebody restarted it before
		code    int
		err     error // of the engine
		freesAt string
	}{
		{is: starting, freesAt: "removal"},
		{is: running, freesAt: "removal"},
		{is: idle, freesAt: "removal"},
		{is: finishing, freesAt: "exit"},
		{is: stopping, freesAt: "exit"},
		{is: stopping, before: true, freesAt: "removal"},
		{is: stopping, code: -1, freesAt: "removal"}, // the engine no longer knows the exit code: another process runs
		{is: running, mode: msg.Files, freesAt: "exit"},
		{is: running, err: msg.ErrNoExecutor, freesAt: "exit"},
	} {
		at := []string{}
		receive := func(s session, m msg.ToExecutor, when string) session {
			s, effects := step(s, m)
			if slices.Contains(effects, slotFreed) {
				at = append(at, when)
			}
			return s
		}
		s := session{id: "x", mode: row.mode, inspected: true, observed: true, state: row.is, restarted: row.before}
		s = receive(s, msg.Exited{Exit: msg.Exit{Code: cmp.Or(row.code, 137)}, Err: row.err}, "exit")
		s = receive(s, msg.LogsEnded{}, "end of its output")
		s = receive(s, msg.Examined{}, "examination")
		s = receive(s, msg.Removed{Err: errors.New("device busy")}, "removal")
		receive(s, msg.Removed{}, "repeated removal")
		if !slices.Equal(at, []string{row.freesAt}) {
			t.Errorf("%+v: its slot is freed at %v", row, at)
		}
	}
}

// The engine may report an exit so late that the next signal has already been sent.
func TestExitCodeShowsWhichSignalEndedJob(t *testing.T) {
	for _, row := range []struct {
		code int
		want msg.Signal
	}{{137, msg.SIGKILL}, {143, msg.SIGTERM}, {2, msg.SIGTERM}, {-1, msg.SIGKILL}} {
		s := session{id: "x", inspected: true, observed: true, state: stopping, logsEnded: true, last: "job",
			job: openJob{Job: msg.Job{Execution: "job"}, handOut: handedOut, ending: &msg.Ending{}, stop: &stopSequence{sent: msg.SIGTERM}}}
		_, effects := after(s, msg.StopStepDue{Step: killStep}, msg.Exited{Exit: msg.Exit{Code: row.code}})
		if e, ok := has[examine](effects); !ok || e.stop.signal() != row.want {
			t.Errorf("exit code %d: stopped by %+v, want %s", row.code, e.stop, row.want)
		}
	}
}
