package actors

import (
	"fmt"
	"time"

	msg "runnerd/messages"
)

// What the reporter owes the server for one job, free of actors: from the job's record to the next thing to send.

// sending is one thing to do for a job.
type sending struct {
	what   string // empty: nothing now
	offset int64  // of log
	last   bool   // the log's total may be said with these bytes
}

const (
	sendLog       = "log"
	sendScriptLog = "script's log" // into the runner's own
	sendFinish    = "finish"
	sendRemoval   = "removal"
)

const (
	logChunk = 256 << 10
	// finishWaitsForLog bounds how long a finish waits until the log read up to it is acknowledged (openapi.yaml, "Order").
	finishWaitsForLog = 30 * time.Second
	// afterStop is how long the finish of a job that was stopped waits, besides the waits of the stop sequence, for what came of it:
	// the exit, and the rest of the output.
	afterStop = afterExit + 5*time.Second
)

// progress is what the reporter remembers of a job besides its record.
type progress struct {
	logDone    bool      // the server has the log's total
	endedAt    time.Time // when the ending was first seen; zero: not yet
	finishFrom int64     // the log's size then: the finish waits for these bytes
	over       bool      // its executor is done with it
}

// next says what to send. The log goes in order; the finish follows the bytes that were there when the job ended, or comes
// before them when they take too long, or when somebody waits for a script; the job is removed after the final word on both.
// patience is with a job that is being stopped.
func (p progress) next(job msg.JobRecord, now time.Time, patience time.Duration) sending {
	waited := now.Sub(p.endedAt)
	owesFinish := job.Stage == msg.Ended && !p.beingStopped(job, now, patience)
	switch {
	case owesFinish && (job.Kind == msg.Script || p.logDone || job.Log.Acked >= p.finishFrom || waited >= finishWaitsForLog):
		return sending{what: sendFinish}
	case !p.logDone && (job.Log.Acked < job.Log.Size || job.Log.Ended):
		end := min(job.Log.Size, job.Log.Acked+logChunk)
		what := sendLog
		if job.Kind == msg.Script {
			what = sendScriptLog
		}
		return sending{what: what, offset: job.Log.Acked, last: job.Log.Ended && end == job.Log.Size}
	case job.Stage == msg.Finished && p.logDone:
		return sending{what: sendRemoval}
	default:
		return sending{}
	}
}

// isOurs: the server has no part in it.
func isOurs(what string) bool { return what == sendScriptLog || what == sendRemoval }

// beingStopped reports whether the plugin may still answer to the signal that ends its job: that result goes with the finish,
// and how the stop went, if that does not take too long.
func (p progress) beingStopped(job msg.JobRecord, now time.Time, patience time.Duration) bool {
	return job.Stopping() && !p.over && now.Sub(p.endedAt) < patience
}

// lastWord is what the finish says of a stop of which it is not known how it went.
func (p progress) lastWord(job msg.JobRecord, now time.Time) string {
	if p.over {
		return ""
	}
	return fmt.Sprintf("It had not ended after %.1fs", max(0, now.Sub(job.EndedAt)).Seconds())
}
