package actors

import (
	"slices"
	"time"

	msg "runnerd/messages"
)

// What the plugin asks at the gateway, and what it is answered.

// notice is what makes the plugin ask for its next job: one event on the right watch, which shows a new dummy key (rules 1 and 2).
type notice struct {
	version    uint64  // of the Secret that LIST and WATCH show
	due        bool    // the plugin needs an event
	delayed    bool    // not before a timer fires
	noting     bool    // the next version is being written into the executor's record
	sent       bool    // the plugin was told to ask, since the result of its last job
	calledBack bool    // the callback of the last job came after its result
	gaveUp     bool    // the plugin reported that it gave up the GET that seems to wait
	watches    []watch // oldest first
}

type watch struct {
	request msg.RequestID
	nested  bool // Python's: one per job, and only one that was opened after the result is listened to
	late    bool // nested, and opened before the plugin needed an event
}

// afterResult is how much later than a result its plugin is told to ask for the next job: by then the ending is on its way to the
// server, which somebody waits for, and did not have to share the disk and the processor with the way to the next job.
const afterResult = 2 * time.Millisecond

// handOutsMost is how often a job is handed out at most. It may be no fault of the plugin's that it did not start: the runner's end
// cuts the answer too.
const handOutsMost = 5

// requested serves a request, after a look at the result file while a job is open: a plugin that asks may have left it there
// (rule 3). A GET waits until it is known whether its process is the one that was started.
func (t *transition) requested(r msg.SessionEvent) {
	if _, isGet := r.(msg.SecretRequested); t.job.stage == handingOut || isGet && !t.found {
		t.pending = append(t.pending, r)
		return
	}
	if t.state == running && t.job.stage == handedOut {
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
		t.answer(r.Request, msg.GiveList{Version: t.shownTo(r.Version)})
	case msg.WatchOpened:
		t.serveWatch(r)
	case msg.CallbackReceived:
		t.callback(r)
	}
}

// servePending serves what has waited for the result file. A GET waits on until the container is found.
func (t *transition) servePending() {
	all := t.pending
	t.pending = nil
	for _, r := range all {
		if _, isGet := r.(msg.SecretRequested); isGet && !t.found {
			t.pending = append(t.pending, r)
			continue
		}
		t.serve(r)
	}
}

func (t *transition) answer(request msg.RequestID, a msg.Answer) { t.do(answerRequest{request, a}) }

// serveGet says what a GET means now.
func (t *transition) serveGet(request msg.RequestID) {
	switch {
	case t.state == stopping || t.state == exited || t.job.ending != nil:
		// Nothing is given any more. The request ends with the executor.
	case t.job.abandoned:
	case t.job.stage == handedOut && t.job.unstarted:
		t.job.stage = handingOut
		t.do(handOut{request: request, execution: t.job.Execution, again: true})
	case t.job.stage == handedOut && t.job.delivered:
		t.refuseSecondProcess()
	case t.job.stage == handedOut:
		t.do(repeatJob{request, t.job.Execution})
	case t.state == finishing && !t.asksForJob():
		t.answer(request, msg.GiveURL{Execution: t.last})
	case t.next != 0: // its directory is being cleared already
		t.answer(t.next, msg.Superseded{})
		t.next = request
	case t.poll != 0: // an older one that seems to wait is a connection that was lost
		t.answer(t.poll, msg.Superseded{})
		t.poll, t.notice.gaveUp = request, false
	default:
		t.next = request
		t.do(clearResults{})
	}
}

// refuseSecondProcess ends a job that its plugin has received and that is asked for once more, by a process that somebody
// started again in the same container (rule 4). What the first one left in its result file has been looked for.
func (t *transition) refuseSecondProcess() {
	t.restarted = true
	t.takeNoMore("another process was started in its container")
	t.conclude(msg.Ending{Outcome: msg.Failed, Message: "another process asked for the job in the same container after its plugin had received it, and a job runs once: " +
		"the container was restarted, or its entrypoint starts the plugin again when that exits"})
}

// inputRead follows a GET that could not be answered because the input could not be read.
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

// cleared lets the GET wait for which the result directory was cleared.
func (t *transition) cleared() {
	if t.next == 0 || t.state == stopping || t.state == exited {
		return
	}
	t.poll, t.next = t.next, 0
	t.polled, t.notice.due, t.notice.gaveUp = true, false, false
	switch t.job.stage {
	case assigned:
		t.handOutIfPolled()
	case noJob:
		t.waits()
	case handingOut, handedOut:
	}
}

func (t *transition) requestEnded(request msg.RequestID) {
	switch request {
	case t.next:
		t.next = 0
	case t.poll:
		t.pollLost()
	}
	isIt := func(r msg.RequestID) bool { return r == request }
	t.pending = slices.DeleteFunc(t.pending, func(r msg.SessionEvent) bool { return isIt(r.Opens()) })
	t.notice.watches = slices.DeleteFunc(t.notice.watches, func(w watch) bool { return isIt(w.request) })
	t.job.storing = slices.DeleteFunc(t.job.storing, isIt)
}

// requestsLost: nobody would hear that a request ends. All that wait are told again.
func (t *transition) requestsLost(err error) {
	t.next, t.pending, t.notice.watches = 0, nil, nil
	if t.poll != 0 {
		t.pollLost()
	}
	t.retry(msg.RetryRequests, err)
}

// pollLost: the executor is not proven ready any more.
func (t *transition) pollLost() {
	t.poll = 0
	if t.state == idle && t.job.stage != handingOut {
		t.enter(finishing)
		t.do(notIdle{})
		t.expectPoll()
	}
	if t.notice.gaveUp {
		t.scheduleNotify()
	}
}

// asksForJob reports whether a GET of a plugin without a job asks for the next one. Else it looks for the URL of the old job, to
// deliver its result (rule 3).
func (t *transition) asksForJob() bool {
	return t.job.stage != handedOut && (t.state == starting || t.notice.sent || t.polled)
}

// isDeaf reports whether an event would do harm now: while a job runs, and while a GET waits (rule 2).
func (t *transition) isDeaf() bool {
	return t.poll != 0 || t.next != 0 || !t.found && len(t.pending) > 0 || t.job.stage == handingOut || t.job.stage == handedOut && !t.job.unstarted
}

// shownTo is the version that a LIST shows to a client that has seen one. An informer whose watch was cut lists anew, and a key that
// it did not see makes the plugin ask like an event. So it is the event, or where none must be sent it is not shown: two events for
// one GET, and the plugin would ask once more after its job, and overwrite its result if nobody is there.
func (t *transition) shownTo(seen uint64) uint64 {
	switch {
	case seen == 0 || seen >= resourceVersion(t.notice.version) || t.mode != msg.Daemon:
	case t.isDeaf() || t.retire != "":
		return seen - 1
	default:
		t.notified()
	}
	return t.notice.version
}

// resourceVersion is what a client sees of a version: 0 would mean "any" to it.
func resourceVersion(version uint64) uint64 { return version + 1 }

func (t *transition) serveWatch(w msg.WatchOpened) {
	t.notice.watches = append(t.notice.watches, watch{request: w.Request, nested: w.Nested})
	switch {
	case w.Fresh:
		t.event(w.Request, msg.WatchAdded)
		if w.Bookmark {
			t.event(w.Request, msg.WatchBookmark)
		}
		// Its first event is a baseline to Python: whatever was sent before, it will not ask without another.
		t.notice.due = t.notice.due || !t.isDeaf() && w.Nested
	case !t.isDeaf() && !t.notice.due && w.Version < resourceVersion(t.notice.version):
		t.event(w.Request, msg.WatchModified) // it missed it
	}
	t.notify()
}

func (t *transition) event(request msg.RequestID, kind msg.WatchEventKind) {
	t.do(sendEvent{request, msg.WatchEvent{Kind: kind, Version: t.notice.version}})
}

// scheduleNotify records that the plugin needs an event before it asks for its next job.
func (t *transition) scheduleNotify() {
	t.notice.due = true
	for i := range t.notice.watches {
		t.notice.watches[i].late = t.notice.watches[i].nested
	}
	t.notify()
}

func (t *transition) delayNotify(d time.Duration) {
	t.notice.delayed = true
	t.do(startTimer{notifyTimer, d, msg.NotifyDue{}})
}

// notify sends the event that is due once its version is in the record: after a restart the same key would be shown once more, and
// make nobody ask.
func (t *transition) notify() {
	if t.listener() != 0 && !t.notice.delayed && !t.notice.noting {
		t.notice.noting = true
		t.do(noteVersion{t.notice.version + 1})
	}
}

// listener is the watch that makes the plugin ask, if it may be told to now; 0: it may not.
func (t *transition) listener() msg.RequestID {
	all := t.notice.watches
	may := t.notice.due && !t.isDeaf() && t.mode == msg.Daemon && t.retire == "" && t.state != stopping && t.state != exited
	if !may || len(all) == 0 || all[len(all)-1].late {
		return 0
	}
	return all[len(all)-1].request
}

func (t *transition) versionNoted(m msg.VersionNoted) {
	t.notice.noting = false
	if m.Err != nil {
		t.notice.delayed = true
		t.retry(msg.RetryNotify, m.Err)
		return
	}
	t.notice.version = m.Version
	if to := t.listener(); to != 0 {
		t.notified()
		t.event(to, msg.WatchModified)
	}
}

// notified: the plugin asks for its next job now.
func (t *transition) notified() { t.notice.due, t.notice.sent = false, true }
