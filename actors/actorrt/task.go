package actorrt

import "context"

// Task is blocking work that an actor has started. The zero Task is one that is over.
type Task struct{ cancel func() }

// Cancel ends the task's context; nothing of it is delivered any more. Only in the turns of the actor that started it.
func (t Task) Cancel() {
	if t.cancel != nil {
		t.cancel()
	}
}

// Go runs fn in a goroutine and delivers what it returns; nil is no message. The context ends with the task or the actor. A
// panic in fn crashes the actor; so does a Goexit. A task that is over before it has begun does not run.
func (c *Ctx[M]) Go(name string, fn func(ctx context.Context) M) Task {
	return c.s.run(name, func(ctx context.Context, _ origin) M { return fn(ctx) })
}

// Stream is Go for a source of many messages. emit delivers one; it blocks while window of them wait in the mailbox, so that
// the source feels the actor's pace, and fails when the task is over. What fn returns comes last.
func (c *Ctx[M]) Stream(name string, window int, fn func(ctx context.Context, emit func(M) error) M) Task {
	node, credit := c.s.node, make(chan struct{}, window)
	return c.s.run(name, func(ctx context.Context, from origin) M {
		return fn(ctx, func(m M) error {
			select {
			case credit <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil { // of two that were ready the end counts, so that chance does not
				return context.Cause(ctx)
			}
			node.post(streamItem[M]{from, mustExist(m), credit})
			return nil
		})
	})
}

// origin is the task that a parcel comes from.
type origin struct {
	number  uint64
	subject string
}

func (s *host[M]) run(name string, fn func(context.Context, origin) M) Task {
	c, from := s.node, origin{s.node.sys.seq.Add(1), s.subject}
	ctx, cancel := context.WithCancel(c.ctx)
	s.tasks[from.number] = cancel
	c.enter(from.number, name)
	c.sys.scheduler.Task(c.path, from.number, func() {
		last := taskResult[M]{origin: from}
		returned := false
		defer func() { // not after fn: a Goexit comes by here only
			if reason := recover(); reason != nil || !returned {
				if reason == nil {
					reason = errGoexit
				}
				last.crash = c.crashed("task "+name, "", from.subject, reason)
			}
			c.post(last)
			c.leave(from.number)
		}()
		if ctx.Err() == nil {
			last.m = fn(ctx, from)
		}
		returned = true
	})
	return Task{func() { s.endTask(from.number) }}
}

func (s *host[M]) endTask(number uint64) {
	if cancel, ok := s.tasks[number]; ok {
		cancel()
		delete(s.tasks, number)
	}
}

// streamItem is a message of a stream.
type streamItem[M any] struct {
	origin
	m      M
	credit <-chan struct{}
}

func (i streamItem[M]) deliver(s *host[M]) {
	if _, lives := s.tasks[i.number]; lives {
		s.receive(i.m, i.subject)
	}
	<-i.credit
}

func (i streamItem[M]) content() any { return i.m }

// taskResult is the last of a task.
type taskResult[M any] struct {
	origin
	m     M
	crash *Crash
}

func (r taskResult[M]) deliver(s *host[M]) {
	_, lives := s.tasks[r.number]
	s.endTask(r.number)
	switch {
	case r.crash != nil:
		s.fail(r.crash)
	case lives && any(r.m) != nil:
		s.receive(r.m, r.subject)
	}
}

func (r taskResult[M]) content() any { return r.m }
