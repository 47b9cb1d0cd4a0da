package spool

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	msg "runnerd/messages"
)

// kind is what a step tells.
type kind string

const (
	confirmed kind = "confirmed"
	aborted   kind = "abort"
	handedOut kind = "handed-out"
	delivered kind = "delivered"
	unstarted kind = "unstarted"
	takenBack kind = "taken-back"
	crashed   kind = "crash"
	ended     kind = "ended"
	stopped   kind = "stopped"
	finished  kind = "finished"
	logEnded  kind = "log-ended"
)

// step is something that happened to a job. A job is what its steps, applied in turn, make of it. A line of its journal holds a
// step, or several that were not synced one by one: they are then safe together, and of a whole journal only the last line can
// be torn.
type step struct {
	Step     kind           `json:"step"`
	At       time.Time      `json:"at"`
	Reason   string         `json:"reason,omitempty"`   // abort, stopped
	Executor msg.ExecutorID `json:"executor,omitempty"` // handed-out
	Nth      int            `json:"nth,omitempty"`      // handed-out: of the executor's jobs
	Key      []byte         `json:"key,omitempty"`      // handed-out: the job's, sealed, for the executor's record, which is not synced
	Mask     []byte         `json:"mask,omitempty"`     // handed-out: the executor's then
	Actor    string         `json:"actor,omitempty"`    // crash
	Ending   *msg.Ending    `json:"ending,omitempty"`   // ended
	Size     int64          `json:"size,omitempty"`     // log-ended
	NoResult bool           `json:"noResult,omitempty"` // stopped; one that says nothing, of an older runnerd, takes what is there
}

// durable: all but those that the server repeats to us or takes from us once more, and what no executor survives the loss of.
func (st step) durable() bool {
	return st.Step != confirmed && st.Step != finished && st.Step != delivered
}

// apply is used for a step that is made and for one that is read alike, so the index cannot differ from the disk.
func apply(rec *msg.JobRecord, st step) error {
	switch st.Step {
	case confirmed:
		rec.Stage = max(rec.Stage, msg.Confirmed)
	case aborted:
		rec.Abort = st.Reason
	case handedOut:
		rec.Stage = max(rec.Stage, msg.HandedOut)
		if rec.Executor != st.Executor {
			rec.OutputFrom = st.At
		}
		rec.Executor, rec.HandedOutAt = st.Executor, st.At
		rec.HandOuts++
		rec.Unstarted, rec.Delivered = false, false
	case delivered:
		rec.Delivered = true
	case unstarted:
		rec.Unstarted, rec.Delivered = true, false
	case takenBack:
		rec.Stage, rec.Executor, rec.HandedOutAt, rec.OutputFrom, rec.Unstarted = msg.Confirmed, "", time.Time{}, time.Time{}, false
		rec.Delivered = false
	case crashed:
		rec.Crashes++
	case ended:
		if st.Ending == nil {
			return fmt.Errorf("%w: an ended step without an ending", ErrCorrupt)
		}
		rec.Stage, rec.Ending, rec.EndedAt = max(rec.Stage, msg.Ended), *st.Ending, st.At
	case stopped:
		rec.Stopped = true
		if st.Reason != "" {
			rec.Ending.Message = strings.TrimPrefix(strings.TrimSuffix(rec.Ending.Message, ".")+". "+st.Reason, ". ")
		}
	case finished:
		rec.Stage = msg.Finished
	case logEnded:
		rec.Log.Ended = true
	default:
		return fmt.Errorf("%w: unknown step %q; a newer runnerd may have written it", ErrCorrupt, st.Step)
	}
	return nil
}

// takesResult reports whether a result still counts. One that comes after a job was given up as failed does not: the server
// may have heard of that. To a job that was stopped it is attached.
func takesResult(rec msg.JobRecord) bool {
	return !rec.HasResult && (rec.Stage < msg.Ended || rec.Ending.Outcome != msg.Failed)
}

// attach gives the record its result, which ends a job that has not ended yet.
func attach(rec *msg.JobRecord, exitCode int) {
	rec.HasResult = true
	rec.Stage = max(rec.Stage, msg.Ended)
	rec.Ending.Outcome = cmp.Or(rec.Ending.Outcome, msg.Completed)
	rec.Ending.ExitCode = exitCode
}
