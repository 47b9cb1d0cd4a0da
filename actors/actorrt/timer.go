package actorrt

import "time"

// After delivers m after d, unless before that the actor ends, or Cancel or After is called with the same key.
func (c *Ctx[M]) After(key string, d time.Duration, m M) {
	s := c.host
	c.Cancel(key)
	s.lastTimer++
	due := timerFired[M]{mustNotBeNil(m), s.subject, key, s.lastTimer}
	s.timers[key] = timer{s.lastTimer, s.node.sys.scheduler.After(s.node.path, d, func() { s.node.post(due) })}
}

// Cancel cancels a timer. Its message is not delivered any more, even if it is in the mailbox.
func (c *Ctx[M]) Cancel(key string) {
	if t, ok := c.host.timers[key]; ok {
		t.stop()
		delete(c.host.timers, key)
	}
}

// timer is a running timer. Its number distinguishes its message from that of an earlier timer with the same key.
type timer struct {
	number uint64
	stop   func()
}

// timerFired is the message of a timer that fired.
type timerFired[M any] struct {
	m       M
	subject string
	key     string
	number  uint64
}

func (d timerFired[M]) deliver(s *host[M]) {
	if s.timers[d.key].number == d.number {
		delete(s.timers, d.key)
		s.receive(d.m, d.subject)
	}
}

func (d timerFired[M]) content() any { return d.m }
