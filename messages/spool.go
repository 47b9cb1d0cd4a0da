package messages

import (
	"errors"
	"time"
)

// Types of the spool. The spool is authoritative: an actor that starts rebuilds its work from it.

// ErrAlreadyDone is the spool's error for an offer of a job that was finished and removed: it must not run again.
var ErrAlreadyDone = errors.New("job is already done")

// Stage is the progress of a job, as recorded in its journal.
type Stage int

const (
	Reserved  Stage = iota // in the spool; maybe confirmed
	Confirmed              // the server has assigned it to this runner
	HandedOut              // the first byte of the input may have been sent: the job must not go to another executor
	Ended                  // its ending is decided: a result is stored, or there will be none
	Finished               // the server has accepted the finish; part of the log may not be sent yet
)

func (s Stage) String() string {
	return [...]string{"reserved", "confirmed", "handed out", "ended", "finished"}[s]
}

// JobRecord is what the spool stores about a job.
type JobRecord struct {
	Job
	SealedKey []byte
	Added     time.Time
	Stage     Stage

	Executor    ExecutorID // from HandedOut on; a job that is taken back is Confirmed again
	HandedOutAt time.Time  // runner's clock
	StartTimes             // of its executor, if that was started for the job
	OutputFrom  time.Time  // the job's output begins here: the executor has had the job since, but may have started it later
	Unstarted   bool       // the plugin has proven that it did not start the job, which was not handed out again yet
	Delivered   bool       // the plugin's machine has acknowledged the input: only another process would ask for the job again
	HandOuts    int        // more than 1 only after proofs that the job did not start
	Abort       string     // reason; empty: not aborted
	Crashes     int        // actors that panicked on it
	HasResult   bool       // then Ending.Outcome is Completed, or Aborted with the result attached
	Ending      Ending
	EndedAt     time.Time // zero: not ended, or ended by its result
	Stopped     bool      // the outcome of the stop of an aborted or timed-out job is recorded: the ending changes no more

	Log LogState
}

// Stopping reports whether the job was aborted or timed out while an executor had it and the outcome of the stop is not known yet:
// a result may still be attached.
func (r JobRecord) Stopping() bool {
	stopRequested := r.Ending.Outcome == Aborted || r.Ending.Outcome == TimedOut
	return r.Stage == Ended && stopRequested && r.Executor != "" && !r.Stopped
}

// LogState describes the log of a job in the spool. Offsets are bytes of masked text.
type LogState struct {
	Size   int64    // durable, so it may be sent
	Acked  int64    // acknowledged by the server
	Closed bool     // nothing will be added: Size is the total
	Resume Position // where to continue reading the engine's log
}

// Position is a position in an engine's log. It lies after all entries with a timestamp before Time, the first Count entries
// with timestamp Time, and the first Skip bytes of the next entry with that timestamp.
type Position struct {
	Time        time.Time  `json:"time"`
	Count       int        `json:"count,omitempty"`
	Skip        int        `json:"skip,omitempty"`
	AfterMarker bool       `json:"left,omitempty"`     // it lies after the idle marker: the plugin has asked for its next job
	Executor    ExecutorID `json:"executor,omitempty"` // the executor whose log it is; set in the spool
}

// HandOut records that a job goes to an executor.
type HandOut struct {
	Execution  ExecutionID
	Executor   ExecutorID
	From       time.Time // the executor's output belongs to the job from then on
	SessionKey []byte    // the job's session key, sealed to the identity
	Mask       []byte    // values to mask from now on, sealed to the identity
	SDK        SDK       // of the executor's plugin; empty: not known yet
	StartTimes
}

// StartTimes are the durations of a cold start; both are zero in a warm executor.
type StartTimes struct {
	Pull  time.Duration `json:"pull,omitempty"`  // of the image
	Start time.Duration `json:"start,omitempty"` // from the create of the container until its plugin requested the job
}

// Via is the way in which a result was delivered.
type Via string

const (
	ViaCallback Via = "callback"
	ViaFile     Via = "file"
)

// Result is what a plugin delivered, checked against the job's session key.
type Result struct {
	Body     []byte // base64 text of nonce‖ciphertext‖tag, as sent to the server
	ExitCode int    // from the decrypted body
	Via      Via
}

// Mode says how an executor gets its jobs.
type Mode string

const (
	Daemon Mode = "daemon" // many jobs, each as the answer to a GET that the gateway holds
	Single Mode = "single" // one job, as the answer to its first GET; exits by itself
	Files  Mode = "files"  // one job, in a file that exists before the start; exits by itself
)

// ExecutorRecord is what the spool stores about an executor.
type ExecutorRecord struct {
	ID             ExecutorID  `json:"id"`
	Key            Key         `json:"key"`
	ImageID        ImageID     `json:"imageId,omitempty"`
	Mode           Mode        `json:"mode"`
	Created        time.Time   `json:"created"`
	Version        uint64      `json:"version"`             // of the Secret that LIST and WATCH show, which has a dummy key
	Notified       bool        `json:"notified,omitempty"`  // its plugin was notified to ask for the job after Job
	Jobs           int         `json:"jobs"`                // number of jobs handed out to it
	Job            ExecutionID `json:"job,omitempty"`       // the newest that was handed out, open or not
	PreviousJob    ExecutionID `json:"before,omitempty"`    // the one before Job
	JobKey         []byte      `json:"jobKey,omitempty"`    // session key of Job, sealed to the identity
	PreviousJobKey []byte      `json:"beforeKey,omitempty"` // session key of PreviousJob, sealed to the identity
	StartedAt      time.Time   `json:"startedAt,omitzero"`  // of its process, from the engine: another value means that somebody restarted it
	IdleSince      time.Time   `json:"idleSince,omitzero"`  // first held GET after its last job; zero: not idle
	Retired        string      `json:"retired,omitempty"`   // why it takes no more jobs
	Mask           []byte      `json:"mask,omitempty"`      // values to mask, sealed to the identity
	SDK            SDK         `json:"sdk,omitempty"`       // as detected before its first job
}
