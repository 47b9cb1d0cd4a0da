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
			return fmt.Sprintf("fail %s because of its executor's record", a.lost.id)
		}
		return fmt.Sprintf("fail %s", a.lost.id)
	case a.closeLog != "":
		return fmt.Sprintf("close the log of %s", a.closeLog)
	default:
		return fmt.Sprintf("remove %s", a.reap)
	}
}

func TestRecoveryPlan(t *testing.T) {
	at := func(stage msg.Stage, executor msg.ExecutorID) msg.JobRecord {
		return msg.JobRecord{Job: msg.Job{Execution: "j"}, Stage: stage, Executor: executor}
	}
	closed := at(msg.Ended, "")
	closed.Log.Closed = true
	for _, row := range []struct {
		when       string
		job        msg.JobRecord
		records    string
		containers string
		want       string
	}{
		{"executor exists", at(msg.HandedOut, "x"), "x", "x", "adopt x"},
		{"container missing, directory may hold a result", at(msg.HandedOut, "x"), "x", "", "adopt x"},
		{"executor record missing", at(msg.HandedOut, "x"), "", "x", "remove x, fail j because of its executor's record"},
		{"executor missing", at(msg.HandedOut, "x"), "", "", "fail j"},
		{"confirmed job belongs to the poller", at(msg.Confirmed, ""), "", "", ""},
		{"reserved job belongs to the poller", at(msg.Reserved, ""), "", "", ""},
		{"ended before its hand-out with an open log", at(msg.Ended, ""), "y", "y", "adopt y, close the log of j"},
		{"ended job with closed log belongs to reporter", closed, "", "", ""},
		{"ended, executor exists", at(msg.Ended, "x"), "x", "x", "adopt x"},
		{"container without a record", closed, "x", "b x a", "adopt x, remove a, remove b"},
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
