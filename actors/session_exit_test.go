package actors

import (
	"errors"
	"slices"
	"testing"

	msg "runnerd/messages"
)

// docker restart ends a container and starts it once more.
func TestAnUnexpectedEndFreesTheSlotWhenItsContainerIsRemoved(t *testing.T) {
	gone := effect(tellDispatcher{msg.Gone{Executor: "x"}})
	for _, row := range []struct {
		is      state
		mode    msg.Mode
		says    error
		freesAt string
	}{
		{is: starting, freesAt: "removal"},
		{is: running, freesAt: "removal"},
		{is: idle, freesAt: "removal"},
		{is: finishing, freesAt: "exit"},
		{is: stopping, freesAt: "exit"},
		{is: running, mode: msg.Files, freesAt: "exit"},
		{is: running, says: msg.ErrNoExecutor, freesAt: "exit"},
	} {
		at := []string{}
		does := func(s session, m msg.ToExecutor, when string) session {
			s, effects := step(s, m)
			if slices.Contains(effects, gone) {
				at = append(at, when)
			}
			return s
		}
		s := session{id: "x", mode: row.mode, found: true, observed: true, state: row.is}
		s = does(s, msg.Exited{Exit: msg.Exit{Code: 137}, Err: row.says}, "exit")
		s = does(s, msg.LogsEnded{}, "end of its output")
		s = does(s, msg.Examined{}, "examination")
		s = does(s, msg.Removed{Err: errors.New("device busy")}, "removal")
		does(s, msg.Removed{}, "repeated removal")
		if !slices.Equal(at, []string{row.freesAt}) {
			t.Errorf("%+v: its slot is freed at %v", row, at)
		}
	}
}
