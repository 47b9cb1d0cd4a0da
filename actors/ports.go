package actors

import (
	"context"
	"io"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// The ports: what the actors need from outside, in their own words. The adapters satisfy them; cmd/runnerd wires them.
// Every verb may be called from several goroutines. A context that ends makes a verb return its cause.

// Spool is where everything that must survive is kept. A verb that changes something is durable on return, unless it says
// that it is not.
type Spool interface {
	// CheckSpace is an error while there is too little space for another job.
	CheckSpace() error
	// Add stores an offer. It may be repeated; messages.ErrAlreadyDone: the job has been here, and was removed.
	Add(msg.Offer) error
	// Jobs lists all jobs, oldest first.
	Jobs() []msg.JobRecord
	// JobsOf lists the jobs whose record names the executor, oldest first. It takes no longer where others have many.
	JobsOf(msg.ExecutorID) []msg.JobRecord
	// Job returns one; false: the spool has none of that id.
	Job(msg.ExecutionID) (msg.JobRecord, bool)
	// Input returns the encrypted input, base64 text.
	Input(msg.ExecutionID) (string, error)
	// Confirm notes that the server said ours. Not durable: after a loss it is confirmed again.
	Confirm(msg.ExecutionID) error
	// HandOut notes that the first byte of the input may leave for the executor: from here on the job must go to no other. An error:
	// it was not handed out. Repeated for the same executor, after a proof that its plugin did not start, it is counted.
	HandOut(msg.HandOut) error
	// Delivered notes that the plugin's machine has acknowledged the input. Not durable against a loss of power.
	Delivered(msg.ExecutionID) error
	// NotStarted notes a proof that the plugin did not start the job. The next hand-out answers it.
	NotStarted(job msg.ExecutionID, handOut int) error
	// StoreResult keeps the first result of a job. False: the job has one, or its ending was told without.
	StoreResult(msg.ExecutionID, msg.Result) (bool, error)
	// TakeBack lets a job that was proven not to have started go to another executor: its own has ended. Any other job is
	// complete alone.
	TakeBack(msg.ExecutionID) error
	// Abort notes that the job is to end, and why. The first reason stands.
	Abort(id msg.ExecutionID, reason string) error
	// Crash counts an actor that panicked on the job, and returns how many have.
	Crash(id msg.ExecutionID, actor string) (int, error)
	// End decides how the job ended. The first ending stands: for a job that has one it changes nothing and returns that
	// one. A result that is stored decides too.
	End(msg.ExecutionID, msg.Ending) (msg.Ending, error)
	// Stopped says how a job that was aborted or timed out in its executor came to its end: the ending's message has it from then
	// on, the ending changes no more, and a result that comes later does not count. What was said first stands.
	Stopped(id msg.ExecutionID, how string) (msg.Ending, error)
	// Remove takes away all that is kept of a job.
	Remove(msg.ExecutionID) error
	// Reject moves a job that the server will never take to where a person finds it, with the server's answer beside it.
	Reject(id msg.ExecutionID, answer string) error

	// AppendLog adds masked text; after a loss reading goes on at next. Both are durable on return, or neither counts.
	AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error
	// EndLog says that nothing will be added: the total is known.
	EndLog(msg.ExecutionID) error
	// ReadLog reads up to max bytes at offset; fewer only at the durable end.
	ReadLog(id msg.ExecutionID, offset int64, max int) ([]byte, error)
	// AckLog notes how far the server has the log. Not durable: the server says where to go on.
	AckLog(id msg.ExecutionID, offset int64) error
	// Result returns the body of the stored result, nil without one.
	Result(msg.ExecutionID) ([]byte, error)
	// Finish notes that the server has accepted the finish. Not durable: a repeated finish is accepted again.
	Finish(msg.ExecutionID) error

	// CreateExecutor makes the executor's directory with its record and the files that go into it, by name below the
	// directory ("sa/token"). It may be repeated.
	CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error
	// Executors lists all executors, oldest first.
	Executors() []msg.ExecutorRecord
	// UpdateExecutor changes a record; change is called once, with nobody else at the record. Not durable against a loss
	// of power, which no container survives either. An executor that is not there: an error.
	UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error
	// ExecutorDir is the absolute path of the executor's directory. out/ in it is writable by any user of an image.
	ExecutorDir(msg.ExecutorID) string
	// RemoveExecutor takes the directory away. It may be repeated.
	RemoveExecutor(msg.ExecutorID) error
}

// Driver runs executors.
type Driver = driver.Driver

// Gateway is where plugins get their jobs and leave their results. It knows no job's progress: it keeps requests until they are
// registrationAnswered, also while the executor's actor is restarted. Only Requests, ReadResult, ClearResults and WriteInput may block.
type Gateway interface {
	// Admit lets an executor's plugin in, and returns what the executor must be given. Repeated: the same.
	Admit(msg.ExecutorRecord) (msg.Access, error)
	// OpenURLs makes the callback URLs of these jobs lead to the executor, newest last, and those of no others. A job without a key
	// keeps the one that the gateway has.
	OpenURLs(msg.ExecutorID, ...msg.JobURL) error
	// Requests hands on what the plugin does until ctx ends: first everything that waits, then each thing as it happens. A newer
	// call ends an older one.
	Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error
	// IsWaiting reports whether a request waits for its answer.
	IsWaiting(msg.ExecutorID, msg.RequestID) bool
	// Answer answers a request. One that waits no longer: no effect.
	Answer(msg.ExecutorID, msg.RequestID, msg.Answer)
	// Notify sends an event to a watch. One that is closed: no effect.
	Notify(id msg.ExecutorID, watch msg.RequestID, event msg.WatchEvent)
	// HasResultFile reports whether the plugin left anything in its place.
	HasResultFile(msg.ExecutorID) bool
	// ReadResult reads the result file.
	ReadResult(msg.ExecutorID, msg.ResultFile) (msg.Delivery, error)
	// ClearResults removes what is in the result directory, as far as that is possible.
	ClearResults(msg.ExecutorID)
	// WriteInput leaves a job where the child process of messages.Files looks for it, and returns the variables that it needs.
	WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (env map[string]string, err error)
	// Dismiss ends the plugin's access. The executor's directory may be removed then.
	Dismiss(msg.ExecutorID)
}

// Keyring opens what is sealed.
type Keyring interface {
	// Open checks that the key of the job opens and that its input can be read with it, and returns all values in it that
	// must never be shown, and the key as Seal seals it.
	Open(sealedKey []byte, input string) (secrets []msg.Secret, key []byte, err error)
	// Seal and Unseal keep values in the spool that only this runner can read.
	Seal([]msg.Secret) ([]byte, error)
	Unseal([]byte) ([]msg.Secret, error)
}

// Filter masks secrets in a stream of bytes and normalises the markers of comments and status lines in it.
type Filter interface {
	// Write takes the next bytes, and when they came, and returns what is ready to leave. The slice is the caller's.
	Write([]byte, time.Time) []byte
	// Held is how many of the bytes taken, the newest, have not left yet.
	Held() int
	// Learn masks these secrets, which are all of them, from the bytes that are held on, and returns what is ready to leave.
	Learn([]msg.Secret) []byte
	// Flush returns the rest.
	Flush() []byte
}

// Release is the Release server.
type Release interface {
	// Register says who we are and keeps the session for the other verbs.
	Register(context.Context) (msg.Registration, error)
	// Reserve waits up to wait for at most max jobs; none is no error.
	Reserve(ctx context.Context, max int, wait time.Duration) ([]msg.Offer, error)
	// FetchInput reads an input that was too large for its offer; reading fails where it is larger than is taken at all.
	FetchInput(ctx context.Context, url string) (io.ReadCloser, error)
	Confirm(context.Context, msg.JobID, msg.ExecutionID) error
	Heartbeat(context.Context, []msg.JobPhase) ([]msg.StopOrder, error)
	// Events hands on what the server says after the event of that id, in order, until that ends, or emit fails.
	Events(ctx context.Context, after string, emit func(id string, e msg.Event) error) error
	// Unregister says that this runner is no more.
	Unregister(context.Context) error
	// AppendLog sends text that begins at offset; total is the length of the whole log with its last bytes, else -1. It
	// returns the offset that the server has now.
	AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error)
	// Finish sends how a job ended; result is empty where there is none.
	Finish(ctx context.Context, job msg.Job, ending msg.Ending, result []byte) error
}
