package messages

import (
	"errors"
	"time"
)

// Session: what an executor's plugin does at the gateway, and what the gateway answers. The gateway holds each request until it is
// answered, even while the executor's actor is being restarted: the new actor receives all pending requests again.

// RequestID numbers the requests of one executor, in the order in which they arrived. It is never 0 and never used twice.
type RequestID uint64

// SessionEvent is something that an executor's plugin did at the gateway.
type SessionEvent interface {
	ToExecutor
	OpenedRequest() RequestID // the request that begins with the event; 0: none
}

type (
	// SDKDetected names the SDK that the plugin is built with, as detected from its first request.
	SDKDetected struct{ SDK SDK }
	// SecretRequested is a GET of the executor's Secret. It waits for an Answer.
	SecretRequested struct{ Request RequestID }
	// SecretListed is a LIST of the executor's Secret by a client that has seen Version (0: none). It waits for an Answer.
	SecretListed struct {
		Request RequestID
		Version uint64
	}
	// WatchOpened is a WATCH of the executor's Secret. It stays open until RequestEnded.
	WatchOpened struct {
		Request  RequestID
		Nested   bool   // the Python SDK's: it opens a new one for every job
		Fresh    bool   // the client wants the present state first
		Bookmark bool   // the client wants a bookmark event after that
		Version  uint64 // the version that the client has seen, unless Fresh
	}
	// RequestEnded says that the client cancelled a request or closed its watch.
	RequestEnded struct{ Request RequestID }
	// CallbackReceived is a POST to the callback URL of a job. It waits for an Answer.
	CallbackReceived struct {
		Request   RequestID
		Execution ExecutionID // the job of the URL
		Current   ExecutionID // the newest job of the plugin when the request began
		ReceivedBody
	}
	// ResultFileChanged says that the plugin wrote to its result directory.
	ResultFileChanged struct{}
	// Delivered says that the plugin's machine has acknowledged the last byte of the answer with the job's input.
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

// Verdict classifies the body of a callback, or a result file.
type Verdict string

const (
	NoResult   Verdict = ""          // nothing, an incomplete body, or one that no key decrypts
	IsResult   Verdict = "result"    // encrypted with the job's key
	NotStarted Verdict = "unstarted" // proves that the plugin did not get the job: see executor-contract.md, rule 4
	TooLarge   Verdict = "too large"
)

// ReceivedBody describes a body that a plugin sent to its callback URL or wrote to its result file.
type ReceivedBody struct {
	Verdict Verdict
	Result  Result // with IsResult
	Size    int64  // bytes
	Limit   int64  // bytes; with TooLarge
}

// Answer is the answer to a pending request.
//
//sumtype:decl
type Answer interface{ answer() }

type (
	// GiveJob answers a GET with a job: its key, its callback URL and its input. Delivered follows.
	GiveJob struct {
		Execution ExecutionID
		Input     string // base64 text
	}
	// GiveURL answers a GET with the key and the callback URL of a job, without its input: a plugin that delivers a result late
	// reads them again.
	GiveURL struct{ Execution ExecutionID }
	// GiveList answers a LIST with that version of the Secret, which contains no job.
	GiveList struct{ Version uint64 }
	// Accept answers a callback with success, so the plugin does not repeat it.
	Accept struct{}
	// Superseded answers a GET that was followed by a newer one.
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

// WatchEvent is sent to a watch and carries that version of the Secret.
type WatchEvent struct {
	Kind    WatchEventKind
	Version uint64
}

// JobURL routes the callback URL of a job to an executor and names the session key that its result must be encrypted with.
type JobURL struct {
	Execution ExecutionID
	SealedKey []byte // sealed by the server
	Key       []byte // or sealed by the keyring; neither: the gateway keeps the key that it has, if any
}

// ResultFile says how to read an executor's result file.
type ResultFile struct {
	Execution ExecutionID // the open job
	Previous  ExecutionID // the executor's previous job; empty: none
	Since     time.Time   // a file older than that proves nothing
	Written   bool        // the file is complete: nothing writes to it any more
}

// ErrNotPolling is the error of a hand-out whose GET is no longer pending. Nothing was handed out.
var ErrNotPolling = errors.New("plugin's request ended before it was answered")

// SDK names the SDK that a plugin is built with.
type SDK string

const (
	GoSDK     SDK = "go"
	PythonSDK SDK = "python"
	OtherSDK  SDK = "other"
)

// Access is what an executor needs to reach the gateway.
type Access struct {
	Env    map[string]string
	Files  map[string][]byte // by name below the executor's directory
	Mounts []Mount           // parts of that directory
}
