package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// watch is a WATCH of the Secret that stands.
type watch struct {
	nested bool // Python's: one per job, and only one that was opened after the result is listened to
	late   bool // nested, and opened before the plugin fell idle
	events chan []byte
	ended  chan struct{}
}

// eventRoom is what a watch may fall behind; there is an event per job at most.
const eventRoom = 8

func (w *watch) end() { close(w.ended) }

// send never blocks: a watch that does not read is none. The event that is lost with it is missed by a resourceVersion.
func (w *watch) send(event []byte) {
	select {
	case w.events <- event:
	default:
	}
}

// owe says that the plugin needs an event to come with a GET. mu is held.
func (d *door) owe() {
	d.owed = true
	for _, w := range d.watches {
		w.late = w.nested
	}
	d.arm()
}

// arm sends the event that is owed, if the right watch stands, and none otherwise: no event while a job runs, or during a
// hold (rule 2). mu is held.
func (d *door) arm() {
	if !d.owed || d.closed || d.hold != nil || d.phase == running || d.mode != msg.Daemon || d.retired != "" {
		return
	}
	if len(d.watches) == 0 || d.watches[len(d.watches)-1].late {
		return
	}
	if wait := time.Until(d.notBefore); wait > 0 {
		d.armIn(wait)
		return
	}
	number := d.arming + 1
	if err := d.noteArming(number); err != nil {
		// After a restart the same key would be shown once more, and make nobody come.
		d.log.Warn().Err(err).Msg("cannot note the arming, trying again")
		d.armIn(time.Second)
		return
	}
	d.arming = number
	d.armed()
	d.watches[len(d.watches)-1].send(d.event("MODIFIED"))
}

// armed: the plugin comes now. mu is held.
func (d *door) armed() {
	d.owed = false
	if d.phase == settled {
		d.enter(waiting)
	}
}

// noteArming keeps the key of the job before with the number: see disowns. mu is held.
func (d *door) noteArming(number uint64) error {
	var last []byte
	if d.job != nil && d.phase != unstarted && d.job.key != (seal.Key{}) {
		var err error
		if last, err = d.g.Keys.Seal([]msg.Secret{msg.Secret(d.job.key[:])}); err != nil {
			return err
		}
	}
	return d.g.Store.UpdateExecutor(d.id, func(r *msg.ExecutorRecord) {
		r.Arming = number
		if last != nil {
			r.LastKey = last
		}
	})
}

// armIn tries again later. mu is held.
func (d *door) armIn(wait time.Duration) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.arm()
	})
}

// attend adds a watch and sends it what it has to know. fresh: it knows nothing; else it has seen the version.
func (d *door) attend(w *watch, fresh bool, version uint64, bookmark bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if len(d.watches) == maxWatches {
		d.watches[0].end()
		d.watches = slices.Delete(d.watches, 0, 1)
	}
	d.watches = append(d.watches, w)
	idle := d.hold == nil && d.phase != running
	switch {
	case fresh:
		w.send(d.event("ADDED"))
		if bookmark {
			w.send(d.bookmark())
		}
		// Its first event is a baseline to Python: whatever was sent before, it will not come without another.
		d.owed = d.owed || idle && w.nested
	case idle && !d.owed && version < d.version():
		w.send(d.event("MODIFIED")) // it was missed
	}
	d.arm()
	return true
}

func (d *door) leave(w *watch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watches = slices.DeleteFunc(d.watches, func(other *watch) bool { return other == w })
}

// stray is a callback for a job that has its result: it came late, or it is bogus, an SDK's report that it could not fetch
// the job after. atWork is the job that was running when the request began. mu is not held.
func (d *door) stray(j, atWork *job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	level := zerolog.InfoLevel
	if j == d.job { // most often the file was faster, and that is all
		level = zerolog.DebugLevel
	}
	d.log.WithLevel(level).Str("job", string(j.execution)).Msg("a callback came for a job that is closed")
	switch {
	case j == d.before && d.phase == running && atWork == d.job:
		d.unstarted("an error about the job's input was posted to the URL of the job before")
	case j != d.job || d.phase != waiting:
		// Of no consequence: whatever the plugin has lost, an event is owed to it already.
	case !d.held && !d.calledBack:
		d.calledBack = true // the file was faster
	case d.hold != nil:
		d.gaveUp = true
	default:
		d.owe()
	}
}

// handOuts is how often a job is handed out at most. It may be no fault of the plugin's that it did not start: the runner's end cuts
// the answer too.
const handOuts = 5

// unstarted hands the job out once more at the next GET. mu is held.
func (d *door) unstarted(proof string) {
	if rec, _ := d.g.Store.Job(d.job.execution); rec.HandOuts >= handOuts {
		reason := fmt.Sprintf("the plugin could not read its input, %d times: %s", handOuts, proof)
		d.news.add(msg.ResultRefused{Execution: d.job.execution, Reason: reason})
		return
	}
	if err := d.g.Store.NotStarted(d.job.execution); err != nil {
		// Only a crash before the next GET would miss it: the plugin may then wait for an event that is not owed.
		d.log.Warn().Err(err).Str("job", string(d.job.execution)).Msg("cannot note that a job did not start")
	}
	d.enter(unstarted)
	d.news.add(msg.NotStarted{Execution: d.job.execution, Proof: proof})
	d.owe()
}

// version is the resourceVersion of what LIST and WATCH show. Zero would mean "any" to a client. mu is held.
func (d *door) version() uint64 { return versionOf(d.arming) }

func versionOf(arming uint64) uint64 { return arming + 1 }

func versionText(arming uint64) string { return strconv.FormatUint(versionOf(arming), 10) }
