package messages

import (
	"fmt"
	"io"
	"strings"
	"time"
)

type (
	// JobID identifies a job on the server. It is arbitrary text chosen by the server: never use it as a file name.
	JobID string
	// ExecutionID identifies one offer of a job, and so the job inside runnerd. It is the idempotency key of confirm and finish on
	// both sides: a job that is offered again has a new one. It is arbitrary text chosen by the server.
	ExecutionID string
	// ExecutorID identifies an executor. runnerd chooses it before it creates anything: at most 32 lower-case letters and digits.
	ExecutorID string
	// ImageID is the engine's id of a local image (sha256:…). An image reference may move from one to another.
	ImageID string
)

// Secret is a value that must not be shown: it prints as stars with every formatting verb, and marshals as stars.
// Convert it to string to get the value.
type Secret string

func (Secret) String() string               { return "***" }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "***") }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Receiver is the address of an actor, or of a fake in tests.
type Receiver[M any] interface{ Tell(M) }

// Kind is the kind of a job.
type Kind string

const (
	Task   Kind = "task"   // reserved by long poll; its log goes to the server
	Script Kind = "script" // received over SSE; a person waits for its result
)

// PullPolicy says when an image is pulled.
type PullPolicy string

const (
	PullIfNotPresent PullPolicy = "if-not-present" // the default
	PullAlways       PullPolicy = "always"         // before every start of an executor, not before reuse
	PullNever        PullPolicy = "never"
)

// Limits bound an executor's resources. Zero: the runner's default.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPUs   float64 `json:"cpus,omitempty"`   // cores
	Pids   int64   `json:"pids,omitempty"`
}

// Key identifies the jobs that may share an executor: all its fields must be equal. The task type is not part of it, because all
// task types of a plugin share its executors.
type Key struct {
	Image      string     `json:"image"` // after mapping
	Limits     Limits     `json:"limits"`
	PullSecret string     `json:"pullSecret,omitempty"` // name of a credential, never its value
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
}

// Job is a job without its private parts: its input and its session key stay in the spool.
type Job struct {
	ID         JobID         `json:"jobId"`
	Execution  ExecutionID   `json:"executionId"`
	Kind       Kind          `json:"kind"`
	TaskID     string        `json:"taskId"`
	TaskType   string        `json:"taskType"`
	Image      string        `json:"image"` // from the server, before mapping
	PullPolicy PullPolicy    `json:"pullPolicy,omitempty"`
	Priority   int           `json:"priority,omitempty"` // higher first
	Timeout    time.Duration `json:"timeout,omitempty"`  // of the run; zero: the runner's own limit
	Limits     Limits        `json:"limits"`
}

// Offer is a job as the server offers it, with the parts that only the spool stores.
type Offer struct {
	Job
	Input      string // encrypted input context, base64 text; empty: fetch it from InputURL
	InputURL   string
	SessionKey []byte // sealed to this runner
}

// Outcome is how a job ended.
type Outcome string

const (
	Completed Outcome = "completed" // the plugin delivered a result, whatever its exit code
	Failed    Outcome = "failed"    // no result; the message says why
	Aborted   Outcome = "aborted"
	TimedOut  Outcome = "timed-out"
)

// Ending is how the runner reports the end of a job. The result, if any, is in the spool.
type Ending struct {
	Outcome  Outcome `json:"outcome"`
	ExitCode int     `json:"exitCode"` // from the result; without one, of the process
	Message  string  `json:"message,omitempty"`
}

// Config is the server's configuration of the runner.
type Config struct {
	Revision           int64         `json:"revision"` // an older one is ignored
	Enabled            bool          `json:"enabled"`
	Capacity           int           `json:"capacity"`
	Eviction           time.Duration `json:"eviction"` // zero: single-job mode
	Capabilities       []string      `json:"capabilities,omitempty"`
	ImageMappings      []Mapping     `json:"imageMappings,omitempty"`
	PullSecretMappings []Mapping     `json:"pullSecretMappings,omitempty"`
}

// Mapping replaces a string that matches Pattern with To. One * in Pattern matches any text; a * in To is replaced by that text.
// Of several mappings the first that matches applies.
type Mapping struct {
	Pattern string `json:"pattern"`
	To      string `json:"to"`
}

func (m Mapping) apply(s string) (string, bool) {
	head, tail, wild := strings.Cut(m.Pattern, "*")
	if !wild {
		return m.To, s == m.Pattern
	}
	if len(s) < len(head)+len(tail) || !strings.HasPrefix(s, head) || !strings.HasSuffix(s, tail) {
		return "", false
	}
	return strings.Replace(m.To, "*", s[len(head):len(s)-len(tail)], 1), true
}

// KeyOf returns the key of the executors that can run job.
func (c Config) KeyOf(job Job) Key {
	k := Key{Image: job.Image, Limits: job.Limits, PullPolicy: job.PullPolicy}
	for _, m := range c.ImageMappings {
		if to, ok := m.apply(job.Image); ok {
			k.Image = to
			break
		}
	}
	for _, m := range c.PullSecretMappings {
		if to, ok := m.apply(k.Image); ok {
			k.PullSecret = to
			break
		}
	}
	return k
}
