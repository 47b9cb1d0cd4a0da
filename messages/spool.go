package messages

import (
	"errors"
	"time"
)

// The words for what the spool keeps. The spool is the truth: an actor that starts reads these and goes on.

// ErrAlreadyDone is what the spool answers to an offer of a job that it has had: that is done with, and must not begin again.
var ErrAlreadyDone = errors.New("it is over already")

// Stage is how far a job has come, by its journal.
type Stage int

const (
	Reserved  Stage = iota // in the spool; maybe confirmed
	Confirmed              // the server said that it is ours
	HandedOut              // the first byte of the input may have left: it must not go to another executor
	Ended                  // its ending is decided: a result is stored, or there will be none
	Finished               // the server has accepted the finish; its log may still be on the way
)

func (s Stage) String() string {
	return [...]string{"reserved", "confirmed", "handed out", "ended", "finished"}[s]
}

// JobRecord is what the spool knows of a job.
type JobRecord struct {
	Job
	SealedKey []byte
	Added     time.Time
	Stage     Stage

	Executor    ExecutorID // from HandedOut on; a job that is taken back is Confirmed again
	HandedOutAt time.Time  // runner's clock
	OutputFrom  time.Time  // its output begins here: the executor has had it since, though it may not have started it then
	Unstarted   bool       // the plugin has proven that it did not start, and was not given it again yet
	Delivered   bool       // the plugin's machine has acknowledged the input: whoever asks for the job again is another process
	HandOuts    int        // more than 1 only after proofs that those before did not start
	Abort       string     // reason; empty: nobody asked for it
	Crashes     int        // actors that panicked on it
	HasResult   bool       // then Ending.Outcome is Completed, or Aborted with the result attached
	Ending      Ending
	EndedAt     time.Time // zero: its result has ended it
	Stopped     bool      // how the stop of an aborted or timed-out job went is known, or will not be: its ending changes no more

	Log LogState
}

// Stopping reports whether the job was aborted or timed out while an executor had it, and how that went is not known yet: a
// result may still be attached.
func (r JobRecord) Stopping() bool {
	asked := r.Ending.Outcome == Aborted || r.Ending.Outcome == TimedOut
	return r.Stage == Ended && asked && r.Executor != "" && !r.Stopped
}

// LogState describes the log of a job in the spool. Offsets are bytes of masked text.
type LogState struct {
	Size   int64    // durable, and so may be sent
	Acked  int64    // the server has it
	Ended  bool     // nothing will be added: Size is the total
	Resume Position // where in the engine's log to go on reading
}

// Position is a place in an engine's log: everything stamped before Time is behind it, and the first Count entries
// stamped Time, and the first Skip bytes of the next one with that stamp.
type Position struct {
	Time        time.Time  `json:"time"`
	Count       int        `json:"count,omitempty"`
	Skip        int        `json:"skip,omitempty"`
	AfterMarker bool       `json:"left,omitempty"`     // the plugin has gone for its next job by then, as its output says
	Executor    ExecutorID `json:"executor,omitempty"` // whose log it is; set in what the spool keeps
}

// HandOut is a job on its way to an executor.
type HandOut struct {
	Execution ExecutionID
	Executor  ExecutorID
	From      time.Time // from then on the executor's output is the job's
	Key       []byte    // the job's session key, sealed to the identity
	Mask      []byte    // values to mask from now on, sealed to the identity
}

// Via is the way a result came.
type Via string

const (
	ViaCallback Via = "callback"
	ViaFile     Via = "file"
)

// Result is what a plugin delivered, checked against the job's session key.
type Result struct {
	Body     []byte // base64 text of nonce‖ciphertext‖tag, as it goes to the server
	ExitCode int    // from inside
	Via      Via
}

// Mode is how an executor gets its jobs.
type Mode string

const (
	Daemon Mode = "daemon" // many jobs, each the answer to a GET that the gateway holds
	Single Mode = "single" // one job, the answer to its first GET; exits by itself
	Files  Mode = "files"  // one job, in a file that is there before the start; exits by itself
)

// ExecutorRecord is what the spool knows of an executor.
type ExecutorRecord struct {
	ID        ExecutorID  `json:"id"`
	Key       Key         `json:"key"`
	ImageID   ImageID     `json:"imageId,omitempty"`
	Mode      Mode        `json:"mode"`
	Created   time.Time   `json:"created"`
	Version   uint64      `json:"version"`             // of the Secret that LIST and WATCH show, which has a dummy key
	Notified  bool        `json:"notified,omitempty"`  // its plugin was told to ask for the job after Job
	Jobs      int         `json:"jobs"`                // handed out to it so far
	Job       ExecutionID `json:"job,omitempty"`       // the newest that was handed out, open or not
	Before    ExecutionID `json:"before,omitempty"`    // the one before
	JobKey    []byte      `json:"jobKey,omitempty"`    // session key of Job, sealed to the identity
	BeforeKey []byte      `json:"beforeKey,omitempty"` // session key of Before, sealed to the identity
	StartedAt time.Time   `json:"startedAt,omitzero"`  // of its process, by the engine: another one means that somebody restarted it
	IdleSince time.Time   `json:"idleSince,omitzero"`  // first hold after its last job; zero: not idle
	Retired   string      `json:"retired,omitempty"`   // why it takes no more jobs
	Mask      []byte      `json:"mask,omitempty"`      // values to mask, sealed to the identity
}
