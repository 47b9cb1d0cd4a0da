package spool

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	msg "runnerd/messages"
)

// kind is the kind of a step.
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
	logClosed kind = "log-ended"
)

// step is an event in a job's journal; the job's record is the result of applying all its steps in order. A line of the journal has
// one step, or several: a step that follows unsynced ones replaces their line by one with all of them. Therefore only the last line can
// be torn.
type step struct {
	Kind           kind           `json:"step"`
	At             time.Time      `json:"at"`
	Reason         string         `json:"reason,omitempty"`    // abort, stopped
	Executor       msg.ExecutorID `json:"executor,omitempty"`  // handed-out
	JobNumber      int            `json:"jobNumber,omitempty"` // handed-out: 1-based number among the executor's jobs
	Key            []byte         `json:"key,omitempty"`       // handed-out: the job's sealed key, to restore the executor's record, which is not synced
	Mask           []byte         `json:"mask,omitempty"`      // handed-out: the executor's mask at that time
	msg.StartTimes                // handed-out
	Actor          string         `json:"actor,omitempty"`    // crash
	Ending         *msg.Ending    `json:"ending,omitempty"`   // ended
	Size           int64          `json:"size,omitempty"`     // log-ended
	NoResult       bool           `json:"noResult,omitempty"` // stopped: the job was reported without a result
}

// durable reports whether the step is synced. The others may be lost: the runner then sends the confirm or the finish again, and
// delivered does not matter, because no executor survives a loss of power.
func (st step) durable() bool {
	return st.Kind != confirmed && st.Kind != finished && st.Kind != delivered
}

// apply applies a step to a record, both when the step is written and when it is read, so the index cannot differ from the disk.
func apply(rec *msg.JobRecord, st step) error {
	switch st.Kind {
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
		rec.StartTimes = st.StartTimes
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
			return fmt.Errorf("%w: ended step without an ending", ErrCorrupt)
		}
		rec.Stage, rec.Ending, rec.EndedAt = max(rec.Stage, msg.Ended), *st.Ending, st.At
	case stopped:
		rec.Stopped = true
		if st.Reason != "" {
			rec.Ending.Message = strings.TrimPrefix(strings.TrimSuffix(rec.Ending.Message, ".")+". "+st.Reason, ". ")
		}
	case finished:
		rec.Stage = msg.Finished
	case logClosed:
		rec.Log.Closed = true
	default:
		return fmt.Errorf("%w: unknown step %q; a newer runnerd may have written it", ErrCorrupt, st.Kind)
	}
	return nil
}

// acceptsResult reports whether a job can still get a result. A failed job cannot, because its failure may have been reported. An
// aborted or timed out job can.
func acceptsResult(rec msg.JobRecord) bool {
	return !rec.HasResult && (rec.Stage < msg.Ended || rec.Ending.Outcome != msg.Failed)
}

// attachResult records a result, which ends the job if it has not ended.
func attachResult(rec *msg.JobRecord, exitCode int) {
	rec.HasResult = true
	rec.Stage = max(rec.Stage, msg.Ended)
	rec.Ending.Outcome = cmp.Or(rec.Ending.Outcome, msg.Completed)
	rec.Ending.ExitCode = exitCode
}
