package actors

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	msg "runnerd/messages"
)

// logAttributor splits the output of one executor into the logs of its jobs, and masks it before it enters the spool.
//
//	handed out   one         two
//	printed      a a a P     b b P           P is idleMarker: the plugin asks for its next job
//	stamped      a a           a P b b P     when the engine reads it: here the third a and the first P are late
//	log of       1 1           1 2 2 2 2
//
// An entry belongs to the newest job that was handed out by the time of its stamp. But on a busy machine the engine stamps an entry many
// milliseconds after it was written, and the next hand-out takes only one or two. So the plugin's idleMarker counts too: a job's log gets
// nothing before the marker has completed the log of the job before. The oldest log needs no marker.
//
// The filter holds bytes back. So the position that is stored with a text is that of the first byte that is not in the spool yet: reading
// from there after a restart neither repeats nor omits anything.
type logAttributor struct {
	spool     Spool
	executor  msg.ExecutorID
	newFilter func(secrets []msg.Secret, midline bool) Filter
	limit     int64 // bytes of a job's log; zero: no limit

	mu        sync.Mutex
	secrets   []msg.Secret // of all its jobs: a later job may print what an earlier one left behind
	jobLogs   []*jobLog    // the logs that may still grow, in the order of their hand-outs
	noMarker  bool         // the plugin does not print idleMarker
	lastStamp time.Time    // stamp of the newest entry
	index     int          // number of entries with that stamp before the newest
	skip      int          // bytes of the next entry that the driver omits, if it has that stamp
}

// idleMarker is what both official SDKs print when they ask for a job other than their first. All output of the previous job is before it.
const idleMarker = "Detected input context value change"

// maxStampDelay bounds how long the engine may take to stamp and deliver an entry; a tenth of it has been measured. A plugin that has not
// printed idleMarker by then is assumed not to print it, and only the stamps count until it does.
const maxStampDelay = 10 * time.Second

// open adds a job's log. Entries stamped at from or later may belong to it.
func (a *logAttributor) open(job msg.ExecutionID, from time.Time, secrets []msg.Secret) {
	a.addSecrets(secrets)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.find(job) >= 0 {
		return
	}
	if n := len(a.jobLogs); n > 0 && (a.noMarker || a.jobLogs[n-1].complete) {
		a.complete(n)
	} else { // the first output of the new job may go into these logs, so they must mask its secrets too
		for _, before := range a.jobLogs {
			before.ready = append(before.ready, before.filter.SetSecrets(a.secrets)...)
		}
	}
	a.jobLogs = append(a.jobLogs, a.newJobLog(job, from))
}

// addSecrets adds secrets to mask in the logs that are opened from now on.
func (a *logAttributor) addSecrets(secrets []msg.Secret) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range secrets {
		if !slices.Contains(a.secrets, s) {
			a.secrets = append(a.secrets, s)
		}
	}
}

// maskedSecrets returns all secrets that are masked.
func (a *logAttributor) maskedSecrets() []msg.Secret {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.secrets)
}

func (a *logAttributor) newJobLog(job msg.ExecutionID, from time.Time) *jobLog {
	l := &jobLog{job: job, from: from, filter: a.newFilter(a.secrets, a.isMidline(job))}
	rec, _ := a.spool.Job(job)
	if resume := a.storedPosition(rec); !resume.Time.Before(from) { // otherwise the position is from an earlier hand-out to this executor
		l.resume, l.next, l.complete = resume, resume, resume.AfterMarker
	}
	l.noTimestamps = rec.Kind == msg.Script
	l.sawOutput = from.IsZero() || !l.resume.Time.IsZero() && rec.Log.Size > 0
	return l
}

// storedPosition returns where to resume reading this executor's output for the job; zero if the job's log has none of it.
func (a *logAttributor) storedPosition(job msg.JobRecord) msg.Position {
	resume := job.Log.Resume
	if resume.Executor != a.executor {
		return msg.Position{}
	}
	resume.Executor = ""
	return resume
}

func (a *logAttributor) find(job msg.ExecutionID) int {
	return slices.IndexFunc(a.jobLogs, func(l *jobLog) bool { return l.job == job })
}

// isMidline reports whether the job's log in the spool ends in the middle of a line. On an error it returns false, and the continued line
// then looks like two.
func (a *logAttributor) isMidline(job msg.ExecutionID) bool {
	rec, _ := a.spool.Job(job)
	if rec.Log.Size == 0 {
		return false
	}
	last, err := a.spool.ReadLog(job, rec.Log.Size-1, 1)
	return err == nil && string(last) != "\n"
}

// withdraw undoes open for a job that was not handed out. The log of the executor's first job remains, because it has the output of the
// start, and that job goes to no other executor.
func (a *logAttributor) withdraw(job msg.ExecutionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := a.find(job); i >= 0 && !a.jobLogs[i].from.IsZero() {
		a.remove(job)
	}
}

// rewind discards what is not in the spool, and returns the position to read from.
func (a *logAttributor) rewind() msg.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, l := range a.jobLogs {
		a.jobLogs[i] = a.newJobLog(l.job, l.from)
		if a.noMarker || !a.jobLogs[i].resume.Time.IsZero() { // it has output, so those before it are complete
			for _, before := range a.jobLogs[:i] {
				before.complete = true
			}
		}
	}
	if len(a.jobLogs) == 0 { // all output so far belongs to jobs that have ended
		a.lastStamp, a.index, a.skip = time.Time{}, 0, 0
		return msg.Position{Time: time.Now()}
	}
	from := slices.MinFunc(a.jobLogs, func(x, y *jobLog) int { return compare(x.firstNeeded(), y.firstNeeded()) }).firstNeeded()
	a.lastStamp, a.index, a.skip = from.Time, from.Count-1, from.Skip
	return from
}

// write attributes entries to jobs. It returns the jobs whose logs in the spool have grown, and the number of bytes that arrived after
// their log was closed.
func (a *logAttributor) write(entries []msg.LogEntry) (grown []msg.ExecutionID, late int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		if e.Time.Equal(a.lastStamp) {
			a.index++
		} else {
			a.lastStamp, a.index, a.skip = e.Time, 0, 0
		}
		at := msg.Position{Time: e.Time, Count: a.index, Skip: a.skip}
		a.skip = 0
		isMarker := a.observe(at, e)
		if l := a.owner(e.Time); l != nil {
			l.sawOutput = l.sawOutput || !isMarker && compare(at, l.resume) >= 0
			l.add(at, e.Text)
		} else {
			late += len(e.Text)
		}
	}
	for _, l := range a.jobLogs {
		if len(l.ready) == 0 {
			continue
		}
		appended, err := a.append(l)
		if err != nil {
			return grown, late, err
		}
		if appended {
			grown = append(grown, l.job)
		}
	}
	return grown, late, nil
}

// append stores the ready text of a log, up to the limit, so that a plugin that floods its log does not fill the disk. It discards the text
// of a job that is not in the spool any more, which is a rejected job.
func (a *logAttributor) append(l *jobLog) (appended bool, err error) {
	next, text := l.resumePosition(), l.ready
	rec, ok := a.spool.Job(l.job)
	switch free := a.limit - rec.Log.Size; {
	case !ok, a.limit > 0 && free < 0: // the log has its last line already
		l.ready, l.full, l.filtering = nil, true, nil
		return false, nil
	case a.limit > 0 && int64(len(text)) > free:
		text = fmt.Appendf(prefix(text, int(free)), "\n… log truncated: the limit is %d bytes, see --max-log\n", a.limit)
	}
	next.Executor = a.executor
	if err := a.spool.AppendLog(l.job, text, next); err != nil {
		return false, err
	}
	l.ready = nil
	return true, nil
}

// prefix returns the first n bytes of a text, or a few less so that no character is cut in two.
func prefix(text []byte, n int) []byte {
	for end := n; end >= 0 && end > n-utf8.UTFMax; end-- {
		if utf8.RuneStart(text[end]) {
			return text[:end:end]
		}
	}
	return text[:n:n]
}

// observe completes the current job's log when an entry is idleMarker, or when the plugin turns out not to print it. It reports whether the
// entry is idleMarker. A marker before any other output of the current job, or before that job has ended, belongs to the request for the
// current job: the engine is late, or the plugin was made to ask again.
func (a *logAttributor) observe(at msg.Position, e msg.LogEntry) (isMarker bool) {
	isMarker = bytes.Contains(e.Text, []byte(idleMarker))
	n := len(a.started())
	if n == 0 || compare(at, a.jobLogs[n-1].resume) < 0 { // it was observed before the rewind
		return isMarker
	}
	current, waiting := a.jobLogs[n-1], a.jobLogs[n:]
	switch {
	case isMarker:
		a.noMarker = false
		if current.sawOutput && a.jobHasEnded(current.job) {
			a.complete(n)
		}
	case len(waiting) > 0 && e.Time.Sub(waiting[0].from) > maxStampDelay:
		a.noMarker = true
		a.complete(len(a.jobLogs) - 1)
	}
	return isMarker
}

// complete marks the first n logs as having all their output, and flushes their filters, so that what these hold does not wait for output
// of the next job.
func (a *logAttributor) complete(n int) {
	for _, l := range a.jobLogs[:n] {
		l.complete = true
		l.ready = append(l.ready, l.filter.Flush()...)
	}
}

// isComplete reports whether the log need not wait for idleMarker: the plugin has printed it since, or is assumed not to print it.
func (a *logAttributor) isComplete(job msg.ExecutionID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(job)
	return i < 0 || a.noMarker || a.jobLogs[i].complete
}

// jobHasEnded reports whether the job has ended. A result is in the spool before its plugin gets the answer and asks for the next job.
func (a *logAttributor) jobHasEnded(job msg.ExecutionID) bool {
	rec, ok := a.spool.Job(job)
	return !ok || rec.Stage >= msg.Ended
}

// started returns the logs that may get entries: the oldest, and each one whose predecessor is complete.
func (a *logAttributor) started() []*jobLog {
	for i, l := range a.jobLogs {
		if !l.complete {
			return a.jobLogs[:i+1]
		}
	}
	return a.jobLogs
}

// owner returns the newest started log whose job had been handed out at that time, or nil if there is none.
func (a *logAttributor) owner(t time.Time) *jobLog {
	for _, l := range slices.Backward(a.started()) {
		if !t.Before(l.from) {
			return l
		}
	}
	return nil
}

// close flushes a job's filter and closes its log. It may be called again after an error.
func (a *logAttributor) close(job msg.ExecutionID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closeLocked(job)
}

// closeThrough closes the logs of the previous jobs, and then the job's own. Otherwise, after a crash, the job's output would be attributed
// to the logs that are still open. It returns the jobs whose logs it closed.
func (a *logAttributor) closeThrough(job msg.ExecutionID) (closed []msg.ExecutionID, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, before := range slices.Clone(a.jobLogs[:max(0, a.find(job))]) {
		if err := a.closeLocked(before.job); err != nil {
			return closed, err
		}
		closed = append(closed, before.job)
	}
	if err := a.closeLocked(job); err != nil {
		return closed, err
	}
	return append(closed, job), nil
}

// closeLocked is close for callers that hold mu.
func (a *logAttributor) closeLocked(job msg.ExecutionID) error {
	err := a.flush(job)
	if err == nil {
		err = a.carryPosition(job)
	}
	if err == nil {
		err = a.spool.CloseLog(job)
	}
	if _, ok := a.spool.Job(job); err != nil && ok {
		return err
	}
	a.remove(job)
	return nil
}

// carryPosition stores with the next log how far this one went, if that is past the next hand-out. Otherwise a restart, which does not open
// this closed log again, would attribute its output to the next job.
func (a *logAttributor) carryPosition(job msg.ExecutionID) error {
	i := a.find(job)
	if i < 0 || i+1 == len(a.jobLogs) {
		return nil
	}
	l, next := a.jobLogs[i], a.jobLogs[i+1]
	rec, _ := a.spool.Job(next.job)
	if l.next.Time.Before(next.from) || compare(l.next, a.storedPosition(rec)) <= 0 {
		return nil
	}
	if compare(l.next, next.next) > 0 {
		next.next = msg.Position{Time: l.next.Time, Count: l.next.Count}
	}
	_, err := a.append(next)
	return err
}

// release flushes a log that continues in another executor, without ending it.
func (a *logAttributor) release(job msg.ExecutionID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.flush(job); err != nil {
		return err
	}
	a.remove(job)
	return nil
}

func (a *logAttributor) flush(job msg.ExecutionID) error {
	i := a.find(job)
	if i < 0 {
		return nil
	}
	l := a.jobLogs[i]
	if l.ready = append(l.ready, l.filter.Flush()...); len(l.ready) == 0 {
		return nil
	}
	_, err := a.append(l)
	return err
}

func (a *logAttributor) remove(job msg.ExecutionID) {
	a.jobLogs = slices.DeleteFunc(a.jobLogs, func(l *jobLog) bool { return l.job == job })
}

// closeAll closes all logs and returns their jobs. It only flushes the log of a job that was not handed out, which may still move.
func (a *logAttributor) closeAll() ([]msg.ExecutionID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var closed []msg.ExecutionID
	for _, l := range slices.Clone(a.jobLogs) {
		if rec, ok := a.spool.Job(l.job); ok && rec.Stage < msg.HandedOut {
			if err := a.flush(l.job); err != nil {
				return closed, err
			}
			continue
		}
		if err := a.closeLocked(l.job); err != nil {
			return closed, err
		}
		closed = append(closed, l.job)
	}
	return closed, nil
}
