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

// slowSender is the production scheduler, except that the messages of one goroutine are delayed by 1 s.
type slowSender struct {
	actorrt.Scheduler
	slow atomic.Value // id of the delayed goroutine
}

func (s *slowSender) Send(fn func()) {
	if s.slow.Load() == goroutineID() {
		time.Sleep(time.Second)
	}
	s.Scheduler.Send(fn)
}

// goroutineID returns the calling goroutine's id, from the head of its stack trace.
func goroutineID() string {
	var head [40]byte
	runtime.Stack(head[:], false)
	name, _, _ := bytes.Cut(head[:], []byte(" ["))
	return string(name)
}

func TestLogEndingDuringEvictionIsReported(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		sender := &slowSender{Scheduler: actorrt.Live()}
		e.scheduler = sender
		e.image("other", fakes.Plugin{})
		e.disk.Before = func(op memfs.Op) error {
			if !strings.HasSuffix(op.Name, "job1-1/journal") {
				return nil
			}
			if rec, _ := e.spool.Job("job1-1"); rec.Stage == msg.Finished {
				sender.slow.Store(goroutineID()) // this goroutine closes the log
			}
			return nil
		}
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}})
		e.until("the job's log is closed", time.Minute, func() bool { rec, _ := e.spool.Job("job1-1"); return rec.Log.Closed })
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "other"})) // evicts the idle executor
		e.awaitCleanup()
		if log, ended := e.logOf(id); log != "one\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}
