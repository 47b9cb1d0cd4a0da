package actors

import (
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestWhatTheServerIsOwed(t *testing.T) {
	const (
		aborted msg.Stage = -1 // ended by us, after it was handed out
		stopped msg.Stage = -2 // and how its stop went is known
	)
	now := time.Unix(1000, 0)
	log := func(acked, size int64, ended bool) msg.LogState {
		return msg.LogState{Acked: acked, Size: size, Ended: ended}
	}
	const stopGrace = time.Minute
	just, long, tooLong := now.Add(-time.Second), now.Add(-finishWaitsForLog), now.Add(-stopGrace)
	for _, row := range []struct {
		when  string
		stage msg.Stage
		log   msg.LogState
		p     progress
		want  nextSend
	}{
		{"it runs and has said nothing", msg.HandedOut, log(0, 0, false), progress{}, nextSend{}},
		{"it runs and has said something", msg.HandedOut, log(3, 10, false), progress{}, nextSend{what: sendLog, offset: 3}},
		{"it runs and has said more than goes at once", msg.HandedOut, log(0, 3*logChunk, true), progress{}, nextSend{what: sendLog}},
		{"it has ended, and what was said before is not there yet", msg.Ended, log(3, 10, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendLog, offset: 3}},
		{"it has ended, and what was said before is there", msg.Ended, log(10, 10, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendFinish}},
		{"it has ended and talks on: the finish does not wait for that", msg.Ended, log(10, 20, false), progress{endedAt: just, finishFrom: 10},
			nextSend{what: sendFinish}},
		{"it has ended, and the log takes too long", msg.Ended, log(3, 10, false), progress{endedAt: long, finishFrom: 10}, nextSend{what: sendFinish}},
		{"it has ended without a word", msg.Ended, log(0, 0, false), progress{endedAt: just}, nextSend{what: sendFinish}},
		{"it is being stopped", aborted, log(0, 0, false), progress{endedAt: just}, nextSend{}},
		{"it is being stopped, and talks", aborted, log(0, 5, false), progress{endedAt: just}, nextSend{what: sendLog}},
		{"it was stopped, and its executor is done with it", aborted, log(0, 0, false), progress{endedAt: just, executorDone: true}, nextSend{what: sendFinish}},
		{"it is being stopped, for longer than a log is waited for", aborted, log(0, 0, false), progress{endedAt: long}, nextSend{}},
		{"it is being stopped, and that takes too long", aborted, log(0, 0, false), progress{endedAt: tooLong}, nextSend{what: sendFinish}},
		{"it was stopped, and how that went is known", stopped, log(0, 0, false), progress{endedAt: just}, nextSend{what: sendFinish}},
		{"it is finished and talks on", msg.Finished, log(10, 20, false), progress{}, nextSend{what: sendLog, offset: 10}},
		{"it is finished and may talk on", msg.Finished, log(20, 20, false), progress{}, nextSend{}},
		{"it is finished, and its log's end is not told", msg.Finished, log(20, 20, true), progress{}, nextSend{what: sendLog, offset: 20, last: true}},
		{"it is finished, and the end of a log without a word is not told", msg.Finished, log(0, 0, true), progress{}, nextSend{what: sendLog, last: true}},
		{"it is finished, and the last bytes are not there", msg.Finished, log(15, 20, true), progress{}, nextSend{what: sendLog, offset: 15, last: true}},
		{"everything is told", msg.Finished, log(20, 20, true), progress{logDone: true}, nextSend{what: sendRemoval}},
		{"the log is told, and the finish is not", msg.Ended, log(20, 20, true), progress{logDone: true, endedAt: just, finishFrom: 30}, nextSend{what: sendFinish}},
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
