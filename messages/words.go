package messages

import (
	"fmt"
	"io"
	"strings"
	"time"
)

type (
	// JobID names a job on the server. Arbitrary text of the server's: never use it as a file name.
	JobID string
	// ExecutionID names one offer of a job, and so the job inside runnerd. It is the idempotency key of confirm and finish
	// on both sides: a job that is offered again comes under a fresh one. Arbitrary text of the server's.
	ExecutionID string
	// ExecutorID names an executor. Chosen by runnerd before anything of it exists: lower-case letters and digits, at most 32.
	ExecutorID string
	// ImageID is the engine's id of a local image (sha256:…). An image reference may move from one to another.
	ImageID string
)

// Secret is a value that must not be shown: it prints as stars whatever the verb, and marshals as stars.
// Convert it to string where the value itself is needed.
type Secret string

func (Secret) String() string               { return "***" }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "***") }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Receiver is an address: of an actor in the program, of anything in a test.
type Receiver[M any] interface{ Tell(M) }

// Kind tells the two kinds of jobs apart.
type Kind string

const (
	Task   Kind = "task"   // reserved by long poll; its log goes to the server
	Script Kind = "script" // came over SSE; a person is waiting for it
)

// PullPolicy says when an image is pulled.
type PullPolicy string

const (
	PullIfNotPresent PullPolicy = "if-not-present" // the default
	PullAlways       PullPolicy = "always"         // whenever an executor is to start, not for reuse
	PullNever        PullPolicy = "never"
)

// Limits bound an executor. Zero: the runner's own default.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPUs   float64 `json:"cpus,omitempty"`   // cores
	Pids   int64   `json:"pids,omitempty"`
}

// Key is everything that must be equal for an executor to be reused. Not the task type: all types of a plugin share its
// executors.
type Key struct {
	Image      string     `json:"image"` // after mapping
	Limits     Limits     `json:"limits"`
	PullSecret string     `json:"pullSecret,omitempty"` // name of a credential, never its value
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
}

// Job is a piece of work without what is private in it: its input and its session key stay in the spool.
type Job struct {
	ID         JobID         `json:"jobId"`
	Execution  ExecutionID   `json:"executionId"`
	Kind       Kind          `json:"kind"`
	TaskID     string        `json:"taskId"`
	TaskType   string        `json:"taskType"`
	Image      string        `json:"image"` // as the server named it, before mapping
	PullPolicy PullPolicy    `json:"pullPolicy,omitempty"`
	Priority   int           `json:"priority,omitempty"` // higher first
	Timeout    time.Duration `json:"timeout,omitempty"`  // of the run; zero: the runner's own limit
	Limits     Limits        `json:"limits"`
}

// Offer is a job as the server hands it out, with what only the spool keeps.
type Offer struct {
	Job
	Input      string // encrypted input context, base64 text; empty: at InputURL
	InputURL   string
	SessionKey []byte // sealed to this runner
}

// Outcome is how a job ended.
type Outcome string

const (
	Completed Outcome = "completed" // the plugin delivered a result, whatever its exit code
	Failed    Outcome = "failed"    // there is no result; the message says why
	Aborted   Outcome = "aborted"
	TimedOut  Outcome = "timed-out"
)

// Ending is the runner's verdict on a job. The result, where there is one, is in the spool.
type Ending struct {
	Outcome  Outcome `json:"outcome"`
	ExitCode int     `json:"exitCode"` // of the result; without one, of the process
	Message  string  `json:"message,omitempty"`
}

// Config is what the server configures.
type Config struct {
	Revision           int64         `json:"revision"` // an older one is ignored
	Enabled            bool          `json:"enabled"`
	Capacity           int           `json:"capacity"`
	Eviction           time.Duration `json:"eviction"` // zero: normal mode
	Capabilities       []string      `json:"capabilities,omitempty"`
	ImageMappings      []Mapping     `json:"imageMappings,omitempty"`
	PullSecretMappings []Mapping     `json:"pullSecretMappings,omitempty"`
}

// Mapping rewrites what matches Pattern, in which one * stands for any text; the * in To takes what it stood for.
// The first that matches counts.
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

// KeyOf says which executors can run job.
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
