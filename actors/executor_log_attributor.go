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

// logAttributor turns the output of one executor into the logs of its jobs. A job's part of it is a chapter; what enters the spool is
// masked.
//
//	handed out   one         two
//	printed      a a a P     b b P           P is idleMarker: the plugin goes for its next job, the one before is over
//	stamped      a a           a P b b P     when the engine reads it, here too late for one a and the first P
//	is of        1 1           1 2 2 2 2
//
// An entry is of the newest job that had been handed out by its stamp. But on a busy machine the engine stamps many milliseconds
// after the writing, and the next hand-out takes one or two: so the plugin's own word counts too, and a chapter gets nothing before
// its plugin has left the one before with idleMarker. The oldest waits for nobody.
//
// The filter holds bytes back, so the position that goes into the spool with a text is that of the first byte not yet in
// it: reading on from there after a loss repeats nothing and leaves nothing out.
type logAttributor struct {
	spool     Spool
	executor  msg.ExecutorID
	newFilter func(secrets []msg.Secret, midline bool) Filter
	limit     int64 // bytes of a job's log; zero: as many as there are

	mu       sync.Mutex
	secrets  []msg.Secret // of all its jobs: a later one may print what an earlier one left behind
	jobLogs  []*jobLog    // that may still grow, in the order of their hand-outs
	noMarker bool         // the plugin does not print idleMarker
	last     time.Time    // stamp of the newest entry
	index    int          // how many entries before the newest bear that stamp
	skip     int          // bytes of the next entry that the driver leaves out, if it bears that stamp
}

// idleMarker is what both official SDKs print when they go and ask for a job that is not their first: all that the job before
// wrote is before it in the executor's output.
const idleMarker = "Detected input context value change"

// maxStampDelay bounds how long the engine may take to stamp an entry, and to hand it on: a tenth of it has been seen. A plugin that has not
// printed idleMarker by then does not print it, and the stamps alone decide, until it does.
const maxStampDelay = 10 * time.Second

// jobIsOpen adds a job's chapter: what is stamped from then on may be its.
func (b *logAttributor) open(job msg.ExecutionID, from time.Time, secrets []msg.Secret) {
	b.learn(secrets)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.find(job) >= 0 {
		return
	}
	if n := len(b.jobLogs); n > 0 && (b.noMarker || b.jobLogs[n-1].complete) {
		b.complete(n)
	} else { // its first words may be taken for the last ones of those before it
		for _, before := range b.jobLogs {
			before.ready = append(before.ready, before.filter.Learn(b.secrets)...)
		}
	}
	b.jobLogs = append(b.jobLogs, b.begin(job, from))
}

// learn adds to what is masked in the chapters that begin from now on.
func (b *logAttributor) learn(secrets []msg.Secret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range secrets {
		if !slices.Contains(b.secrets, s) {
			b.secrets = append(b.secrets, s)
		}
	}
}

// spoolState returns all that is masked.
func (b *logAttributor) maskedSecrets() []msg.Secret {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.secrets)
}

func (b *logAttributor) begin(job msg.ExecutionID, from time.Time) *jobLog {
	l := &jobLog{job: job, from: from, filter: b.newFilter(b.secrets, b.isMidline(job))}
	rec, _ := b.spool.Job(job)
	if resume := b.resumeOf(rec); !resume.Time.Before(from) { // else it was handed out here before
		l.resume, l.next, l.complete = resume, resume, resume.AfterMarker
	}
	l.untimed = rec.Kind == msg.Script
	l.sawOutput = from.IsZero() || !l.resume.Time.IsZero() && rec.Log.Size > 0
	return l
}

// resumeOf is where to go on reading this executor's output for the job; zero where the job's log holds none of it.
func (b *logAttributor) resumeOf(job msg.JobRecord) msg.Position {
	resume := job.Log.Resume
	if resume.Executor != b.executor {
		return msg.Position{}
	}
	resume.Executor = ""
	return resume
}

func (b *logAttributor) find(job msg.ExecutionID) int {
	return slices.IndexFunc(b.jobLogs, func(l *jobLog) bool { return l.job == job })
}

// isMidline reports whether what is in the spool of the job does not end with a line. An error counts as no: the line that goes
// on then looks like two.
func (b *logAttributor) isMidline(job msg.ExecutionID) bool {
	rec, _ := b.spool.Job(job)
	if rec.Log.Size == 0 {
		return false
	}
	last, err := b.spool.ReadLog(job, rec.Log.Size-1, 1)
	return err == nil && string(last) != "\n"
}

// withdraw takes back an open: the job was not handed out. What the executor has printed at its start stays its first job's, which
// no other executor gets.
func (b *logAttributor) withdraw(job msg.ExecutionID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(job); i >= 0 && !b.jobLogs[i].from.IsZero() {
		b.drop(job)
	}
}

// rewind forgets what is not in the spool, and returns where to read on.
func (b *logAttributor) rewind() msg.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, l := range b.jobLogs {
		b.jobLogs[i] = b.begin(l.job, l.from)
		if b.noMarker || !b.jobLogs[i].resume.Time.IsZero() { // it has words, so those before it have all of theirs
			for _, before := range b.jobLogs[:i] {
				before.complete = true
			}
		}
	}
	if len(b.jobLogs) == 0 { // what it has printed so far belongs to jobs that are over
		b.last, b.index, b.skip = time.Time{}, 0, 0
		return msg.Position{Time: time.Now()}
	}
	from := slices.MinFunc(b.jobLogs, func(x, y *jobLog) int { return compare(x.firstNeeded(), y.firstNeeded()) }).firstNeeded()
	b.last, b.index, b.skip = from.Time, from.Count-1, from.Skip
	return from
}

// write takes entries and returns the jobs whose logs in the spool have grown, and how many bytes came after the end of the
// log that they belong to.
func (b *logAttributor) write(entries []msg.LogEntry) (grown []msg.ExecutionID, late int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		if e.Time.Equal(b.last) {
			b.index++
		} else {
			b.last, b.index, b.skip = e.Time, 0, 0
		}
		at := msg.Position{Time: e.Time, Count: b.index, Skip: b.skip}
		b.skip = 0
		said := b.observe(at, e)
		if l := b.owner(e.Time); l != nil {
			l.sawOutput = l.sawOutput || !said && compare(at, l.resume) >= 0
			l.take(at, e.Text)
		} else {
			late += len(e.Text)
		}
	}
	for _, l := range b.jobLogs {
		if len(l.ready) == 0 {
			continue
		}
		kept, err := b.append(l)
		if err != nil {
			return grown, late, err
		}
		if kept {
			grown = append(grown, l.job)
		}
	}
	return grown, late, nil
}

// append adds to a chapter's log what is ready for it, as much as fits. A plugin that floods its log costs no disk for what is
// complete out. Nor is anything kept of a job that the spool has no more: the server refused its ending, and it was put away.
func (b *logAttributor) append(l *jobLog) (kept bool, err error) {
	next, text := l.resumePosition(), l.ready
	rec, there := b.spool.Job(l.job)
	switch left := b.limit - rec.Log.Size; {
	case !there, b.limit > 0 && left < 0: // it says so already
		l.ready, l.full, l.filtering = nil, true, nil
		return false, nil
	case b.limit > 0 && int64(len(text)) > left:
		text = fmt.Appendf(beginning(text, int(left)), "\n… the log ends here: of a job's log this runner keeps %d bytes\n", b.limit)
	}
	next.Executor = b.executor
	if err := b.spool.AppendLog(l.job, text, next); err != nil {
		return false, err
	}
	l.ready = nil
	return true, nil
}

// beginning is the first n bytes of a text, or a few less: no character is cut in two.
func beginning(text []byte, n int) []byte {
	for end := n; end >= 0 && end > n-utf8.UTFMax; end-- {
		if utf8.RuneStart(text[end]) {
			return text[:end:end]
		}
	}
	return text[:n:n]
}

// observe hears in an entry that the plugin leaves the current job, by idleMarker, or that it says no such thing. It reports whether the
// entry is idleMarker. A plugin that prints it before it has said anything about its job, or before that is over, means that job: the
// engine is late, or the plugin was asked to come once more.
func (b *logAttributor) observe(at msg.Position, e msg.LogEntry) (said bool) {
	said = bytes.Contains(e.Text, []byte(idleMarker))
	n := len(b.started())
	if n == 0 || compare(at, b.jobLogs[n-1].resume) < 0 { // it was heeded before the reading began anew
		return said
	}
	current, waiting := b.jobLogs[n-1], b.jobLogs[n:]
	switch {
	case said:
		b.noMarker = false
		if current.sawOutput && b.jobHasEnded(current.job) {
			b.complete(n)
		}
	case len(waiting) > 0 && e.Time.Sub(waiting[0].from) > maxStampDelay:
		b.noMarker = true
		b.complete(len(b.jobLogs) - 1)
	}
	return said
}

// complete leaves the first n chapters behind: they have all their words, and what their filters hold must not be looked for behind
// the first of the next one's.
func (b *logAttributor) complete(n int) {
	for _, l := range b.jobLogs[:n] {
		l.complete = true
		l.ready = append(l.ready, l.filter.Flush()...)
	}
}

// isComplete reports whether all that the job wrote has been read, for sure: its plugin has gone for another one since.
func (b *logAttributor) isComplete(job msg.ExecutionID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.find(job)
	return i < 0 || b.noMarker || b.jobLogs[i].complete
}

// jobHasEnded: a result is in the spool before its plugin hears so, and goes for the next job.
func (b *logAttributor) jobHasEnded(job msg.ExecutionID) bool {
	rec, ok := b.spool.Job(job)
	return !ok || rec.Stage >= msg.Ended
}

// started are the chapters that may have entries: the oldest, and each of which the one before is left.
func (b *logAttributor) started() []*jobLog {
	for i, l := range b.jobLogs {
		if !l.complete {
			return b.jobLogs[:i+1]
		}
	}
	return b.jobLogs
}

// owner is the newest chapter that had begun at that time.
func (b *logAttributor) owner(t time.Time) *jobLog {
	for _, l := range slices.Backward(b.started()) {
		if !t.Before(l.from) {
			return l
		}
	}
	return nil
}

// close ends a job's log: what the filter holds goes into it, and nothing is added any more. It may be repeated after an error.
func (b *logAttributor) close(job msg.ExecutionID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(job)
}

// closeThrough is close for the jobs before too, and first: whoever reads on after a crash would take for theirs what nobody
// else waits for. It returns whose logs have ended.
func (b *logAttributor) closeThrough(job msg.ExecutionID) (closed []msg.ExecutionID, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, before := range slices.Clone(b.jobLogs[:max(0, b.find(job))]) {
		if err := b.end(before.job); err != nil {
			return closed, err
		}
		closed = append(closed, before.job)
	}
	if err := b.end(job); err != nil {
		return closed, err
	}
	return append(closed, job), nil
}

func (b *logAttributor) end(job msg.ExecutionID) error {
	err := b.flush(job)
	if err == nil {
		err = b.carryPosition(job)
	}
	if err == nil {
		err = b.spool.EndLog(job)
	}
	if _, there := b.spool.Job(job); err != nil && there {
		return err
	}
	b.drop(job)
	return nil
}

// forward keeps with the next chapter how far this one went, though stamped when that had been handed out: who reads on when this one
// knows ended would take that for the next one's.
func (b *logAttributor) carryPosition(job msg.ExecutionID) error {
	i := b.find(job)
	if i < 0 || i+1 == len(b.jobLogs) {
		return nil
	}
	l, next := b.jobLogs[i], b.jobLogs[i+1]
	rec, _ := b.spool.Job(next.job)
	if l.next.Time.Before(next.from) || compare(l.next, b.resumeOf(rec)) <= 0 {
		return nil
	}
	if compare(l.next, next.next) > 0 {
		next.next = msg.Position{Time: l.next.Time, Count: l.next.Count}
	}
	_, err := b.append(next)
	return err
}

// removeMember is close for a log that goes on elsewhere.
func (b *logAttributor) release(job msg.ExecutionID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.flush(job); err != nil {
		return err
	}
	b.drop(job)
	return nil
}

func (b *logAttributor) flush(job msg.ExecutionID) error {
	i := b.find(job)
	if i < 0 {
		return nil
	}
	l := b.jobLogs[i]
	if l.ready = append(l.ready, l.filter.Flush()...); len(l.ready) == 0 {
		return nil
	}
	_, err := b.append(l)
	return err
}

func (b *logAttributor) drop(job msg.ExecutionID) {
	b.jobLogs = slices.DeleteFunc(b.jobLogs, func(l *jobLog) bool { return l.job == job })
}

// closeAll ends all logs, and returns whose. A job that was not handed out may still go elsewhere: its ending comes first.
func (b *logAttributor) closeAll() ([]msg.ExecutionID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var closed []msg.ExecutionID
	for _, l := range slices.Clone(b.jobLogs) {
		if rec, ok := b.spool.Job(l.job); ok && rec.Stage < msg.HandedOut {
			if err := b.flush(l.job); err != nil {
				return closed, err
			}
			continue
		}
		if err := b.end(l.job); err != nil {
			return closed, err
		}
		closed = append(closed, l.job)
	}
	return closed, nil
}
