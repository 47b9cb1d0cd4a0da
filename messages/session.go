package messages

import (
	"errors"
	"time"
)

// Session: what an executor's plugin does at the gateway, and what the gateway answers. The gateway keeps a request until it is
// answered, also while the executor's actor is being restarted: the next actor is told of everything that waits.

// RequestID numbers the requests of one executor, in the order in which they arrived. It is never 0 and never used twice.
type RequestID uint64

// SessionEvent is something that an executor's plugin did at the gateway. Opens is the request that begins with it; 0: none does.
type SessionEvent interface {
	ToExecutor
	OpenedRequest() RequestID
}

type (
	// SDKDetected tells which SDK the plugin is built with, as its first request shows.
	SDKDetected struct{ SDK SDK }
	// SecretRequested is a GET of the executor's Secret. It waits for an Answer.
	SecretRequested struct{ Request RequestID }
	// SecretListed is a LIST of the executor's Secret by a client that has seen Version; 0: it has seen none. It waits for an Answer.
	SecretListed struct {
		Request RequestID
		Version uint64
	}
	// WatchOpened is a WATCH of the executor's Secret. It stays open until RequestEnded.
	WatchOpened struct {
		Request  RequestID
		Nested   bool   // Python's: a new one for every job
		Fresh    bool   // it wants to be shown what there is
		Bookmark bool   // it wants to be told when it has been shown that
		Version  uint64 // what it has seen, unless it is Fresh
	}
	// RequestEnded tells that a client gave up a request, or closed its watch.
	RequestEnded struct{ Request RequestID }
	// CallbackReceived is a POST to the callback URL of a job. It waits for an Answer.
	CallbackReceived struct {
		Request   RequestID
		Execution ExecutionID // whose URL it is
		Current   ExecutionID // the job that the plugin had been given last when the request began
		Delivery
	}
	// ResultFileChanged tells that the plugin wrote into its result directory.
	ResultFileChanged struct{}
	// Delivered tells that the plugin's machine has acknowledged the last byte of the answer with the job's input.
	Delivered struct{ Execution ExecutionID }
)

func (SDKDetected) OpenedRequest() RequestID        { return 0 }
func (e SecretRequested) OpenedRequest() RequestID  { return e.Request }
func (e SecretListed) OpenedRequest() RequestID     { return e.Request }
func (e WatchOpened) OpenedRequest() RequestID      { return e.Request }
func (RequestEnded) OpenedRequest() RequestID       { return 0 }
func (e CallbackReceived) OpenedRequest() RequestID { return e.Request }
func (ResultFileChanged) OpenedRequest() RequestID  { return 0 }
func (Delivered) OpenedRequest() RequestID          { return 0 }

// Verdict is what a body, or a result file, turned out to be.
type Verdict string

const (
	NoDelivery Verdict = ""          // there is none, half of one, or something that no key opens
	IsResult   Verdict = "result"    // it was made with the job's key
	NotStarted Verdict = "unstarted" // it proves that the plugin did not get the job: see executor-contract.md, rule 4
	TooLarge   Verdict = "too large"
)

// Delivery is what a plugin handed in.
type Delivery struct {
	Verdict Verdict
	Result  Result // of a result
	Size    int64  // bytes
	Limit   int64  // bytes, when it is too large
}

// Answer is what a parked request is answered with.
//
//sumtype:decl
type Answer interface{ answer() }

type (
	// GiveJob answers a GET with a job: its key, its callback URL and its input. The gateway tells when it is Delivered.
	GiveJob struct {
		Execution ExecutionID
		Input     string // base64 text
	}
	// GiveURL answers a GET with the key and the callback URL of a job and without its input: a plugin that delivers a result late
	// reads them again.
	GiveURL struct{ Execution ExecutionID }
	// GiveList answers a LIST with the Secret of that version, which shows no job.
	GiveList struct{ Version uint64 }
	// Accept answers a callback: the plugin need not repeat it.
	Accept struct{}
	// Superseded answers a GET after which a newer one came.
	Superseded struct{}
)

func (GiveJob) answer()    {}
func (GiveURL) answer()    {}
func (GiveList) answer()   {}
func (Accept) answer()     {}
func (Superseded) answer() {}

// WatchEventKind is the type of an event of a Kubernetes watch.
type WatchEventKind string

const (
	WatchAdded    WatchEventKind = "ADDED"
	WatchModified WatchEventKind = "MODIFIED"
	WatchBookmark WatchEventKind = "BOOKMARK"
)

// WatchEvent is sent to a watch. It shows the Secret of that version.
type WatchEvent struct {
	Kind    WatchEventKind
	Version uint64
}

// JobURL makes the callback URL of a job lead to an executor, and says by which key its result is known.
type JobURL struct {
	Execution ExecutionID
	SealedKey []byte // as the server sealed it
	Key       []byte // or as the vault seals it; neither: the key is not known any more
}

// ResultFile is how an executor's result file is read.
type ResultFile struct {
	Execution ExecutionID // of the open job
	Before    ExecutionID // of the job that the executor had before it; empty: none
	Since     time.Time   // what is older than that proves nothing
	Written   bool        // nobody writes to it any more
}

// ErrNotPolling is what a hand-out fails with when the GET that it is to answer waits no longer. Nothing was handed out.
var ErrNotPolling = errors.New("its GET waits no longer")

// SDK is the family of an executor's client.
type SDK string

const (
	GoSDK     SDK = "go"
	PythonSDK SDK = "python"
	OtherSDK  SDK = "other"
)

// Access is what an executor must be given to reach the gateway.
type Access struct {
	Env    map[string]string
	Files  map[string][]byte // to be put below the executor's directory, by name
	Mounts []Mount           // of parts of that directory
}
