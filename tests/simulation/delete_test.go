package simulation

import (
	"time"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// What the program does about a runner that the server deletes, and what must hold then.

// deleted is the runner's last word.
func (w *world) deleted() {
	w.exits(w.wipe)()
}

// wipe takes away all that the runner has kept, but for the note.
func (w *world) wipe() {
	w.oracle.deletionEnds()
	_ = w.disk.Close()
	w.disk = memfs.New()
	w.config, w.wiped = msg.Config{}, true
}

// refuses: whoever starts the runner again is told that it was deleted, until somebody takes the note away. Who does that
// deals on the server with what it knows of the runner.
func (w *world) refuses() {
	w.trace.note("boot: the server has deleted this runner")
	if !w.note {
		w.oracle.breach("deletion: the runner comes back by itself")
	}
	w.in(w.between(time.Second, 10*time.Minute), "the note is taken away", func() {
		if !w.server.HasLeft() {
			w.server.Abandon()
		}
		w.note, w.wiped = false, false
		w.boot()
	})
}

// killsWhoLeaves: a runner unregisters so quickly that a kill hardly ever comes at that moment by itself.
func (w *world) killsWhoLeaves() {
	life := w.life
	if w.peaceful || !w.strikes(0.5) {
		return
	}
	w.in(w.between(0, 40*time.Millisecond), "kill -9 as it unregisters", func() {
		if w.life == life {
			w.dies("kill -9", false, 0)
		}
	})
}

// deletion is what is known of one that is under way.
type deletion struct {
	heard time.Time // zero: none is
	owed  []msg.ExecutionID
}

// deletionBegins: the runner knows of it. What it has confirmed by then it can tell the end of, if nothing goes wrong.
func (o *oracle) deletionBegins() {
	if o.deletion.heard.IsZero() {
		o.deletion.heard = time.Now()
		for _, job := range o.w.spool.Jobs() {
			if job.Stage >= msg.Confirmed {
				o.deletion.owed = append(o.deletion.owed, job.Execution)
			}
		}
	}
}

// undisturbed: nothing has gone wrong since the deletion began.
func (d deletion) undisturbed(o *oracle) bool {
	return !d.heard.IsZero() && o.troubled.Before(d.heard.Add(-time.Minute))
}

// deletionEnds: the process takes away what it has, and no container is left. What the server was not told it will not hear.
func (o *oracle) deletionEnds() {
	if list := o.w.engine.Containers(); len(list) > 0 {
		o.breach("I10: the deleted runner leaves containers: %v", list)
	}
	for _, job := range o.w.spool.Jobs() {
		o.untold[job.Execution] = true
	}
	if o.deletion.undisturbed(o) {
		for _, id := range o.deletion.owed {
			if o.untold[id] {
				o.breach("deletion: the server was not told of %s", id)
			}
			if f := o.w.server.AccountOf(id).Finish; f != nil && f.Outcome == msg.Completed && o.stored[id].Sub(o.deletion.heard) > time.Second {
				o.breach("deletion: %s goes on, and completes", id)
			}
		}
	}
	o.deletion = deletion{}
}

// asked: the runner asks the server for something.
func (o *oracle) asked(op string) {
	d := &o.deletion
	switch {
	case op == fakes.Unregister && !o.w.note:
		o.breach("deletion: the server is told, and the next start does not know")
	case op == fakes.Register && o.w.note:
		o.breach("deletion: the runner registers again")
	case op == fakes.Reserve && !d.heard.IsZero() && time.Since(d.heard) > 2*time.Second:
		o.breach("deletion: the runner asks for jobs")
	case op == fakes.Reserve && !o.now.Enabled && time.Since(o.nowFrom) > 2*time.Second:
		o.breach("disable: the runner asks for jobs")
	}
}

// deletedInTime: it takes as long as aborts do.
func (o *oracle) deletedInTime() {
	if d := o.deletion; !d.heard.IsZero() && time.Since(d.heard) > 2*time.Minute && o.calm(2*time.Minute) && o.w.sys != nil {
		o.breach("deletion: it goes on for more than 2 min")
	}
}
