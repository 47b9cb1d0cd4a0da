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

// maxConcurrentReports bounds the number of jobs that are reported at the same time, so that the server is not flooded after an outage.
const maxConcurrentReports = 16

// reporter sends logs and endings from the spool to the server, retries until the server accepts or refuses them, and then removes the
// job from the spool. It makes one attempt per job at a time, so a job's log stays in order. A job whose attempt fails backs off alone;
// when the server is unavailable, all jobs wait (reporter_outage.go).
type reporter struct {
	release   Release
	spool     Spool
	runner    msg.Receiver[msg.ToRunner]
	stopGrace time.Duration // how long the finish of a job that is being stopped waits

	jobs  map[msg.ExecutionID]*jobReport
	queue []*jobReport // those with something to send, oldest first
	busy  int

	onDone func() // called when nothing is left to report; nil: no caller waits

	outage outage
}

// jobReport is the state of reporting one job.
type jobReport struct {
	progress
	id    msg.ExecutionID
	added time.Time // when the job was added

	busy, queued, backingOff, probed bool      // at most one is true
	began                            time.Time // the current attempt
	failures                         int
}

// Start begins to report the jobs in the spool that were handed out or have ended.
func (r *reporter) Start(c *actorrt.Ctx[msg.ToReporter]) {
	r.jobs = map[msg.ExecutionID]*jobReport{}
	for _, job := range r.spool.Jobs() {
		if job.Stage >= msg.HandedOut {
			r.refresh(c, job.Execution)
		}
	}
	r.sendQueued(c)
}

func (r *reporter) Receive(c *actorrt.Ctx[msg.ToReporter], m msg.ToReporter) {
	switch m := m.(type) {
	case msg.Report:
		c.SetSubject(string(m.Execution))
		if e := r.refresh(c, m.Execution); e != nil && m.ExecutorDone {
			e.executorDone = true
			r.refresh(c, m.Execution)
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
	case msg.RegistrationRenewed:
		r.serverAvailable(c)
		for _, e := range slices.SortedFunc(maps.Values(r.jobs), older) {
			if e.backingOff {
				r.wake(c, e)
			}
		}
	case msg.DrainReports:
		r.onDone = m.Done
	}
	r.sendQueued(c)
	if r.onDone != nil && len(r.jobs) == 0 {
		r.onDone()
		r.onDone = nil
	}
}

// refresh queues the job if there is something to send for it. It returns nil if the spool does not have the job.
func (r *reporter) refresh(c *actorrt.Ctx[msg.ToReporter], id msg.ExecutionID) *jobReport {
	job, ok := r.spool.Job(id)
	e := r.jobs[id]
	if !ok {
		if e != nil && !e.busy && !e.queued && !e.probed { // discarded by an operator's command
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
	case todo.what == sendScriptLog: // it needs no server
		r.attempt(c, e, job, todo)
	case todo.what != "":
		e.queued = true
		at, _ := slices.BinarySearchFunc(r.queue, e, older)
		r.queue = slices.Insert(r.queue, at, e)
	case job.Stage < msg.HandedOut: // another Report follows
		delete(r.jobs, e.id)
	case e.beingStopped(job, time.Now(), r.stopGrace):
		c.After(sendTimer(e.id), time.Until(e.endedAt.Add(r.stopGrace)), msg.SendDue{Execution: e.id})
	}
	return e
}

func (r *reporter) sendQueued(c *actorrt.Ctx[msg.ToReporter]) {
	for r.busy < maxConcurrentReports && len(r.queue) > 0 && r.outage.allowsAttempt() {
		e := r.queue[0]
		r.queue = r.queue[1:]
		e.queued = false
		job, _ := r.spool.Job(e.id)
		todo := e.next(job, time.Now(), r.stopGrace)
		if todo.what == "" {
			r.refresh(c, e.id)
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
	stopNote := e.stopNote(job, time.Now())
	c.SetSubject(string(job.Execution))
	c.Go(todo.what+" "+string(job.Execution), func(ctx context.Context) msg.ToReporter {
		sent := msg.Sent{Execution: job.Execution, What: todo.what}
		switch todo.what {
		case sendLog:
			sent.Done, sent.Err = appendLog(ctx, release, spool, job, todo)
		case sendScriptLog:
			sent.Done, sent.Err = logScript(log, spool, job, todo)
		case sendFinish:
			if sent.Done, sent.Err = finish(ctx, release, spool, job, stopNote); errors.Is(sent.Err, errUnknownJob) {
				sent.What, sent.Done, sent.Err = sendRemoval, true, spool.Remove(job.Execution)
			}
		case sendRemoval:
			sent.Done, sent.Err = true, spool.Remove(job.Execution)
		}
		return sent
	})
}

// appendLog sends the next chunk of the log. It returns true if the server has all of it.
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
	case conflict: // the server accepted nothing, not even the total
		has, total = resume, -1
	case err != nil:
		return false, wrapNoResponse(err)
	}
	if err := spool.AckLog(job.Execution, has); err != nil {
		return false, err
	}
	if has <= todo.offset && has < end { // no progress: an error, so that the next attempt backs off
		return false, fmt.Errorf("log: server has %d bytes after it was sent bytes %d to %d", has, todo.offset, end)
	}
	return has == total, nil
}

// logScript writes the next lines of a script to the runner's own log. It returns true if all of them are written.
func logScript(log *zerolog.Logger, spool Spool, job msg.JobRecord, todo nextSend) (done bool, err error) {
	text, err := spool.ReadLog(job.Execution, todo.offset, logChunk)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		log.Info().Str("script", string(job.ID)).Str("execution", string(job.Execution)).Msg(strings.TrimRight(line, "\r\n"))
	}
	end := todo.offset + int64(len(text))
	return todo.last && end == job.Log.Size, spool.AckLog(job.Execution, end)
}

// resumeAt returns the offset at which the server wants the log to continue, if err is a conflict about the offset.
func resumeAt(err error, job msg.JobRecord) (int64, bool) {
	r, ok := asRefusal(err)
	return r.Offset, ok && r.Status == 409 && r.Offset >= 0 && r.Offset <= job.Log.Size && r.Offset != job.Log.Acked
}

// errUnknownJob says that the server never assigned the job to this runner, so there is nothing to report.
var errUnknownJob = errors.New("job is not assigned to this runner")

// finish sends the ending. From here on nothing can change the ending any more.
func finish(ctx context.Context, release Release, spool Spool, job msg.JobRecord, stopNote string) (done bool, err error) {
	if job.Executor == "" && job.Crashes > 0 { // it may have failed by actor crashes before it was confirmed
		if err := release.Confirm(ctx, job.ID, job.Execution); isFinal(err) {
			return false, errUnknownJob
		} else if err != nil {
			return false, wrapNoResponse(err)
		}
	}
	if job.Stopping() {
		if job.Ending, err = spool.Stopped(job.Execution, stopNote); err != nil {
			return false, err
		}
	}
	result, err := spool.Result(job.Execution)
	if err != nil {
		return false, err
	}
	if err := release.Finish(ctx, job.Job, job.Ending, result); err != nil {
		return false, wrapNoResponse(err)
	}
	return true, spool.Finish(job.Execution)
}

func (r *reporter) sent(c *actorrt.Ctx[msg.ToReporter], m msg.Sent) {
	e := r.jobs[m.Execution]
	e.busy = false
	r.busy--
	if isAnswer(m) {
		r.serverAvailable(c)
	}
	switch {
	case m.Err == nil:
		e.failures = 0
		e.logDone = e.logDone || (m.What == sendLog || m.What == sendScriptLog) && m.Done
		if m.What == sendFinish {
			r.logFinished(c, m.Execution)
		}
	case isFinal(m.Err) && m.What == sendLog:
		c.Log().Warn().Err(m.Err).Str("execution", string(m.Execution)).Msg("server refused the rest of a job's log")
		e.logDone = true
	case isFinal(m.Err) && m.What == sendFinish:
		r.reject(c, m)
	case isUnavailable(m.Err):
		r.serverUnavailable(c, e, m)
	default:
		r.backOff(c, e, m)
	}
	if m.What == sendRemoval && m.Err == nil {
		delete(r.jobs, m.Execution)
		return
	}
	r.refresh(c, m.Execution)
}

// logFinished logs how a job ended and how long each part of its life took.
func (r *reporter) logFinished(c *actorrt.Ctx[msg.ToReporter], id msg.ExecutionID) {
	job, ok := r.spool.Job(id)
	if !ok {
		return
	}
	if job.EndedAt.IsZero() { // the spool stores no time with a result
		job.EndedAt = r.jobs[id].endedAt
	}
	waited, ran := job.EndedAt.Sub(job.Added), time.Duration(0)
	if !job.HandedOutAt.IsZero() {
		waited, ran = job.HandedOutAt.Sub(job.Added)-job.Pull-job.Start, job.EndedAt.Sub(job.HandedOutAt)
	}
	line := c.Log().Info().Str("execution", string(id)).Str("job", string(job.ID)).Str("task", job.TaskID).Str("type", job.TaskType).
		Str("outcome", string(job.Ending.Outcome)).Int("exit", job.Ending.ExitCode).Str("image", job.Image).Str("executor", string(job.Executor))
	for _, part := range []struct {
		name string
		time time.Duration
	}{{"waited", waited}, {"pulled", job.Pull}, {"started", job.Start}, {"ran", ran}, {"reported", time.Since(job.EndedAt)}} {
		line = line.Dur(part.name, max(0, part.time).Round(100*time.Microsecond))
	}
	if job.Ending.Message != "" {
		line = line.Str("reason", job.Ending.Message)
	}
	line.Msg("job finished")
}

// backOff delays the next attempt for one job.
func (r *reporter) backOff(c *actorrt.Ctx[msg.ToReporter], e *jobReport, m msg.Sent) {
	e.failures++
	e.backingOff = true
	wait := towardsServer.afterError(m.Err, e.failures, c.Jitter())
	c.Log().Warn().Err(m.Err).Str("execution", string(m.Execution)).Int("attempt", e.failures).Dur("retry", wait).Str("report", m.What).Msg("could not send a report; will retry")
	c.After(sendTimer(m.Execution), wait, msg.SendDue{Execution: m.Execution})
}

// reject moves a job whose ending the server refuses permanently to rejected/, where an operator can inspect it.
func (r *reporter) reject(c *actorrt.Ctx[msg.ToReporter], m msg.Sent) {
	spool, id, answer := r.spool, m.Execution, m.Err.Error()
	c.Log().Error().Err(m.Err).Str("execution", string(id)).Msg("server permanently refused a job's ending: moved to rejected/, see runnerd spool show")
	e := r.jobs[id]
	e.busy = true
	r.busy++
	c.Go("reject "+string(id), func(context.Context) msg.ToReporter {
		return msg.Sent{Execution: id, What: sendRemoval, Done: true, Err: spool.Reject(id, answer)}
	})
}

func sendTimer(id msg.ExecutionID) string { return "send " + string(id) }

// nextSend is the next send for a job, or its removal from the spool.
type nextSend struct {
	what   string // empty: nothing now
	offset int64  // in the log
	last   bool   // these bytes complete the log, so its total is sent with them
}

const (
	sendLog       = "log"
	sendScriptLog = "script's log" // to the runner's own log
	sendFinish    = "finish"
	sendRemoval   = "removal"
)

const (
	logChunk = 256 << 10
	// maxFinishDelay bounds how long a finish waits for the acknowledgement of the log up to it (openapi.yaml, "Order").
	maxFinishDelay = 30 * time.Second
	// reportGrace is added to the waits of the stop sequence to bound how long the finish of a stopped job waits for the exit and the rest
	// of the output.
	reportGrace = drainTimeout + 5*time.Second
)

// progress is what the reporter knows about a job in addition to its record.
type progress struct {
	logDone      bool      // the server has the log's total
	endedAt      time.Time // when the ending was first seen; zero: not yet
	finishFrom   int64     // the log's size then: the finish waits until the server has these bytes
	executorDone bool      // the executor is done with the job
}

// next returns what to send. The log is sent in order. The finish follows the bytes that existed when the job ended, but is sent before
// them if they take longer than maxFinishDelay, or if the job is a script, for which a person waits. The job is removed after both are
// accepted or refused. stopGrace is how long the finish of a job that is being stopped waits.
func (p progress) next(job msg.JobRecord, now time.Time, stopGrace time.Duration) nextSend {
	waited := now.Sub(p.endedAt)
	finishDue := job.Stage == msg.Ended && !p.beingStopped(job, now, stopGrace)
	switch {
	case finishDue && (job.Kind == msg.Script || p.logDone || job.Log.Acked >= p.finishFrom || waited >= maxFinishDelay):
		return nextSend{what: sendFinish}
	case !p.logDone && (job.Log.Acked < job.Log.Size || job.Log.Closed):
		end := min(job.Log.Size, job.Log.Acked+logChunk)
		what := sendLog
		if job.Kind == msg.Script {
			what = sendScriptLog
		}
		return nextSend{what: what, offset: job.Log.Acked, last: job.Log.Closed && end == job.Log.Size}
	case job.Stage == msg.Finished && p.logDone:
		return nextSend{what: sendRemoval}
	default:
		return nextSend{}
	}
}

// isLocal reports whether a send of this kind does not involve the server.
func isLocal(what string) bool { return what == sendScriptLog || what == sendRemoval }

// beingStopped reports whether the finish has to wait because the plugin may still react to the signal that ends its job: its result and
// the outcome of the stop are sent with the finish if they arrive within stopGrace.
func (p progress) beingStopped(job msg.JobRecord, now time.Time, stopGrace time.Duration) bool {
	return job.Stopping() && !p.executorDone && now.Sub(p.endedAt) < stopGrace
}

// stopNote returns the text for the ending's message if the outcome of the stop is not known, or "" if the executor is done.
func (p progress) stopNote(job msg.JobRecord, now time.Time) string {
	if p.executorDone {
		return ""
	}
	return fmt.Sprintf("It had not ended after %.1fs", max(0, now.Sub(job.EndedAt)).Seconds())
}
