package shell

import (
	"cmp"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// shell is the Proto.Actor actor around a Behavior. No panic leaves it: a crash is a stop with a reason, since Proto.Actor's
// own way suspends the mailbox, keeps its messages for the next instance, and may leave a zombie.
type shell[M any] struct {
	cell  *cell
	spec  Spec[M]
	proto actor.Context

	// owned by the actor's turns
	behavior Behavior[M]
	ctx      Ctx[M]
	timers   map[string]timer
	armed    uint64
	tasks    map[uint64]func() // those that may still deliver: their cancels
	subject  string            // of the message in hand
}

func (s *shell[M]) Receive(proto actor.Context) {
	switch m := proto.Message().(type) {
	case *actor.Started:
		s.turn("start", "", "", s.start)
	case *actor.Stopping:
		s.stopping()
	case *actor.Stopped:
		s.stopped()
	case *actor.Terminated:
		s.childGone(s.cell.kidByPID(m.Who))
	case parcel[M]:
		m.deliver(s)
	}
}

func (s *shell[M]) start() {
	s.behavior = s.spec.New()
	s.behavior.Start(&s.ctx)
	s.cell.phase.Store(int32(Up))
}

func (s *shell[M]) receive(m M, subject string) {
	point := s.cell.sys.scheduler.Point
	s.turn("receive", fmt.Sprintf("%T", m), subject, func() {
		point(s.cell.path, m)
		s.behavior.Receive(&s.ctx, m)
		point(s.cell.path, m)
	})
}

// turn runs fn, in which the Behavior is called, unless the actor is over.
func (s *shell[M]) turn(where, message, subject string, fn func()) {
	if s.cell.isOver() {
		return
	}
	s.subject = subject
	s.cell.busy.Store(&busy{cmp.Or(message, where), time.Now()})
	defer func() {
		if reason := recover(); reason != nil {
			s.fail(s.cell.crashed(where, message, s.subject, reason))
		}
		s.subject = ""
		s.cell.busy.Store(nil)
	}()
	fn()
}

// fail ends the actor for its crash; one that has ended already stays as it is.
func (s *shell[M]) fail(c *Crash) {
	if s.cell.isOver() {
		return
	}
	s.cell.crash = c
	s.cell.phase.Store(int32(Crashed))
	s.release(c)
	s.cell.stop()
	sys := s.cell.sys
	if sys.onCrash != nil {
		s.last("crash hook", func() { sys.onCrash(c) })
	}
	if s.cell.parent == sys.top {
		select {
		case sys.fatal <- c:
		default: // the first one counts
		}
	}
}

// release ends all that the actor has in flight; no message is taken from here on.
func (s *shell[M]) release(cause error) {
	close(s.cell.over)
	s.cell.cancel(cause)
	for _, t := range s.timers {
		t.stop() // or it would hold on to the actor until it fires
	}
}

// stopping comes before the children are stopped.
func (s *shell[M]) stopping() {
	if s.cell.isOver() {
		return
	}
	s.cell.phase.Store(int32(Stopping))
	if b, ok := s.behavior.(Stopper[M]); ok {
		s.last("stop", func() { b.Stop(&s.ctx) })
	}
	s.release(ErrStopped)
}

// last runs what may not fail: nobody would be left to decide about it.
func (s *shell[M]) last(where string, fn func()) {
	defer func() {
		if reason := recover(); reason != nil {
			s.cell.crashed(where, "", s.subject, reason)
		}
	}()
	fn()
}

// stopped comes after the children are gone; the parent hears of it when this returns.
func (s *shell[M]) stopped() {
	c := s.cell
	c.sys.scheduler.Await(c.path, func() {
		grace := time.NewTimer(c.sys.grace)
		defer grace.Stop()
		select {
		case <-c.quiet():
		case <-grace.C:
			c.log.Error().Strs("tasks", c.tasks()).Msg("goroutines outlive their actor")
		}
	})
	if c.parent == c.sys.top {
		c.parent.bury(c)
	}
	close(c.gone)
}

func (s *shell[M]) childGone(kid *cell) {
	if kid == nil {
		return
	}
	s.cell.bury(kid)
	s.turn("child "+kid.name, "", "", func() {
		if w, ok := s.behavior.(ChildWatcher[M]); ok {
			w.ChildDown(&s.ctx, Down{kid.name, kid.crash})
		} else if kid.crash != nil {
			panic(kid.crash)
		}
	})
}
