package actors

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	msg "runnerd/messages"
)

// Python ignored the first signal, so an abort cost its whole wait of 30 s.
func TestSDKDecidesWhichSignalComesFirst(t *testing.T) {
	for _, row := range []struct {
		sdk     msg.SDK
		elapsed time.Duration // since the start of the sequence, if an earlier actor began it
		want    []string
	}{
		{sdk: msg.GoSDK, want: []string{"SIGABRT 30s", "SIGTERM 10s", "SIGKILL 10s"}},
		{sdk: msg.PythonSDK, want: []string{"SIGTERM 40s", "SIGKILL 10s"}},
		{sdk: msg.OtherSDK, want: []string{"SIGABRT 2s", "SIGTERM 38s", "SIGKILL 10s"}},
		{want: []string{"SIGABRT 2s", "SIGTERM 38s", "SIGKILL 10s"}},
		{sdk: msg.GoSDK, elapsed: 10 * time.Second, want: []string{"SIGABRT 20s", "SIGTERM 10s", "SIGKILL 10s"}},
		{sdk: msg.GoSDK, elapsed: 35 * time.Second, want: []string{"SIGTERM 5s", "SIGKILL 10s"}},
		{sdk: msg.PythonSDK, elapsed: 35 * time.Second, want: []string{"SIGTERM 5s", "SIGKILL 10s"}},
		{elapsed: 10 * time.Second, want: []string{"SIGTERM 30s", "SIGKILL 10s"}},
		{sdk: msg.PythonSDK, elapsed: time.Minute, want: []string{"SIGKILL 10s"}},
	} {
		t.Run(fmt.Sprint(row.sdk, " ", row.elapsed), func(t *testing.T) {
			limits := msg.ExecutorLimits{Abort: 30 * time.Second, Term: 10 * time.Second}
			s := newSession(msg.ExecutorRecord{ID: "x", Mode: msg.Daemon, SDK: row.sdk}, limits, 0)
			s.state, s.observed = stopping, true
			s.job = openJob{Job: msg.Job{Execution: "job"}, handOut: handedOut, ending: &msg.Ending{}, stop: &stopSequence{elapsed: row.elapsed, resumes: true}}
			tr := &transition{session: s}
			tr.resumeStop()
			var got []string
			for effects := tr.effects; len(got) < len(row.want); {
				sent, ok := has[sendSignal](effects)
				if !ok {
					break
				}
				s, effects = after(tr.session, msg.Signalled{Step: sent.step})
				wait, _ := has[startTimer](effects)
				got = append(got, fmt.Sprint(signals[sent.step], " ", wait.after))
				tr = &transition{session: s}
				tr.session, effects = after(s, wait.m)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
