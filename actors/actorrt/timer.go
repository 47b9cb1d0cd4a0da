package actorrt

import "time"

// After delivers m when d has passed, unless Cancel or After of the same key, or the actor's end, comes first.
func (c *Ctx[M]) After(key string, d time.Duration, m M) {
	s := c.s
	c.Cancel(key)
	s.armed++
	due := timerFired[M]{mustExist(m), s.subject, key, s.armed}
	s.timers[key] = timer{s.armed, s.node.sys.scheduler.After(s.node.path, d, func() { s.node.post(due) })}
}

// Cancel is definite: the message is not delivered any more, even if it is in the mailbox.
func (c *Ctx[M]) Cancel(key string) {
	if t, ok := c.s.timers[key]; ok {
		t.stop()
		delete(c.s.timers, key)
	}
}

// timer is one that is armed: number tells its message from that of an earlier one of the same key.
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
