package actors

import (
	"slices"
	"time"

	msg "runnerd/messages"
)

// The plugin's requests at the gateway, and their answers.

// notification is the state of the event that makes the plugin ask for its next job: one event on the right watch, which shows a new dummy
// key (rules 1 and 2).
type notification struct {
	version    uint64  // of the Secret that LIST and WATCH show
	due        bool    // the plugin needs an event
	delayed    bool    // it must wait for a timer
	recording  bool    // the next version is being written into the executor's record
	sent       bool    // an event was sent since the result of the last job
	calledBack bool    // the callback of the last job arrived after its result
	gaveUp     bool    // the plugin reported that it gave up the GET that still seems to wait
	watches    []watch // oldest first
}

type watch struct {
	request msg.RequestID
	nested  bool // Python's: one per job; the plugin reads only the one it opened after the result
	stale   bool // nested, and opened before the plugin needed an event
}

// notifyDelay is the delay between a result and the event for the next job. It lets the ending leave for the server, where somebody waits
// for it, without competing for disk and processor with the next job.
const notifyDelay = 2 * time.Millisecond

// maxHandOuts is the maximum number of hand-outs of a job. More than one is allowed because a plugin may not be at fault when it did not
// start: a restart of the runner cuts the answer too.
const maxHandOuts = 5

// requested serves a request. While a job is open it reads the result file first, because a plugin that asks may have written its result
// there (rule 3). A GET waits until it is known whether its process is the one that was started.
func (t *transition) requested(r msg.SessionEvent) {
	if _, isGet := r.(msg.SecretRequested); t.job.handOut == handingOut || isGet && !t.inspected {
		t.pending = append(t.pending, r)
		return
	}
	if t.state == running && t.job.handOut == handedOut {
		t.pending = append(t.pending, r)
		t.readResultFile()
		return
	}
	t.serve(r)
}

func (t *transition) serve(r msg.SessionEvent) {
	switch r := r.(type) {
	case msg.SecretRequested:
		t.serveGet(r.Request)
	case msg.SecretListed:
		t.answer(r.Request, msg.GiveList{Version: t.versionFor(r.Version)})
	case msg.WatchOpened:
		t.serveWatch(r)
	case msg.CallbackReceived:
		t.callback(r)
	}
}

// servePending serves the requests that waited for the result file. GETs wait until the container is inspected.
func (t *transition) servePending() {
	all := t.pending
	t.pending = nil
	for _, r := range all {
		if _, isGet := r.(msg.SecretRequested); isGet && !t.inspected {
			t.pending = append(t.pending, r)
			continue
		}
		t.serve(r)
	}
}

func (t *transition) answer(request msg.RequestID, a msg.Answer) { t.do(answerRequest{request, a}) }

// serveGet answers a GET, or lets it wait for a job.
func (t *transition) serveGet(request msg.RequestID) {
	switch {
	case t.state == stopping || t.state == exited || t.job.ending != nil:
		// The executor is ending, and the request ends with it.
	case t.job.abandoned:
	case t.job.handOut == handedOut && t.job.unstarted:
		t.job.handOut = handingOut
		t.do(handOut{request: request, execution: t.job.Execution, again: true})
	case t.job.handOut == handedOut && t.job.delivered:
		t.refuseSecondProcess()
	case t.job.handOut == handedOut:
		t.do(resendJob{request, t.job.Execution})
	case t.state == finishing && !t.asksForJob():
		t.answer(request, msg.GiveURL{Execution: t.last})
	case t.nextPoll != 0: // the directory is already being cleared
		t.answer(t.nextPoll, msg.Superseded{})
		t.nextPoll = request
	case t.poll != 0: // the connection of the older one is lost
		t.answer(t.poll, msg.Superseded{})
		t.poll, t.notification.gaveUp = request, false
	default:
		t.nextPoll = request
		t.do(clearResults{})
	}
}

// refuseSecondProcess ends a delivered job that another process in the same container asks for (rule 4). The result file of the first
// process has been read before.
func (t *transition) refuseSecondProcess() {
	t.restarted = true
	t.retireAfterJob("another process was started in its container")
	t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: "another process asked for the job in the same container after its plugin had received it, and a job is not run twice. " +
		"The container was restarted, or its entrypoint restarts the plugin when it exits"})
}

// inputRead retries a repeated GET whose input could not be read.
func (t *transition) inputRead(m msg.InputRead) {
	if m.Err == nil {
		t.startDelivery()
		return
	}
	if t.job.Execution == m.Execution && t.job.isOpen() {
		t.pending = append(t.pending, msg.SecretRequested{Request: m.Request})
		t.retry(msg.RetryFile, m.Err)
	}
}

// resultsCleared lets the GET wait for a job now that the result directory is cleared.
func (t *transition) resultsCleared() {
	if t.nextPoll == 0 || t.state == stopping || t.state == exited {
		return
	}
	t.poll, t.nextPoll = t.nextPoll, 0
	t.polled, t.notification.due, t.notification.gaveUp = true, false, false
	switch t.job.handOut {
	case assigned:
		t.handOutIfPolled()
	case noJob:
		t.becomeIdle()
	case handingOut, handedOut:
	}
}

func (t *transition) requestEnded(request msg.RequestID) {
	switch request {
	case t.nextPoll:
		t.nextPoll = 0
	case t.poll:
		t.pollLost()
	}
	ended := func(r msg.RequestID) bool { return r == request }
	t.pending = slices.DeleteFunc(t.pending, func(r msg.SessionEvent) bool { return ended(r.OpenedRequest()) })
	t.notification.watches = slices.DeleteFunc(t.notification.watches, func(w watch) bool { return ended(w.request) })
	t.job.storing = slices.DeleteFunc(t.job.storing, ended)
}

// requestsLost forgets the waiting requests, because their end would not be noticed. After the retry the gateway reports them again.
func (t *transition) requestsLost(err error) {
	t.nextPoll, t.pending, t.notification.watches = 0, nil, nil
	if t.poll != 0 {
		t.pollLost()
	}
	t.retry(msg.RetryRequests, err)
}

// pollLost is called when no GET waits any more: the executor is not idle.
func (t *transition) pollLost() {
	t.poll = 0
	if t.state == idle && t.job.handOut != handingOut {
		t.enter(finishing)
		t.do(tellNotIdle{})
		t.expectPoll()
	}
	if t.notification.gaveUp {
		t.scheduleNotify()
	}
}

// asksForJob reports whether a GET of a plugin without a job asks for the next job. Otherwise it asks for the URL of the last job, to
// deliver its result (rule 3).
func (t *transition) asksForJob() bool {
	return t.job.handOut != handedOut && (t.state == starting || t.notification.sent || t.polled)
}

// mustNotNotify reports whether no event may be sent now: while a job runs, and while a GET waits (rule 2).
func (t *transition) mustNotNotify() bool {
	return t.poll != 0 || t.nextPoll != 0 || !t.inspected && len(t.pending) > 0 || t.job.handOut == handingOut || t.job.handOut == handedOut && !t.job.unstarted
}

// versionFor returns the version that a LIST shows to a client that has seen version seen. An informer whose watch was cut lists again, and
// an unseen key makes the plugin ask, as an event does. So the LIST either counts as the event or, where none may be sent, shows the old
// key. With two events for one GET the plugin would ask again after its job, and overwrite its result if the runner is away.
func (t *transition) versionFor(seen uint64) uint64 {
	switch {
	case seen == 0 || seen >= resourceVersion(t.notification.version) || t.mode != msg.Daemon:
	case t.mustNotNotify() || t.retireReason != "":
		return seen - 1
	default:
		t.markNotified()
	}
	return t.notification.version
}

// resourceVersion returns a version as clients see it. It is never 0, which means "any".
func resourceVersion(version uint64) uint64 { return version + 1 }

func (t *transition) serveWatch(w msg.WatchOpened) {
	t.notification.watches = append(t.notification.watches, watch{request: w.Request, nested: w.Nested})
	switch {
	case w.Fresh:
		t.sendWatchEvent(w.Request, msg.WatchAdded)
		if w.Bookmark {
			t.sendWatchEvent(w.Request, msg.WatchBookmark)
		}
		// Python takes the first event as a baseline: it asks only after another one, whatever was sent before.
		t.notification.due = t.notification.due || !t.mustNotNotify() && w.Nested
	case !t.mustNotNotify() && !t.notification.due && w.Version < resourceVersion(t.notification.version):
		t.sendWatchEvent(w.Request, msg.WatchModified) // it missed the event
	}
	t.notify()
}

func (t *transition) sendWatchEvent(request msg.RequestID, kind msg.WatchEventKind) {
	t.do(sendEvent{request, msg.WatchEvent{Kind: kind, Version: t.notification.version}})
}

// scheduleNotify records that the plugin needs an event before it asks for its next job, and sends it as soon as possible.
func (t *transition) scheduleNotify() {
	t.notification.due = true
	for i := range t.notification.watches {
		t.notification.watches[i].stale = t.notification.watches[i].nested
	}
	t.notify()
}

func (t *transition) delayNotify(d time.Duration) {
	t.notification.delayed = true
	t.do(startTimer{notifyTimer, d, msg.NotifyDue{}})
}

// notify sends the due event after it has recorded its version. Without the record, the same key would be shown again after a restart, and
// no plugin would ask.
func (t *transition) notify() {
	if t.notifyTarget() != 0 && !t.notification.delayed && !t.notification.recording {
		t.notification.recording = true
		t.do(recordVersion{t.notification.version + 1})
	}
}

// notifyTarget returns the watch to send the due event to, or 0 if none may be sent now.
func (t *transition) notifyTarget() msg.RequestID {
	all := t.notification.watches
	may := t.notification.due && !t.mustNotNotify() && t.mode == msg.Daemon && t.retireReason == "" && t.state != stopping && t.state != exited
	if !may || len(all) == 0 || all[len(all)-1].stale {
		return 0
	}
	return all[len(all)-1].request
}

func (t *transition) versionRecorded(m msg.VersionRecorded) {
	t.notification.recording = false
	if m.Err != nil {
		t.notification.delayed = true
		t.retry(msg.RetryNotify, m.Err)
		return
	}
	t.notification.version = m.Version
	if to := t.notifyTarget(); to != 0 {
		t.markNotified()
		t.sendWatchEvent(to, msg.WatchModified)
	}
}

// markNotified records that the due event was sent.
func (t *transition) markNotified() { t.notification.due, t.notification.sent = false, true }
