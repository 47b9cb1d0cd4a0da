package actorrt

import (
	"cmp"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// host is the Proto.Actor actor that runs a Behavior. It recovers every panic and turns a crash into a stop with a reason, because
// Proto.Actor's own supervision suspends the mailbox, keeps its messages for the next instance, and may leave a zombie.
type host[M any] struct {
	node  *node
	spec  Spec[M]
	proto actor.Context

	// used only in the actor's turns
	behavior  Behavior[M]
	ctx       Ctx[M]
	timers    map[string]timer
	lastTimer uint64
	tasks     map[uint64]func() // cancel functions of the tasks that may still deliver
	subject   string            // of the current message
}

func (s *host[M]) Receive(proto actor.Context) {
	switch m := proto.Message().(type) {
	case *actor.Started:
		s.turn("start", "", "", s.start)
	case *actor.Stopping:
		s.stopping()
	case *actor.Stopped:
		s.stopped()
	case *actor.Terminated:
		s.childTerminated(s.node.childByPID(m.Who))
	case envelope[M]:
		m.deliver(s)
	}
}

func (s *host[M]) start() {
	s.behavior = s.spec.New()
	s.behavior.Start(&s.ctx)
	s.node.state.Store(int32(Up))
}

func (s *host[M]) receive(m M, subject string) {
	point := s.node.sys.scheduler.Point
	s.turn("receive", fmt.Sprintf("%T", m), subject, func() {
		point(s.node.path, m)
		s.behavior.Receive(&s.ctx, m)
		point(s.node.path, m)
	})
}

// turn runs fn, which calls the Behavior, unless the actor has ended.
func (s *host[M]) turn(where, message, subject string, fn func()) {
	if s.node.hasEnded() {
		return
	}
	s.subject = subject
	s.node.busy.Store(&busy{cmp.Or(message, where), time.Now()})
	defer func() {
		if reason := recover(); reason != nil {
			s.fail(s.node.newCrash(where, message, s.subject, reason))
		}
		s.subject = ""
		s.node.busy.Store(nil)
	}()
	fn()
}

// fail ends the actor after a crash, unless it has already ended.
func (s *host[M]) fail(c *Crash) {
	if s.node.hasEnded() {
		return
	}
	s.node.crash = c
	s.node.state.Store(int32(Crashed))
	s.release(c)
	s.node.stop()
	sys := s.node.sys
	if sys.onCrash != nil {
		s.guard("crash hook", func() { sys.onCrash(c) })
	}
	if s.node.parent == sys.top {
		select {
		case sys.fatal <- c:
		default: // the first one counts
		}
	}
}

// release cancels everything that the actor has in flight. No message is handled from here on.
func (s *host[M]) release(cause error) {
	close(s.node.ended)
	s.node.cancel(cause)
	for _, t := range s.timers {
		t.stop() // otherwise it would keep the actor in memory until it fires
	}
}

// stopping runs before the children are stopped.
func (s *host[M]) stopping() {
	if s.node.hasEnded() {
		return
	}
	s.node.state.Store(int32(Stopping))
	if b, ok := s.behavior.(Stopper[M]); ok {
		s.guard("stop", func() { b.Stop(&s.ctx) })
	}
	s.release(ErrStopped)
}

// guard runs fn and only logs a panic, because the actor is already ending.
func (s *host[M]) guard(where string, fn func()) {
	defer func() {
		if reason := recover(); reason != nil {
			s.node.newCrash(where, "", s.subject, reason)
		}
	}()
	fn()
}

// stopped runs after the children have ended. Proto.Actor notifies the parent when it returns.
func (s *host[M]) stopped() {
	c := s.node
	c.sys.scheduler.Await(c.path, func() {
		grace := time.NewTimer(c.sys.grace)
		defer grace.Stop()
		select {
		case <-c.whenIdle():
		case <-grace.C:
			c.log.Error().Strs("tasks", c.tasks()).Msg("goroutines did not end with their actor")
		}
	})
	if c.parent == c.sys.top {
		c.parent.removeChild(c)
	}
	close(c.stopped)
}

func (s *host[M]) childTerminated(child *node) {
	if child == nil {
		return
	}
	s.node.removeChild(child)
	s.turn("child "+child.name, "", "", func() {
		if w, ok := s.behavior.(ChildWatcher[M]); ok {
			w.ChildDown(&s.ctx, Down{child.name, child.crash})
		} else if child.crash != nil {
			panic(child.crash)
		}
	})
}
