package fakes

import (
	"context"
	"time"

	msg "runnerd/messages"
)

// How a plugin comes to its jobs, in the manner of the two SDKs, and what these do when it goes wrong (docs/executor-contract.md).
//
//	Go      GET · work · callback and file · LIST, WATCH for its life · (event) GET · …
//	Python  GET · work · file, callback · WATCH, one more for each job · (second event) GET · …

// listening is what a plugin has learned from LIST and WATCH.
type listening struct {
	list  *request // on its way
	watch *request // the newest
	older []*request
	seen  uint64 // resourceVersion; 0: none
	ask   int    // events that make it ask, and have not yet
}

// ask waits for a job; over: the process has ended instead.
func (v *visitor) ask(ctx context.Context) (in given, code int, over bool) {
	if v.Spec.Env[ModeVariable] == string(msg.Files) {
		return v.readInput(ctx)
	}
	if v.last.execution != "" {
		v.beginListening()
		if code, over := v.awaitEvent(ctx); over {
			return given{}, code, true
		}
	}
	for {
		a, lost, code, over := v.get(ctx)
		_, isJob := a.(msg.GiveJob)
		switch {
		case over:
			return given{}, code, true
		case lost && !v.refused():
			continue // it asks again by itself
		case isJob && (v.python() || !v.site.chance(AnswerCut)): // Python repeats a GET whose answer was cut
			return v.accept(), 0, false
		case !v.reportsFailure(ctx):
			return given{}, 0, true
		}
		if code, over := v.awaitEvent(ctx); over {
			return given{}, code, true
		}
	}
}

// refused: its GET was lost, and not all of its attempts got through.
func (v *visitor) refused() bool { return v.site.chance(Refused) && v.last.execution != "" }

// accept takes a job; its machine acknowledges it.
func (v *visitor) accept() (in given) {
	v.site.stage.Do("receive", func() { in = v.getting.receive() })
	return in
}

// reportsFailure: it reports as the result of its last job, in the manner of its SDK, that it got no input. False: it has ended.
func (v *visitor) reportsFailure(ctx context.Context) (stays bool) {
	if v.last.execution == "" { // it has nobody to report it to
		return false
	}
	v.site.bogus(ctx, v.World, v.last)
	return !v.python()
}

// get asks for the Secret, and waits for the answer.
func (v *visitor) get(ctx context.Context) (a msg.Answer, lost bool, code int, over bool) {
	v.getting = nil
	code, over = v.until(ctx, "ask", func() (done bool, gone bool) {
		if v.getting == nil {
			v.getting, gone = v.site.get(v.Spec.ID)
			return false, gone
		}
		a, lost = v.getting.result()
		return a != nil || lost, false
	})
	return a, lost, code, over
}

// readsURL is a loop that delivers a large result: the URL is read again, and must be that of the same job (rule 3).
func (v *visitor) readsURL(ctx context.Context, in given) (code int, over bool) {
	a, lost, code, over := v.get(ctx)
	switch a := a.(type) {
	case msg.GiveURL:
		if a.Execution != in.execution {
			v.site.add("rule 3: the URL of %s is read again, and is that of %s", in.execution, a.Execution)
		}
	case msg.GiveJob:
		if a.Execution != in.execution {
			v.site.add("rule 3: the URL of %s is read again, and the answer is job %s", in.execution, a.Execution)
		}
	default: // its URL is not shown to it: it gives up
	}
	if !over && !lost {
		v.site.call(ctx, v.World, in.execution, resultOf(in.key, 0))
	}
	return code, over
}

// beginListening is what comes after a result: Python opens one more watch.
func (v *visitor) beginListening() {
	l := &v.listens
	if v.python() {
		if l.watch != nil {
			l.older = append(l.older, l.watch)
		}
		l.watch, l.seen, l.ask = nil, 0, 0
	}
}

// awaitEvent waits until an event makes it ask.
func (v *visitor) awaitEvent(ctx context.Context) (code int, over bool) {
	code, over = v.until(ctx, "watch", func() (done bool, gone bool) {
		gone = v.listen()
		return v.listens.ask > 0, gone
	})
	if !over {
		v.listens.ask--
		v.Print(PickUp + "\n")
	}
	return code, over
}

// listen keeps a watch open, and hears what it says.
func (v *visitor) listen() (gone bool) {
	l := &v.listens
	for {
		if l.watch == nil {
			if gone = v.openWatch(); gone || l.watch == nil {
				return gone
			}
		}
		event, ok, lost := l.watch.next()
		switch version := event.Version + 1; {
		case lost:
			l.watch = nil
		case !ok:
			return false
		case event.Kind == msg.WatchModified && version != l.seen:
			l.seen = version
			l.ask++
		case event.Kind == msg.WatchAdded:
			l.seen = version
		}
	}
}

func (v *visitor) openWatch() (gone bool) {
	l := &v.listens
	if v.python() {
		l.watch, gone = v.site.watch(v.Spec.ID, msg.WatchOpened{Nested: true, Fresh: l.seen == 0, Version: l.seen})
		return gone
	}
	if l.list == nil {
		l.list, gone = v.site.list(v.Spec.ID, l.seen)
		return gone
	}
	a, lost := l.list.result()
	shown, ok := a.(msg.GiveList)
	if ok || lost {
		l.list = nil
	}
	if !ok {
		return false
	}
	if version := shown.Version + 1; version != l.seen {
		if l.seen != 0 {
			l.ask++ // a key that it did not see
		}
		l.seen = version
	}
	l.watch, gone = v.site.watch(v.Spec.ID, msg.WatchOpened{Version: l.seen})
	return gone
}

// until waits for something at the gateway; meanwhile signals come, and somebody who waits for long mutters. over: it has ended.
func (v *visitor) until(ctx context.Context, what string, try func() (done, gone bool)) (code int, over bool) {
	ended := v.Until(ctx, what, func() (bool, time.Time) {
		if !v.mutters.IsZero() && !time.Now().Before(v.mutters) {
			v.Print("nobody comes\n")
			v.mutters = time.Time{}
		}
		for s := v.Signal(); s != ""; s = v.Signal() {
			if code, over = v.dies(s); over {
				return true, time.Time{}
			}
		}
		done, gone := try()
		if gone {
			code, over = died, true
		}
		return done || over, v.mutters
	})
	if ended != nil {
		return died, true
	}
	return code, over
}

// hangUp ends all its requests: the process has ended.
func (v *visitor) hangUp() {
	for _, r := range append(v.listens.older, v.getting, v.listens.list, v.listens.watch) {
		r.hangUp()
	}
}

// readInput is messages.Files: the job was there before the process.
func (v *visitor) readInput(ctx context.Context) (in given, code int, over bool) {
	code, over = v.until(ctx, "read input", func() (done, gone bool) {
		in, done = v.site.inputOf(v.Spec.ID)
		return done, !done
	})
	return in, code, over
}
