package devserver

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Entry is a message between the server and a runner.
type Entry struct {
	Time      time.Time `json:"time"`
	Op        string    `json:"op"` // register, unregister, offer, reserve, confirm, abort, log, finish
	Runner    string    `json:"runner,omitempty"`
	Job       string    `json:"job,omitempty"`
	Execution string    `json:"execution,omitempty"`
	Detail    string    `json:"detail,omitempty"`
}

// Violation is an entry that violates an invariant of the protocol.
type Violation struct {
	Invariant string `json:"invariant"` // I1, I3, …: see the package documentation
	Entry
}

func (b Violation) String() string {
	return fmt.Sprintf("%s: %s of job %s (%s) by runner %s: %s", b.Invariant, b.Op, b.Job, b.Execution, b.Runner, b.Detail)
}

// Ledger stores the newest entries and violations. It is safe for concurrent use.
type Ledger struct {
	maxEntries int
	log        zerolog.Logger

	mu         sync.Mutex
	entries    []Entry
	violations []Violation
}

func newLedger(keep int, log zerolog.Logger) *Ledger { return &Ledger{maxEntries: keep, log: log} }

// Entries returns the stored entries, oldest first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry{}, l.entries...)
}

// Violations returns the stored violations, oldest first. Each is also an entry.
func (l *Ledger) Violations() []Violation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Violation{}, l.violations...)
}

// Job returns the entries of one job, oldest first.
func (l *Ledger) Job(id string) []Entry {
	return slices.DeleteFunc(l.Entries(), func(e Entry) bool { return e.Job != id })
}

func (l *Ledger) record(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = appendBounded(l.entries, e.withTime(), l.maxEntries)
}

func (l *Ledger) recordViolation(invariant string, e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e = e.withTime()
	l.entries = appendBounded(l.entries, e, l.maxEntries)
	l.violations = appendBounded(l.violations, Violation{invariant, e}, l.maxEntries)
	l.log.Warn().Str("invariant", invariant).Str("op", e.Op).Str("runner", e.Runner).Str("job", e.Job).Str("execution", e.Execution).
		Str("detail", e.Detail).Msg("runner broke the protocol")
}

func (e Entry) withTime() Entry {
	e.Time = time.Now()
	return e
}

// appendBounded appends an item. At the limit it first deletes the oldest tenth at once, so that deletion is cheap on average.
func appendBounded[T any](items []T, item T, limit int) []T {
	if len(items) >= limit {
		items = slices.Delete(items, 0, limit/10+1)
	}
	return append(items, item)
}
