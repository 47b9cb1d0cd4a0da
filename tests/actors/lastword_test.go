package actors_test

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// dawdler is the scheduler of production, but that one goroutine is late with what it says.
type dawdler struct {
	actorrt.Scheduler
	late atomic.Value
}

func (d *dawdler) Send(fn func()) {
	if d.late.Load() == goroutine() {
		time.Sleep(time.Second)
	}
	d.Scheduler.Send(fn)
}

// goroutine is who calls, by the head of its stack trace.
func goroutine() string {
	var head [40]byte
	runtime.Stack(head[:], false)
	name, _, _ := bytes.Cut(head[:], []byte(" ["))
	return string(name)
}

func TestALogThatEndsWhileItsExecutorIsEvictedIsReportedToItsEnd(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		d := &dawdler{Scheduler: actorrt.Live()}
		w.scheduler = d
		w.image("other", fakes.Plugin{})
		w.disk.Before = func(op memfs.Op) error {
			if !strings.HasSuffix(op.Name, "job1-1/journal") {
				return nil
			}
			if rec, _ := w.spool.Job("job1-1"); rec.Stage == msg.Finished {
				d.late.Store(goroutine()) // it ends the log
			}
			return nil
		}
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}})
		w.until("its log has ended", time.Minute, func() bool { rec, _ := w.spool.Job("job1-1"); return rec.Log.Ended })
		w.completes(w.server.Submit(fakes.Task{Image: "other"})) // in the place of the one that waits
		w.nothingIsLeft()
		if log, ended := w.logOf(id); log != "one\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}
