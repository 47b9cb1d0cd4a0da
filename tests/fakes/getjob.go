package fakes

import (
	"context"
	"time"

	msg "runnerd/messages"
)

// How a plugin gets its jobs with each of the two SDKs, and what these do on errors (docs/executor-contract.md).
//
//	Go      GET · work · callback and file · LIST, one WATCH for all jobs · (event) GET · …
//	Python  GET · work · file, callback · WATCH, another one for each job · (second event) GET · …

// watchState is a plugin's state of LIST and WATCH.
type watchState struct {
	list         *request   // in flight
	watch        *request   // the current one
	older        []*request // the watches of earlier jobs (Python)
	version      uint64     // the last resourceVersion seen; 0: none
	pendingPolls int        // events that require a GET not sent yet
}

// nextJob waits for a job. exited reports that the process has exited with code instead.
func (p *runningPlugin) nextJob(ctx context.Context) (in receivedJob, code int, exited bool) {
	if p.Spec.Env[ModeVariable] == string(msg.Files) {
		return p.readInput(ctx)
	}
	if p.lastJob.execution != "" {
		p.startWatching()
		if code, exited := p.awaitEvent(ctx); exited {
			return receivedJob{}, code, true
		}
	}
	for {
		a, lost, code, exited := p.get(ctx)
		_, isJob := a.(msg.GiveJob)
		switch {
		case exited:
			return receivedJob{}, code, true
		case lost && !p.isRefused():
			continue // the SDK repeats the GET
		case isJob && (p.isPython() || !p.host.injectFault(AnswerCut)): // Python repeats a GET whose answer was cut
			return p.acceptJob(ctx)
		case !p.reportFailure(ctx):
			return receivedJob{}, 0, true
		}
		if code, exited := p.awaitEvent(ctx); exited {
			return receivedJob{}, code, true
		}
	}
}

// isRefused decides whether, after a lost GET, the SDK's repeated attempts fail too.
func (p *runningPlugin) isRefused() bool {
	return p.host.injectFault(GetRefused) && p.lastJob.execution != ""
}

// acceptJob receives and acknowledges a job, unless the process was killed.
func (p *runningPlugin) acceptJob(ctx context.Context) (in receivedJob, code int, exited bool) {
	p.host.scheduler.Do("receive", func() {
		if exited = ctx.Err() != nil; !exited {
			in = p.poll.receive()
		}
	})
	return in, exitKilled, exited
}

// reportFailure does what the SDKs do if they get no input: it reports an error as the result of the last job. It returns false if the
// process exits instead of continuing.
func (p *runningPlugin) reportFailure(ctx context.Context) (running bool) {
	if p.lastJob.execution == "" { // there is no URL to report to
		return false
	}
	p.host.reportNoInput(ctx, p.Process, p.lastJob)
	return !p.isPython()
}

// get sends a GET for the Secret and waits for the answer.
func (p *runningPlugin) get(ctx context.Context) (a msg.Answer, lost bool, code int, exited bool) {
	p.poll = nil
	code, exited = p.waitUntil(ctx, "get", func() (done bool, gone bool) {
		if p.poll == nil {
			p.poll, gone = p.host.get(p.Spec.ID)
			return false, gone
		}
		a, lost = p.poll.result()
		return a != nil || lost, false
	})
	return a, lost, code, exited
}

// rereadURL simulates an SDK that reads the URL again to deliver a large result. The URL must be that of the same job (rule 3).
func (p *runningPlugin) rereadURL(ctx context.Context, in receivedJob) (code int, exited bool) {
	a, lost, code, exited := p.get(ctx)
	switch a := a.(type) {
	case msg.GiveURL:
		if a.Execution != in.execution {
			p.host.add("rule 3: a second read of the URL of %s returned the URL of %s", in.execution, a.Execution)
		}
	case msg.GiveJob:
		if a.Execution != in.execution {
			p.host.add("rule 3: a second read of the URL of %s returned job %s", in.execution, a.Execution)
		}
	default: // no URL: the SDK gives up
	}
	if !exited && !lost {
		p.host.postResult(ctx, p.Process, in.execution, resultOf(in.key, 0))
	}
	return code, exited
}

// startWatching prepares the wait for the event after a result. The Python SDK opens another watch; the Go SDK keeps its one.
func (p *runningPlugin) startWatching() {
	w := &p.watching
	if p.isPython() {
		if w.watch != nil {
			w.older = append(w.older, w.watch)
		}
		w.watch, w.version, w.pendingPolls = nil, 0, 0
	}
}

// awaitEvent waits for an event that requires a GET.
func (p *runningPlugin) awaitEvent(ctx context.Context) (code int, exited bool) {
	code, exited = p.waitUntil(ctx, "watch", func() (done bool, gone bool) {
		gone = p.processEvents()
		return p.watching.pendingPolls > 0, gone
	})
	if !exited {
		p.watching.pendingPolls--
		p.Print(PickUpLine + "\n")
	}
	return code, exited
}

// processEvents keeps a watch open and processes its events. gone reports that the gateway does not admit the executor.
func (p *runningPlugin) processEvents() (gone bool) {
	w := &p.watching
	for {
		if w.watch == nil {
			if gone = p.openWatch(); gone || w.watch == nil {
				return gone
			}
		}
		event, ok, lost := w.watch.nextEvent()
		switch version := event.Version + 1; { // the resourceVersion that the gateway shows
		case lost:
			w.watch = nil
		case !ok:
			return false
		case event.Kind == msg.WatchModified && version != w.version:
			w.version = version
			w.pendingPolls++
		case event.Kind == msg.WatchAdded:
			w.version = version
		}
	}
}

// openWatch takes the next step toward an open watch. The Go SDK needs the answer to a LIST first.
func (p *runningPlugin) openWatch() (gone bool) {
	w := &p.watching
	if p.isPython() {
		w.watch, gone = p.host.watch(p.Spec.ID, msg.WatchOpened{Nested: true, Fresh: w.version == 0, Version: w.version})
		return gone
	}
	if w.list == nil {
		w.list, gone = p.host.list(p.Spec.ID, w.version)
		return gone
	}
	a, lost := w.list.result()
	shown, ok := a.(msg.GiveList)
	if ok || lost {
		w.list = nil
	}
	if !ok {
		return false
	}
	if version := shown.Version + 1; version != w.version {
		if w.version != 0 {
			w.pendingPolls++ // the plugin missed an event
		}
		w.version = version
	}
	w.watch, gone = p.host.watch(p.Spec.ID, msg.WatchOpened{Version: w.version})
	return gone
}

// waitUntil calls try until it is done. Meanwhile it handles signals and prints the idle line. exited reports that the process has
// exited with code.
func (p *runningPlugin) waitUntil(ctx context.Context, what string, try func() (done, gone bool)) (code int, exited bool) {
	ended := p.Until(ctx, what, func() (bool, time.Time) {
		if !p.idleLineAt.IsZero() && !time.Now().Before(p.idleLineAt) {
			p.Print("still waiting\n")
			p.idleLineAt = time.Time{}
		}
		for s := p.Signal(); s != ""; s = p.Signal() {
			if code, exited = p.handleSignal(s); exited {
				return true, time.Time{}
			}
		}
		done, gone := try()
		if gone {
			code, exited = exitKilled, true
		}
		return done || exited, p.idleLineAt
	})
	if ended != nil {
		return exitKilled, true
	}
	return code, exited
}

// closeRequests closes all requests of a process that has exited.
func (p *runningPlugin) closeRequests() {
	for _, r := range append(p.watching.older, p.poll, p.watching.list, p.watching.watch) {
		r.close()
	}
}

// readInput reads the job of an executor in mode messages.Files, in which the input exists before the process starts.
func (p *runningPlugin) readInput(ctx context.Context) (in receivedJob, code int, exited bool) {
	code, exited = p.waitUntil(ctx, "read input", func() (done, gone bool) {
		in, done = p.host.inputOf(p.Spec.ID)
		return done, !done
	})
	return in, code, exited
}
