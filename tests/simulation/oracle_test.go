package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// oracle knows what must hold, and is told of everything in the deed in which it happens.
type oracle struct {
	w        *world
	breaches []string
	hits     map[string]int
	tasks    int

	troubled time.Time // something was wrong until then
	events   int       // of the engine, that were looked at
	alive    map[msg.ExecutorID]bool
	capacity []capacity                   // as the runner knew it
	since    map[msg.ExecutorID]time.Time // that an executor was decided on
	waits    map[msg.ExecutorID]time.Time // first hold after its last job
	held     map[msg.ExecutorID]bool
	struck   map[msg.ExecutorID]bool   // somebody outside has ended it
	unsure   map[msg.ExecutorID]bool   // whether its first hold came into its record
	lost     map[msg.ExecutorID]string // why its output need not be whole
	runs     map[msg.ExecutionID]msg.ExecutorID
	printed  map[msg.ExecutionID]string
	stored   map[msg.ExecutionID]time.Time // its result is announced
	scripts  map[msg.JobID]string          // what they said, in the runner's own log

	// the control channel
	now      msg.Config // that the runner goes by
	nowFrom  time.Time
	changes  []change                      // of it
	stopping map[msg.ExecutionID]time.Time // in good times, since an event says so
	waiting  map[msg.ExecutionID]waiting   // for an executor
	deletion deletion
	untold   map[msg.ExecutionID]bool // what was left of them when the runner was deleted
}

type capacity struct {
	from time.Time
	n    int
}

var _ fakes.Witness = (*oracle)(nil)

func newOracle(w *world) *oracle {
	return &oracle{w: w, hits: map[string]int{}, alive: map[msg.ExecutorID]bool{}, since: map[msg.ExecutorID]time.Time{}, waits: map[msg.ExecutorID]time.Time{},
		lost: map[msg.ExecutorID]string{}, runs: map[msg.ExecutionID]msg.ExecutorID{}, printed: map[msg.ExecutionID]string{}, stored: map[msg.ExecutionID]time.Time{},
		held: map[msg.ExecutorID]bool{}, unsure: map[msg.ExecutorID]bool{}, scripts: map[msg.JobID]string{},
		stopping: map[msg.ExecutionID]time.Time{}, waiting: map[msg.ExecutionID]waiting{}, untold: map[msg.ExecutionID]bool{}, struck: map[msg.ExecutorID]bool{}}
}

func (o *oracle) breach(format string, args ...any) {
	b := fmt.Sprintf(format, args...)
	o.w.trace.note("BREACH of %s", b)
	o.breaches = append(o.breaches, b)
}

func (o *oracle) wrong() bool { return len(o.breaches) > 0 }

func (o *oracle) hit(what string) { o.hits[what]++ }

func (o *oracle) nextTask() int { o.tasks++; return o.tasks }

// noted is how long it may take until a first hold is in its record, in bad times.
const noted = 15 * time.Second

// trouble: something goes wrong now. What depends on time does not hold then, nor for a while after it.
func (o *oracle) trouble() { o.troubleFor(0) }

func (o *oracle) troubleFor(d time.Duration) {
	for id, since := range o.waits {
		o.unsure[id] = o.unsure[id] || time.Since(since) < noted
	}
	clear(o.stopping)
	clear(o.waiting)
	if until := time.Now().Add(d); until.After(o.troubled) {
		o.troubled = until
	}
}

// calm reports whether nothing has gone wrong for so long.
func (o *oracle) calm(d time.Duration) bool { return time.Since(o.troubled) > d }

// check comes after every step.
func (o *oracle) check() {
	for _, b := range o.w.server.Breaches() {
		o.breach("%s", b)
	}
	for _, b := range o.w.site.Breaches() {
		o.breach("%s", b)
	}
	if events := o.w.engine.EventsFrom(o.events); len(events) > 0 {
		o.events += len(events)
		for _, e := range events {
			o.event(e)
		}
	}
}

// event counts what exists by the engine's own word (I4).
func (o *oracle) event(e fake.Event) {
	switch e.Kind {
	case fake.Created:
		if may := o.capacitySince(o.since[e.Executor]); len(o.alive) >= may {
			o.breach("I4: %s is created while %v are alive and the capacity is %d", e.Executor, o.living(), may)
		}
		o.alive[e.Executor] = true
	case fake.Died, fake.Removed:
		delete(o.alive, e.Executor)
		delete(o.waits, e.Executor)
	case fake.Started:
	}
}

// capacitySince is the highest that the runner may have gone by since then.
func (o *oracle) capacitySince(t time.Time) (n int) {
	for i, c := range o.capacity {
		if last := i+1 == len(o.capacity); last || !o.capacity[i+1].from.Before(t.Add(-time.Second)) {
			n = max(n, c.n)
		}
	}
	return n
}

func (o *oracle) decided(id msg.ExecutorID) { o.since[id] = time.Now() }

func (o *oracle) living() []msg.ExecutorID { return slices.Sorted(maps.Keys(o.alive)) }

// Began: a plugin runs a job.
func (o *oracle) Began(r fakes.Run) {
	o.w.trace.note("%s begins %s", r.Executor, r.Execution)
	o.runs[r.Execution] = r.Executor
	delete(o.waits, r.Executor)
	delete(o.waiting, r.Execution)
	o.mayBegin(r.Execution)
	if !o.w.server.IsConfirmed(r.Execution) {
		o.breach("I3: %s runs and is not confirmed", r.Execution)
	}
	if want := o.w.server.AccountOf(r.Execution).Image; want != r.Image {
		o.breach("I6: %s wants image %s and runs in %s of %s", r.Execution, want, r.Executor, r.Image)
	}
}

func (o *oracle) Printed(of msg.ExecutionID, text string) { o.printed[of] += text }

// Asked: a GET of the plugin waits.
func (o *oracle) Asked(id msg.ExecutorID) {
	o.held[id] = true
	if o.waits[id].IsZero() {
		o.waits[id] = time.Now()
		o.unsure[id] = !o.calm(noted)
	}
}

// Answered: it waits no longer. Only a job ends its idle time.
func (o *oracle) Answered(id msg.ExecutorID, job msg.ExecutionID) {
	o.held[id] = false
	if job != "" {
		delete(o.waits, id)
	}
}

func (o *oracle) Lost(id msg.ExecutorID) { o.held[id] = false }

// Delivered: a plugin was told that its result is taken. Then it is stored, unless the job had its ending before.
func (o *oracle) Delivered(id msg.ExecutionID) {
	if rec, ok := o.w.spool.Job(id); ok && rec.Stage < msg.Ended {
		o.breach("I1: the result of %s was taken, and is not stored", id)
	}
}

// lossy: the output of an executor, or its end, need not be whole any more.
func (o *oracle) lossy(id msg.ExecutorID, why string) { o.lost[id] = why }

func (o *oracle) powerLost() {
	for id := range o.alive {
		o.lossy(id, "power")
	}
}

// opened: a spool was read again. What it could not read was lost by the disk; a result that was never announced may be.
func (o *oracle) opened(s *spool.Spool) {
	for _, p := range s.Problems() {
		if p.What != "leftover" && p.What != "journal" && (p.What != "result" || !o.stored[p.Job].IsZero()) {
			o.breach("durability: the spool cannot read a %s (%s): %v", p.What, p.Name, p.Err)
		}
	}
}

// watchTime looks at what must happen in time, again and again.
func (o *oracle) watchTime() {
	o.w.in(5*time.Second, "oracle", func() {
		if o.w.sys != nil {
			o.idleInTime()
			o.controlled()
			o.deletedInTime()
		}
		if o.calm(2 * time.Minute) {
			o.abortedInTime()
		}
		o.watchTime()
	})
}

// idleInTime is the one half of I5: whoever waits goes when its time is over. What was wrong just before may have delayed that.
func (o *oracle) idleInTime() {
	stopping := map[msg.ExecutorID]bool{} // its plugin was started again, and asks while its job has its time to end
	for _, job := range o.w.spool.Jobs() {
		stopping[job.Executor] = stopping[job.Executor] || job.Stopping()
	}
	for _, id := range slices.Sorted(maps.Keys(o.waits)) {
		if stopping[id] {
			continue
		}
		due := o.waits[id].Add(o.now.Eviction)
		if due.Before(o.nowFrom) {
			due = o.nowFrom
		}
		late, undisturbed := time.Since(due), due.Sub(o.troubled) > 10*time.Second
		if o.held[id] && (late > 2*time.Second && undisturbed && !o.unsure[id] || late > 2*time.Minute && o.calm(2*time.Minute)) {
			o.breach("I5: %s waits for %v, and the eviction time is %v", id, time.Since(o.waits[id]), o.now.Eviction)
		}
	}
}

// abortedInTime is I11.
func (o *oracle) abortedInTime() {
	for _, a := range o.w.server.Accounts() {
		if a.Aborted && a.Confirmed && a.Finish == nil && !a.Forgotten {
			o.breach("I11: %s was aborted more than 2 min ago and has no finish", a.ID)
		}
	}
}

// said is a line of the runner's own log.
type said struct {
	Message, Executor, Reason, Script, Job string
	Enabled                                bool
	Capacity                               int
	Eviction                               int64 // ms
	Capabilities                           []string
}

// hears is what the runner says in its log.
func (o *oracle) hears(line []byte) {
	if bytes.Contains(line, []byte("hunter2")) {
		o.breach("I8: the runner's log says %s", line)
	}
	var s said
	if json.Unmarshal(line, &s) != nil {
		return
	}
	executor := msg.ExecutorID(s.Executor)
	switch claim, idle := strings.CutPrefix(s.Reason, "it has been idle for "); {
	case idle && s.Message == "executor is evicted":
		o.evicted(executor, claim)
	case s.Message == "could not update the executor's record: a restart would not know of its last change":
		o.unsure[executor] = true
	case s.Message == "engine did not deliver the rest of the executor's output":
		o.lossy(executor, "the engine keeps it")
	case strings.HasPrefix(s.Message, "executor is given up"): // unread, as its actors have crashed all the time
		o.lossy(executor, "it was given up")
	case s.Message == "registered" || s.Message == "the server configures this runner":
		o.configured(msg.Config{Enabled: s.Enabled, Capacity: s.Capacity, Eviction: time.Duration(s.Eviction) * time.Millisecond, Capabilities: s.Capabilities})
	case s.Message == "job is ours":
		o.waiting[msg.ExecutionID(s.Job)] = waiting{time.Now(), o.w.server.AccountOf(msg.ExecutionID(s.Job)).Kind == msg.Script}
	case s.Message == "job ended":
		delete(o.waiting, msg.ExecutionID(s.Job))
	case s.Message == "starting an executor":
		o.starts(msg.ExecutionID(s.Job))
	case s.Message == deletionHeard:
		o.deletionBegins()
	case s.Script != "":
		o.scripts[msg.JobID(s.Script)] += s.Message + "\n"
	}
}

// evicted is the other half of I5: who is evicted for its idle time has had it.
func (o *oracle) evicted(id msg.ExecutorID, claim string) {
	d, err := time.ParseDuration(claim)
	if since := o.waits[id]; err != nil || !since.IsZero() && !o.struck[id] && time.Since(since) < d {
		o.breach("I5: %s is evicted after %v, and the eviction time is %s", id, time.Since(since), claim)
	}
}

// account looks at everything when it is over.
func (o *oracle) account() {
	for _, a := range o.w.server.Accounts() {
		o.finished(a)
		o.logged(a)
	}
}

func (o *oracle) finished(a fakes.Account) {
	id := a.Execution
	switch {
	case a.Forgotten || a.Abandoned:
	case a.Confirmed && a.Finish == nil:
		o.breach("I1: %s is confirmed and has no finish", a.ID)
	case a.Finish == nil && !a.Aborted:
		o.breach("I1: %s was never taken", a.ID)
	case a.Finish == nil:
	case !o.stored[id].IsZero() && a.Finish.Outcome == msg.Failed:
		o.breach("I1: the result of %s was stored, and it is failed: %s", a.ID, a.Finish.Message)
	case o.isRefused(a):
		o.breach("capability: script %s was refused: %s", a.ID, a.Finish.Message)
	case o.runs[id] == "" && a.Finish.Result != "":
		o.breach("I9: %s has a result and never ran", a.ID)
	case strings.Contains(a.Finish.Message, "the plugin was killed (signal 9)") && o.runs[id] != "" && !o.struck[o.runs[id]] && o.lost[o.runs[id]] == "":
		o.breach("I4: the executor of %s was killed, and by nobody outside", a.ID)
	case strings.Contains(a.Finish.Message, "hunter2"):
		o.breach("I8: the message of %s says %q", a.ID, a.Finish.Message)
	}
}

// logged is I7 and I8: what a job printed is there, in order, to the last byte, and not its secret.
func (o *oracle) logged(a fakes.Account) {
	if a.Finish == nil || a.Forgotten || a.Abandoned {
		return
	}
	if o.untold[a.Execution] {
		o.lost[o.runs[a.Execution]] = "the runner was deleted"
	}
	want := strings.ReplaceAll(o.printed[a.Execution], a.Secret, "********")
	got, timed := fakes.Said(a.Log)
	for _, foreign := range []string{"good day\n", "nobody comes\n"} {
		got = strings.ReplaceAll(got, foreign, "")
	}
	executor := o.runs[a.Execution]
	switch {
	case a.Kind == msg.Script:
		o.scriptLogged(a.ID, want, executor)
	case strings.Contains(a.Log, "hunter2"):
		o.breach("I8: the log of %s says %q", a.ID, a.Log)
	case !timed:
		o.breach("the log of %s has a line without its time, or with two: %q", a.ID, a.Log)
	case !a.LogEnded && !o.untold[a.Execution]:
		o.breach("I7: the log of %s has no end", a.ID)
	case !strings.HasPrefix(want, got):
		o.breach("I7: %s printed %q, and its log is %q", a.ID, want, got)
	case got != want && o.lost[executor] == "":
		o.breach("I7: %s printed %q in %s, and its log is only %q", a.ID, want, executor, got)
	}
}

// scriptLogged: its log is the runner's own, where a crash may say a line again.
func (o *oracle) scriptLogged(id msg.JobID, want string, executor msg.ExecutorID) {
	for line := range strings.Lines(want) {
		if !strings.Contains(o.scripts[id], line) && o.lost[executor] == "" {
			o.breach("I7: script %s printed %q, and the runner's log has not", id, line)
			return
		}
	}
}
