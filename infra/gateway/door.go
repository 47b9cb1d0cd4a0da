package gateway

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// phase is what a GET of the Secret means.
type phase string

const (
	waiting   phase = "waiting"   // it asks for a job
	running   phase = "running"   // it repeats itself: the job is open
	unstarted phase = "unstarted" // it asks for the job that it could not start
	settled   phase = "settled"   // it looks for the url of the old job, to deliver its result
)

var next = map[phase][]phase{
	waiting:   {running},
	running:   {unstarted, settled},
	unstarted: {running, settled},
	settled:   {waiting},
}

// job is one that was handed out here.
type job struct {
	execution msg.ExecutionID
	key       seal.Key // zero: not known any more

	refused bool // guarded by the door's mu; a result that is too large comes by file and by callback, and again
	blamed  bool // guarded by the door's mu; the plugin's noise was logged aloud
}

// hold is a GET that waits.
type hold struct{ answer chan answer }

// door is everything about one executor.
type door struct {
	// fixed
	g     *Gateway
	id    msg.ExecutorID
	mode  msg.Mode
	token string
	log   zerolog.Logger

	places chan struct{} // requests that are being answered
	calls  chan struct{} // callbacks and fetches that are being answered
	bodies chan struct{} // callback bodies in memory
	poke   chan struct{} // the result file may have changed

	clearing sync.Mutex // one GET clears the result directory and is answered at a time; before mu

	taking sync.Mutex // one result is read, checked and stored at a time; before mu

	mu         sync.Mutex // guards what follows
	phase      phase
	arming     uint64
	job        *job // the newest that was handed out
	before     *job
	hold       *hold
	watches    []*watch // oldest first
	owed       bool     // an event that makes the plugin come
	notBefore  time.Time
	timer      *time.Timer
	retired    string
	held       bool // a GET was held since the result of job
	calledBack bool // the callback of job came after its result
	gaveUp     bool // a bogus result came while the GET seemed to wait
	delivered  bool // the input of job was written
	result     *msg.ResultStored
	closed     bool
	news       news
	stopFile   context.CancelFunc
}

// Bounds of one executor. Python nests a watch per job, and is retired after 200.
const (
	maxWatches  = 256
	maxRequests = maxWatches + 16
	maxCalls    = 16
)

func newDoor(g *Gateway, rec msg.ExecutorRecord) *door {
	return &door{
		g: g, id: rec.ID, mode: rec.Mode, token: g.token(rec.ID),
		log:    g.Log.With().Str("executor", string(rec.ID)).Logger(),
		places: make(chan struct{}, maxRequests),
		calls:  make(chan struct{}, maxCalls),
		bodies: make(chan struct{}, 1),
		poke:   make(chan struct{}, 1),
		phase:  waiting,
		arming: rec.Arming,
		news:   newNews(),
	}
}

// enter changes the phase. mu is held.
func (d *door) enter(to phase) {
	if !slices.Contains(next[d.phase], to) {
		panic(fmt.Sprintf("door of executor %s: from %s to %s", d.id, d.phase, to))
	}
	d.log.Debug().Str("from", string(d.phase)).Str("to", string(to)).Msg("door moves")
	d.phase = to
}

// open returns the job that has no result yet, or nil. mu is held.
func (d *door) open() *job {
	if d.phase == running || d.phase == unstarted {
		return d.job
	}
	return nil
}

func (d *door) openJob() *job {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open()
}

// begin makes j the job that runs. mu is held.
func (d *door) begin(j *job) {
	if d.job != j {
		d.g.forget(d.before)
		d.before, d.job = d.job, j
	}
	d.result = nil
	d.held, d.calledBack, d.gaveUp, d.delivered, d.owed = false, false, false, false, false
	d.enter(running)
	d.g.lead(d, j)
	d.watchFile()
}

// settle closes the job: its result is stored, or it needs none any more.
func (d *door) settle(j *job, stored *msg.ResultStored) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open() != j {
		return
	}
	d.enter(settled)
	d.leaveFile()
	if stored != nil {
		d.delivering(j)
		d.result, d.retired = stored, cmp.Or(d.retired, stored.Retire)
		d.news.add(*stored)
	}
	if first := time.Now().Add(resultFirst); d.notBefore.Before(first) {
		d.notBefore = first
	}
	d.owe()
}

// resultFirst is how much later than a result its executor is armed: by then the ending is on its way to the server, which
// somebody waits for, and did not have to share the door, the disk and the processor with the way to the next job.
const resultFirst = 2 * time.Millisecond

// delivering notes that the plugin has the input, once per hand-out. mu is held.
func (d *door) delivering(j *job) {
	if d.job == j && !d.delivered {
		d.delivered = true
		d.news.add(msg.Delivered{Execution: j.execution})
	}
}

func (d *door) wrote(j *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase == running {
		d.delivering(j)
	}
}

// refuse says, once, that there will be no result of the open job: it has so many bytes.
func (d *door) refuse(j *job, size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open() != j || j.refused {
		return
	}
	j.refused = true
	d.news.add(d.g.refusal(j, size))
}

func (g *Gateway) refusal(j *job, size int64) msg.ResultRefused {
	return msg.ResultRefused{Execution: j.execution, Reason: fmt.Sprintf(
		"the result has %d bytes, more than the %d that this runner takes: let the task return less, or raise the limit", size, g.MaxResult)}
}

// blame is the level at which the plugin's own mistake is logged: once a job at the one given, as it may repeat it without end.
func (d *door) blame(j *job, level zerolog.Level) zerolog.Level {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j.blamed {
		return zerolog.DebugLevel
	}
	j.blamed = true
	return level
}

// close ends everything that goes on at the door.
func (d *door) close(cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.hold != nil {
		d.hold.answer <- refusal(404, "the executor was dismissed")
		d.hold = nil
	}
	d.shut()
	d.news.end(cause)
}

// shut ends watches, timers and the look-out for the result file. mu is held.
func (d *door) shut() {
	for _, w := range d.watches {
		w.end()
	}
	d.watches = nil
	if d.timer != nil {
		d.timer.Stop()
	}
	d.leaveFile()
}

// retreat is the planned stop: the plugin is asked to come again (rule 6).
func (d *door) retreat() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.hold != nil {
		d.hold.answer <- d.g.comeAgain("the runner is being restarted")
		d.hold = nil
	}
	d.shut()
}

func (d *door) out() string { return filepath.Join(d.g.Store.ExecutorDir(d.id), outDir) }
