package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// maxConcurrentReports bounds how many jobs are being reported at the same time: after an outage the server is not flooded.
const maxConcurrentReports = 16

// reporter carries what the spool holds to the server, for ever: logs, endings, and then the removal of what is done. One
// thing of a job is under way at a time, so a job's log stays in order; a job that the server fails at waits alone, and when
// the server is away, all do (reporter_outage.go).
type reporter struct {
	release   Release
	spool     Spool
	runner    msg.Receiver[msg.ToRunner]
	stopGrace time.Duration // with a job that is being stopped

	jobs  map[msg.ExecutionID]*jobReport
	queue []*jobReport // that could send something, oldest first
	busy  int

	onDone func() // nil: nobody waits for all to be reported

	outage outage
}

// jobReport is what the reporter does for one job.
type jobReport struct {
	progress
	id    msg.ExecutionID
	added time.Time // the job

	busy, queued, backingOff, probed bool      // one of them at most
	began                            time.Time // the attempt under way
	failures                         int
}

// Start takes up all that is in the spool.
func (r *reporter) Start(c *actorrt.Ctx[msg.ToReporter]) {
	r.jobs = map[msg.ExecutionID]*jobReport{}
	for _, job := range r.spool.Jobs() {
		if job.Stage >= msg.HandedOut {
			r.look(c, job.Execution)
		}
	}
	r.send(c)
}

func (r *reporter) Receive(c *actorrt.Ctx[msg.ToReporter], m msg.ToReporter) {
	switch m := m.(type) {
	case msg.Report:
		c.SetSubject(string(m.Execution))
		if e := r.look(c, m.Execution); e != nil && m.ExecutorDone {
			e.executorDone = true
			r.look(c, m.Execution)
		}
	case msg.Sent:
		c.SetSubject(string(m.Execution))
		r.sent(c, m)
	case msg.SendDue:
		c.SetSubject(string(m.Execution))
		if e := r.jobs[m.Execution]; e != nil {
			r.wake(c, e)
		}
	case msg.ProbeDue:
		r.probe(c)
	case msg.SessionRenewed:
		r.serverIsBack(c)
		for _, e := range slices.SortedFunc(maps.Values(r.jobs), older) {
			if e.backingOff {
				r.wake(c, e)
			}
		}
	case msg.DrainReports:
		r.onDone = m.Done
	}
	r.send(c)
	if r.onDone != nil && len(r.jobs) == 0 {
		r.onDone()
		r.onDone = nil
	}
}

// look sees what there is to do for the job; nil: the spool has it no more.
func (r *reporter) look(c *actorrt.Ctx[msg.ToReporter], id msg.ExecutionID) *jobReport {
	job, ok := r.spool.Job(id)
	e := r.jobs[id]
	if !ok {
		if e != nil && !e.busy && !e.queued && !e.probed { // a person has discarded it
			delete(r.jobs, id)
		}
		return nil
	}
	if e == nil {
		e = &jobReport{id: id, added: job.Added}
		r.jobs[id] = e
	}
	if job.Stage >= msg.Ended && e.endedAt.IsZero() {
		e.endedAt, e.finishFrom = time.Now(), job.Log.Size
	}
	if e.busy || e.queued || e.backingOff || e.probed {
		return e
	}
	switch todo := e.next(job, time.Now(), r.stopGrace); {
	case todo.what == sendScriptLog: // it waits for no server
		r.attempt(c, e, job, todo)
	case todo.what != "":
		e.queued = true
		at, _ := slices.BinarySearchFunc(r.queue, e, older)
		r.queue = slices.Insert(r.queue, at, e)
	case job.Stage < msg.HandedOut: // what it says is not the last that is heard of it
		delete(r.jobs, e.id)
	case e.beingStopped(job, time.Now(), r.stopGrace):
		c.After(sendTimer(e.id), time.Until(e.endedAt.Add(r.stopGrace)), msg.SendDue{Execution: e.id})
	}
	return e
}

func (r *reporter) send(c *actorrt.Ctx[msg.ToReporter]) {
	for r.busy < maxConcurrentReports && len(r.queue) > 0 && r.outage.allows() {
		e := r.queue[0]
		r.queue = r.queue[1:]
		e.queued = false
		job, _ := r.spool.Job(e.id)
		todo := e.next(job, time.Now(), r.stopGrace)
		if todo.what == "" { // any more
			r.look(c, e.id)
			continue
		}
		r.outage.mayProbe = r.outage.mayProbe && isLocal(todo.what)
		r.attempt(c, e, job, todo)
	}
}

func (r *reporter) attempt(c *actorrt.Ctx[msg.ToReporter], e *jobReport, job msg.JobRecord, todo nextSend) {
	e.busy, e.began = true, time.Now()
	r.busy++
	release, spool, log := r.release, r.spool, c.Log()
	lastWord := e.stopNote(job, time.Now())
	c.SetSubject(string(job.Execution))
	c.Go(todo.what+" "+string(job.Execution), func(ctx context.Context) msg.ToReporter {
		sent := msg.Sent{Execution: job.Execution, What: todo.what}
		switch todo.what {
		case sendLog:
			sent.Done, sent.Err = appendLog(ctx, release, spool, job, todo)
		case sendScriptLog:
			sent.Done, sent.Err = logScript(log, spool, job, todo)
		case sendFinish:
			if sent.Done, sent.Err = finish(ctx, release, spool, job, lastWord); errors.Is(sent.Err, errUnknownJob) {
				sent.What, sent.Done, sent.Err = sendRemoval, true, spool.Remove(job.Execution)
			}
		case sendRemoval:
			sent.Done, sent.Err = true, spool.Remove(job.Execution)
		}
		return sent
	})
}

// appendLog sends the next piece of the log; done: the server has all of it.
func appendLog(ctx context.Context, release Release, spool Spool, job msg.JobRecord, todo nextSend) (done bool, err error) {
	text, err := spool.ReadLog(job.Execution, todo.offset, logChunk)
	if err != nil {
		return false, err
	}
	end, total := todo.offset+int64(len(text)), int64(-1)
	if todo.last && end == job.Log.Size {
		total = end
	}
	has, err := release.AppendLog(ctx, job.ID, todo.offset, text, total)
	resume, conflict := resumeAt(err, job)
	switch {
	case conflict: // it took nothing, not even the total
		has, total = resume, -1
	case err != nil:
		return false, fromServer(err)
	}
	if err := spool.AckLog(job.Execution, has); err != nil {
		return false, err
	}
	if has <= todo.offset && has < end { // it is asked again, and not at once
		return false, fmt.Errorf("log: the server has %d bytes, and was sent those from %d to %d", has, todo.offset, end)
	}
	return has == total, nil
}

// logScript puts the next lines of a script into the runner's own log; done: all of it is there.
func logScript(log *zerolog.Logger, spool Spool, job msg.JobRecord, todo nextSend) (done bool, err error) {
	text, err := spool.ReadLog(job.Execution, todo.offset, logChunk)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		log.Info().Str("script", string(job.ID)).Str("job", string(job.Execution)).Msg(strings.TrimRight(line, "\r\n"))
	}
	end := todo.offset + int64(len(text))
	return todo.last && end == job.Log.Size, spool.AckLog(job.Execution, end)
}

// resumeAt reads a conflict about the offset: the server says where the log is to go on.
func resumeAt(err error, job msg.JobRecord) (int64, bool) {
	r, ok := asRefusal(err)
	return r.Offset, ok && r.Status == 409 && r.Offset >= 0 && r.Offset <= job.Log.Size && r.Offset != job.Log.Acked
}

// errUnknownJob: nobody wants to hear how a job ended that never was the runner's.
var errUnknownJob = errors.New("the job is not ours")

// finish sends the ending; what might still have changed it counts no more from here on.
func finish(ctx context.Context, release Release, spool Spool, job msg.JobRecord, lastWord string) (done bool, err error) {
	if job.Executor == "" && job.Crashes > 0 { // it may have been given up before anybody knew whose it is
		if err := release.Confirm(ctx, job.ID, job.Execution); isFinal(err) {
			return false, errUnknownJob
		} else if err != nil {
			return false, fromServer(err)
		}
	}
	if job.Stopping() {
		if job.Ending, err = spool.Stopped(job.Execution, lastWord); err != nil {
			return false, err
		}
	}
	result, err := spool.Result(job.Execution)
	if err != nil {
		return false, err
	}
	if err := release.Finish(ctx, job.Job, job.Ending, result); err != nil {
		return false, fromServer(err)
	}
	return true, spool.Finish(job.Execution)
}

func (r *reporter) sent(c *actorrt.Ctx[msg.ToReporter], m msg.Sent) {
	e := r.jobs[m.Execution]
	e.busy = false
	r.busy--
	if isAnswer(m) {
		r.serverIsBack(c)
	}
	switch {
	case m.Err == nil:
		e.failures = 0
		e.logDone = e.logDone || (m.What == sendLog || m.What == sendScriptLog) && m.Done
	case isFinal(m.Err) && m.What == sendLog:
		c.Log().Warn().Err(m.Err).Str("job", string(m.Execution)).Msg("the server does not take the rest of a job's log")
		e.logDone = true
	case isFinal(m.Err) && m.What == sendFinish:
		r.reject(c, m)
	case isAway(m.Err):
		r.serverIsAway(c, e, m)
	default:
		r.delay(c, e, m)
	}
	if m.What == sendRemoval && m.Err == nil {
		delete(r.jobs, m.Execution)
		return
	}
	r.look(c, m.Execution)
}

// delay lets a job whose attempt failed wait, and no other.
func (r *reporter) delay(c *actorrt.Ctx[msg.ToReporter], e *jobReport, m msg.Sent) {
	e.failures++
	e.backingOff = true
	wait := towardsServer.afterError(m.Err, e.failures, c.Jitter())
	c.Log().Warn().Err(m.Err).Str("job", string(m.Execution)).Int("attempt", e.failures).Dur("retry", wait).Msg(m.What + " is not accepted yet")
	c.After(sendTimer(m.Execution), wait, msg.SendDue{Execution: m.Execution})
}

// reject keeps what the server will never take, for a person.
func (r *reporter) reject(c *actorrt.Ctx[msg.ToReporter], m msg.Sent) {
	spool, id, answer := r.spool, m.Execution, m.Err.Error()
	c.Log().Error().Err(m.Err).Str("job", string(id)).Msg("the server will never take this job's ending: it is kept in rejected/, look at it there")
	e := r.jobs[id]
	e.busy = true
	r.busy++
	c.Go("reject "+string(id), func(context.Context) msg.ToReporter {
		return msg.Sent{Execution: id, What: sendRemoval, Done: true, Err: spool.Reject(id, answer)}
	})
}

func sendTimer(id msg.ExecutionID) string { return "send " + string(id) }

// nextSend is one thing to do for a job.
type nextSend struct {
	what   string // empty: nothing now
	offset int64  // of log
	last   bool   // the log's total may be said with these bytes
}

const (
	sendLog       = "log"
	sendScriptLog = "script's log" // into the runner's own
	sendFinish    = "finish"
	sendRemoval   = "removal"
)

const (
	logChunk = 256 << 10
	// finishWaitsForLog bounds how long a finish waits until the log read up to it is acknowledged (openapi.yaml, "Order").
	finishWaitsForLog = 30 * time.Second
	// reportGrace is how long the finish of a job that was stopped waits, besides the waits of the stop sequence, for what came of it:
	// the exit, and the rest of the output.
	reportGrace = drainTimeout + 5*time.Second
)

// progress is what the reporter remembers of a job besides its record.
type progress struct {
	logDone      bool      // the server has the log's total
	endedAt      time.Time // describeStage the ending was first seen; zero: not yet
	finishFrom   int64     // the log's size then: the finish waits for these bytes
	executorDone bool      // its executor is done with it
}

// resumePosition says what to send. The log goes in order; the finish follows the bytes that were there when the job ended, or comes
// before them when they take too long, or when somebody waits for a script; the job is removed after the final word on both.
// stopGrace is with a job that is being stopped.
func (p progress) next(job msg.JobRecord, now time.Time, stopGrace time.Duration) nextSend {
	waited := now.Sub(p.endedAt)
	owesFinish := job.Stage == msg.Ended && !p.beingStopped(job, now, stopGrace)
	switch {
	case owesFinish && (job.Kind == msg.Script || p.logDone || job.Log.Acked >= p.finishFrom || waited >= finishWaitsForLog):
		return nextSend{what: sendFinish}
	case !p.logDone && (job.Log.Acked < job.Log.Size || job.Log.Ended):
		end := min(job.Log.Size, job.Log.Acked+logChunk)
		what := sendLog
		if job.Kind == msg.Script {
			what = sendScriptLog
		}
		return nextSend{what: what, offset: job.Log.Acked, last: job.Log.Ended && end == job.Log.Size}
	case job.Stage == msg.Finished && p.logDone:
		return nextSend{what: sendRemoval}
	default:
		return nextSend{}
	}
}

// isLocal: the server has no part in it.
func isLocal(what string) bool { return what == sendScriptLog || what == sendRemoval }

// beingStopped reports whether the plugin may still answer to the signal that ends its job: that result goes with the finish,
// and how the stop went, if that does not take too long.
func (p progress) beingStopped(job msg.JobRecord, now time.Time, stopGrace time.Duration) bool {
	return job.Stopping() && !p.executorDone && now.Sub(p.endedAt) < stopGrace
}

// stopNote is what the finish says of a stop of which it is not known how it went.
func (p progress) stopNote(job msg.JobRecord, now time.Time) string {
	if p.executorDone {
		return ""
	}
	return fmt.Sprintf("It had not ended after %.1fs", max(0, now.Sub(job.EndedAt)).Seconds())
}
