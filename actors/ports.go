package actors

import (
	"context"
	"io"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// The ports: interfaces of everything outside of the actors. Adapters implement them; cmd/runnerd wires them. Every method may be called
// from several goroutines, and returns the cause of its context when that ends.

// Spool stores everything that must survive a restart. Changes are durable on return, unless the method's comment says otherwise.
type Spool interface {
	// CheckSpace returns an error while there is too little space for another job.
	CheckSpace() error
	// Add stores an offer. It may be called again. It returns messages.ErrAlreadyDone for a job that was removed.
	Add(msg.Offer) error
	// Jobs lists all jobs, oldest first.
	Jobs() []msg.JobRecord
	// JobsOf lists the jobs whose record names the executor, oldest first. Its cost does not depend on the jobs of other executors.
	JobsOf(msg.ExecutorID) []msg.JobRecord
	// Job returns a job, and false if the spool does not have it.
	Job(msg.ExecutionID) (msg.JobRecord, bool)
	// Input returns the encrypted input, base64 text.
	Input(msg.ExecutionID) (string, error)
	// Confirm records that the server has confirmed the job. Not durable: after a loss it is confirmed again.
	Confirm(msg.ExecutionID) error
	// HandOut records that the first byte of the input may be sent to the executor. From then on the job must not go to another one.
	// After an error the job is not handed out. A repeated call for the same executor, after a proof that its plugin did not start the
	// job, counts as another hand-out.
	HandOut(msg.HandOut) error
	// Delivered records that the plugin's machine has acknowledged the input. Not durable against a loss of power.
	Delivered(msg.ExecutionID) error
	// NotStarted records a proof that the plugin did not start the job. The next hand-out clears it.
	NotStarted(job msg.ExecutionID, handOut int) error
	// StoreResult stores the first result of a job. It returns false if the job already has a result, failed, was reported without one,
	// or is not in the spool any more.
	StoreResult(msg.ExecutionID, msg.Result) (bool, error)
	// TakeBack releases a job from its executor, which has ended, if the job was proven not to have started. It does nothing to other jobs.
	TakeBack(msg.ExecutionID) error
	// Abort records that the job is to be aborted, and why. The first reason stands.
	Abort(id msg.ExecutionID, reason string) error
	// Crash counts an actor crash on the job, and returns the number of crashes.
	Crash(id msg.ExecutionID, actor string) (int, error)
	// End stores how the job ended, and returns the stored ending. The first ending stands; a stored result is an ending too.
	End(msg.ExecutionID, msg.Ending) (msg.Ending, error)
	// Stopped records how a job that was aborted or timed out in its executor ended, and adds that to the ending's message. From then on
	// the ending does not change, and a later result is rejected. The first call stands.
	Stopped(id msg.ExecutionID, how string) (msg.Ending, error)
	// Remove removes everything of a job.
	Remove(msg.ExecutionID) error
	// Reject moves a job whose ending the server refuses to rejected/, together with the server's answer.
	Reject(id msg.ExecutionID, answer string) error

	// AppendLog adds masked text; after a restart reading continues at next. Both are stored, or neither.
	AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error
	// CloseLog closes the log: nothing will be added, so its total size is known.
	CloseLog(msg.ExecutionID) error
	// ReadLog reads up to max bytes at offset; fewer only at the durable end.
	ReadLog(id msg.ExecutionID, offset int64, max int) ([]byte, error)
	// AckLog records how much of the log the server has. Not durable: the server says where to continue.
	AckLog(id msg.ExecutionID, offset int64) error
	// Result returns the body of the stored result, or nil.
	Result(msg.ExecutionID) ([]byte, error)
	// Finish records that the server has accepted the finish. Not durable: a repeated finish is accepted again.
	Finish(msg.ExecutionID) error

	// CreateExecutor creates the executor's directory with its record and the given files, by name below the directory ("sa/token").
	// It may be called again.
	CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error
	// Executors lists all executors, oldest first.
	Executors() []msg.ExecutorRecord
	// UpdateExecutor changes a record; change is called once, with the record locked. It fails if there is no such executor. Not durable
	// against a loss of power, which no container survives either.
	UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error
	// ExecutorDir returns the absolute path of the executor's directory. out/ in it is writable by any user of an image.
	ExecutorDir(msg.ExecutorID) string
	// RemoveExecutor removes the directory. It may be called again.
	RemoveExecutor(msg.ExecutorID) error
}

// Driver runs executors.
type Driver = driver.Driver

// Gateway is the HTTP server from which plugins get their jobs and to which they deliver results. It does not know the progress of jobs:
// it holds each request until it is answered, even while the executor's actor is restarted. Only Requests, WasDelivered, ReadResult,
// ClearResults and WriteInput may block.
type Gateway interface {
	// Admit creates the executor's endpoint, and returns what the executor needs to reach it. Repeated calls return the same.
	Admit(msg.ExecutorRecord) (msg.Access, error)
	// OpenURLs routes the callback URLs of these jobs, newest last, to the executor, and no others. A job without a key keeps the key
	// that the gateway has.
	OpenURLs(msg.ExecutorID, ...msg.JobURL) error
	// Requests emits the plugin's events until ctx ends: first all pending requests, then each event as it happens. A newer call
	// ends an older one.
	Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error
	// WasDelivered reports whether the executor's machine has acknowledged the input of the job. Delivered may still be in the stream of
	// Requests then.
	WasDelivered(msg.ExecutorID, msg.ExecutionID) bool
	// IsWaiting reports whether a request is pending.
	IsWaiting(msg.ExecutorID, msg.RequestID) bool
	// Answer answers a request. It does nothing if the request is no longer pending.
	Answer(msg.ExecutorID, msg.RequestID, msg.Answer)
	// Notify sends an event to a watch. It does nothing if the watch is closed.
	Notify(id msg.ExecutorID, watch msg.RequestID, event msg.WatchEvent)
	// HasResultFile reports whether the plugin has written a result file.
	HasResultFile(msg.ExecutorID) bool
	// ReadResult reads the result file.
	ReadResult(msg.ExecutorID, msg.ResultFile) (msg.ReceivedBody, error)
	// ClearResults removes the content of the result directory, as far as possible.
	ClearResults(msg.ExecutorID)
	// WriteInput writes a job to the file in which the process of an executor in mode Files looks for it, and returns the environment
	// variables that the process needs.
	WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (env map[string]string, err error)
	// Dismiss removes the executor's endpoint. After that the executor's directory may be removed.
	Dismiss(msg.ExecutorID)
}

// Keyring decrypts session keys and inputs.
type Keyring interface {
	// Open checks that the job's key can be unsealed and decrypts its input. It returns all values in the input that must never be
	// shown, and the key as sealed by Seal.
	Open(sealedKey []byte, input string) (secrets []msg.Secret, key []byte, err error)
	// Seal encrypts values for the spool, so that only this runner can read them; Unseal decrypts them.
	Seal([]msg.Secret) ([]byte, error)
	Unseal([]byte) ([]msg.Secret, error)
}

// Filter masks secrets in a stream of bytes and normalises the markers of comments and status lines in it.
type Filter interface {
	// Write processes the next bytes, which arrived at that time, and returns the text that is ready. The caller owns the slice.
	Write([]byte, time.Time) []byte
	// Held returns how many of the newest bytes are held back.
	Held() int
	// SetSecrets replaces the secrets, from the held bytes on, and returns the text that is ready.
	SetSecrets([]msg.Secret) []byte
	// Flush returns the rest.
	Flush() []byte
}

// Release is the Release server.
type Release interface {
	// Register registers the runner. The other methods use the access token of the newest registration.
	Register(context.Context) (msg.Registration, error)
	// Reserve waits up to wait for at most max jobs. No job is not an error.
	Reserve(ctx context.Context, max int, wait time.Duration) ([]msg.Offer, error)
	// FetchInput opens an input that was too large for its offer. Reading fails if it exceeds the maximum size.
	FetchInput(ctx context.Context, url string) (io.ReadCloser, error)
	Confirm(context.Context, msg.JobID, msg.ExecutionID) error
	Heartbeat(context.Context, []msg.JobPhase) ([]msg.StopOrder, error)
	// Events emits the server's events after the one with that id, in order, until the stream ends or emit fails.
	Events(ctx context.Context, after string, emit func(id string, e msg.Event) error) error
	// Unregister removes the runner from the server.
	Unregister(context.Context) error
	// AppendLog sends the text at offset. total is the size of the log if text is its end, else -1. It returns the number of bytes that
	// the server has now.
	AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error)
	// Finish sends how a job ended; result is empty if there is none.
	Finish(ctx context.Context, job msg.Job, ending msg.Ending, result []byte) error
}
