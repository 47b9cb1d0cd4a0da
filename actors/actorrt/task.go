package actorrt

import "context"

// Task is blocking work that an actor has started. The zero Task has ended.
type Task struct{ cancel func() }

// Cancel cancels the task's context. The task delivers nothing any more. Call it only in the turns of the actor that started the task.
func (t Task) Cancel() {
	if t.cancel != nil {
		t.cancel()
	}
}

// Go runs fn in a goroutine and delivers its result as a message, unless it is nil. The context ends with the task or the actor. A
// panic or a Goexit in fn crashes the actor. A task that is cancelled before it begins does not run.
func (c *Ctx[M]) Go(name string, fn func(ctx context.Context) M) Task {
	return c.host.run(name, func(ctx context.Context, _ origin) M { return fn(ctx) })
}

// Stream is Go for a source of many messages. emit delivers one; it blocks while window of them wait in the mailbox, which slows the
// source down to the actor's pace, and fails when the task has ended. The result of fn is delivered last.
func (c *Ctx[M]) Stream(name string, window int, fn func(ctx context.Context, emit func(M) error) M) Task {
	node, credit := c.host.node, make(chan struct{}, window)
	return c.host.run(name, func(ctx context.Context, from origin) M {
		return fn(ctx, func(m M) error {
			select {
			case credit <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil { // select picks randomly when both are ready; the end must win
				return context.Cause(ctx)
			}
			node.post(streamItem[M]{from, mustNotBeNil(m), credit})
			return nil
		})
	})
}

// origin is the task that an envelope comes from.
type origin struct {
	number  uint64
	subject string
}

func (s *host[M]) run(name string, fn func(context.Context, origin) M) Task {
	c, from := s.node, origin{s.node.sys.seq.Add(1), s.subject}
	ctx, cancel := context.WithCancel(c.ctx)
	s.tasks[from.number] = cancel
	c.taskStarted(from.number, name)
	c.sys.scheduler.Task(c.path, from.number, func() {
		last := taskResult[M]{origin: from}
		returned := false
		defer func() { // deferred because a Goexit runs nothing else
			if reason := recover(); reason != nil || !returned {
				if reason == nil {
					reason = errGoexit
				}
				last.crash = c.newCrash("task "+name, "", from.subject, reason)
			}
			c.post(last)
			c.taskEnded(from.number)
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

// taskResult is the last message of a task.
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
