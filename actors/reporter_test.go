package actors

import (
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestNextSend(t *testing.T) {
	const (
		aborted msg.Stage = -1 // aborted after its hand-out
		stopped msg.Stage = -2 // the same, and how its stop went is recorded
	)
	now := time.Unix(1000, 0)
	log := func(acked, size int64, closed bool) msg.LogState {
		return msg.LogState{Acked: acked, Size: size, Closed: closed}
	}
	const stopGrace = time.Minute
	just, long, tooLong := now.Add(-time.Second), now.Add(-maxFinishDelay), now.Add(-stopGrace)
	for _, row := range []struct {
		when  string
		stage msg.Stage
		log   msg.LogState
		p     progress
		want  nextSend
	}{
		{"running without output", msg.HandedOut, log(0, 0, false), progress{}, nextSend{}},
		{"running with output", msg.HandedOut, log(3, 10, false), progress{}, nextSend{what: sendLog, offset: 3}},
		{"running with more than one chunk", msg.HandedOut, log(0, 3*logChunk, true), progress{}, nextSend{what: sendLog}},
		{"ended, earlier log not acknowledged", msg.Ended, log(3, 10, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendLog, offset: 3}},
		{"ended, earlier log acknowledged", msg.Ended, log(10, 10, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendFinish}},
		{"ended, later output does not delay the finish", msg.Ended, log(10, 20, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendFinish}},
		{"ended, log is too slow", msg.Ended, log(3, 10, false), progress{endedAt: long, finishFrom: 10}, nextSend{what: sendFinish}},
		{"ended without output", msg.Ended, log(0, 0, false), progress{endedAt: just}, nextSend{what: sendFinish}},
		{"being stopped", aborted, log(0, 0, false), progress{endedAt: just}, nextSend{}},
		{"being stopped, with output", aborted, log(0, 5, false), progress{endedAt: just}, nextSend{what: sendLog}},
		{"stopped, executor is done", aborted, log(0, 0, false), progress{endedAt: just, executorDone: true}, nextSend{what: sendFinish}},
		{"being stopped, longer than the finish delay", aborted, log(0, 0, false), progress{endedAt: long}, nextSend{}},
		{"being stopped, longer than the stop grace", aborted, log(0, 0, false), progress{endedAt: tooLong}, nextSend{what: sendFinish}},
		{"stopped, and how the stop went is recorded", stopped, log(0, 0, false), progress{endedAt: just}, nextSend{what: sendFinish}},
		{"finished, with more output", msg.Finished, log(10, 20, false), progress{}, nextSend{what: sendLog, offset: 10}},
		{"finished, log still open", msg.Finished, log(20, 20, false), progress{}, nextSend{}},
		{"finished, end of log not sent", msg.Finished, log(20, 20, true), progress{}, nextSend{what: sendLog, offset: 20, last: true}},
		{"finished, end of empty log not sent", msg.Finished, log(0, 0, true), progress{}, nextSend{what: sendLog, last: true}},
		{"finished, last bytes not acknowledged", msg.Finished, log(15, 20, true), progress{}, nextSend{what: sendLog, offset: 15, last: true}},
		{"everything sent", msg.Finished, log(20, 20, true), progress{logDone: true}, nextSend{what: sendRemoval}},
		{"log sent, finish not sent", msg.Ended, log(20, 20, true), progress{logDone: true, endedAt: just, finishFrom: 30}, nextSend{what: sendFinish}},
	} {
		t.Run(row.when, func(t *testing.T) {
			job := msg.JobRecord{Stage: row.stage, Log: row.log}
			if row.stage < 0 {
				job.Stage, job.Executor, job.Ending.Outcome, job.Stopped = msg.Ended, "x", msg.Aborted, row.stage == stopped
			}
			if got := row.p.next(job, now, stopGrace); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}
