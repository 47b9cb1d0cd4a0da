package devserver

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Entry is something that happened between the server and a runner.
type Entry struct {
	Time      time.Time `json:"time"`
	Op        string    `json:"op"` // startSession, unregister, offer, confirm, abort, log, finish
	Runner    string    `json:"runner,omitempty"`
	Job       string    `json:"job,omitempty"`
	Execution string    `json:"execution,omitempty"`
	Detail    string    `json:"detail,omitempty"`
}

// Breach is an entry that an invariant forbids.
type Breach struct {
	Invariant string `json:"invariant"` // I1, I3, …: see the package
	Entry
}

func (b Breach) String() string {
	return fmt.Sprintf("%s: %s of job %s (%s) by runner %s: %s", b.Invariant, b.Op, b.Job, b.Execution, b.Runner, b.Detail)
}

// Ledger is append-only; of entries and of breaches it keeps the newest. Its methods may be called at any time.
type Ledger struct {
	maxEntries int
	log        zerolog.Logger

	mu       sync.Mutex
	entries  []Entry
	breaches []Breach
}

func newLedger(keep int, log zerolog.Logger) *Ledger { return &Ledger{maxEntries: keep, log: log} }

// Entries returns all that is kept, oldest first.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry{}, l.entries...)
}

// Breaches returns what no runner should ever do, oldest first. Breaches are entries too.
func (l *Ledger) Breaches() []Breach {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Breach{}, l.breaches...)
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

func (l *Ledger) breach(invariant string, e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e = e.withTime()
	l.entries = appendBounded(l.entries, e, l.maxEntries)
	l.breaches = appendBounded(l.breaches, Breach{invariant, e}, l.maxEntries)
	l.log.Warn().Str("invariant", invariant).Str("op", e.Op).Str("runner", e.Runner).Str("job", e.Job).Msg(e.Detail)
}

func (e Entry) withTime() Entry {
	e.Time = time.Now()
	return e
}

// appendBounded drops the oldest tenth when the bound is reached, so that dropping costs little.
func appendBounded[T any](all []T, one T, bound int) []T {
	if len(all) >= bound {
		all = slices.Delete(all, 0, bound/10+1)
	}
	return append(all, one)
}
