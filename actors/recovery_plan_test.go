package actors

import (
	"fmt"
	"strings"
	"testing"

	msg "runnerd/messages"
)

func (a action) String() string {
	switch {
	case a.adopt != nil:
		return fmt.Sprintf("adopt %s", a.adopt.ID)
	case a.lost != nil:
		if strings.Contains(a.lost.why, "cannot be read") {
			return fmt.Sprintf("fail %s for its executor's record", a.lost.id)
		}
		return fmt.Sprintf("fail %s", a.lost.id)
	case a.endLog != "":
		return fmt.Sprintf("end the log of %s", a.endLog)
	default:
		return fmt.Sprintf("remove %s", a.reap)
	}
}

func TestWhatRecoveryDoes(t *testing.T) {
	at := func(stage msg.Stage, executor msg.ExecutorID) msg.JobRecord {
		return msg.JobRecord{Job: msg.Job{Execution: "j"}, Stage: stage, Executor: executor}
	}
	closed := at(msg.Ended, "")
	closed.Log.Ended = true
	for _, row := range []struct {
		when       string
		job        msg.JobRecord
		records    string
		containers string
		want       string
	}{
		{"its executor is there", at(msg.HandedOut, "x"), "x", "x", "adopt x"},
		{"its container is gone: its directory may hold a result", at(msg.HandedOut, "x"), "x", "", "adopt x"},
		{"its executor's record is gone", at(msg.HandedOut, "x"), "", "x", "remove x, fail j for its executor's record"},
		{"nothing is left of its executor", at(msg.HandedOut, "x"), "", "", "fail j"},
		{"it was not handed out: the poller's", at(msg.Confirmed, ""), "", "", ""},
		{"it is not confirmed: the poller's", at(msg.Reserved, ""), "", "", ""},
		{"it has ended before it was handed out, and its log has not", at(msg.Ended, ""), "y", "y", "adopt y, end the log of j"},
		{"it has ended and so has its log: the reporter's", closed, "", "", ""},
		{"it has ended, and its executor is there", at(msg.Ended, "x"), "x", "x", "adopt x"},
		{"a container that no record knows", closed, "x", "b x a", "adopt x, remove a, remove b"},
	} {
		t.Run(row.when, func(t *testing.T) {
			var records []msg.ExecutorRecord
			for _, id := range strings.Fields(row.records) {
				records = append(records, msg.ExecutorRecord{ID: msg.ExecutorID(id)})
			}
			var containers []msg.Container
			for _, id := range strings.Fields(row.containers) {
				containers = append(containers, msg.Container{ID: msg.ExecutorID(id)})
			}
			var got []string
			for _, a := range plan([]msg.JobRecord{row.job}, records, containers) {
				got = append(got, a.String())
			}
			if strings.Join(got, ", ") != row.want {
				t.Errorf("%q, want %q", strings.Join(got, ", "), row.want)
			}
		})
	}
}
