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

// logbook turns the output of one executor into the logs of its jobs. A job's part of it is a chapter; what enters the spool is
// masked.
//
//	handed out   one         two
//	printed      a a a P     b b P           P is pickUp: the plugin goes for its next job, the one before is over
//	stamped      a a           a P b b P     when the engine reads it, here too late for one a and the first P
//	is of        1 1           1 2 2 2 2
//
// An entry is of the newest job that had been handed out by its stamp. But on a busy machine the engine stamps many milliseconds
// after the writing, and the next hand-out takes one or two: so the plugin's own word counts too, and a chapter gets nothing before
// its plugin has left the one before with pickUp. The oldest waits for nobody.
//
// The filter holds bytes back, so the position that goes into the spool with a text is that of the first byte not yet in
// it: reading on from there after a loss repeats nothing and leaves nothing out.
type logbook struct {
	spool     Spool
	executor  msg.ExecutorID
	newFilter func(secrets []msg.Secret, midline bool) Filter
	limit     int64 // bytes of a job's log; zero: as many as there are

	mu       sync.Mutex
	secrets  []msg.Secret // of all its jobs: a later one may print what an earlier one left behind
	chapters []*chapter   // that may still grow, in the order of their hand-outs
	silent   bool         // the plugin does not print pickUp
	last     time.Time    // stamp of the newest entry
	index    int          // how many entries before the newest bear that stamp
	skip     int          // bytes of the next entry that the driver leaves out, if it bears that stamp
}

// pickUp is what both official SDKs print when they go and ask for a job that is not their first: all that the job before
// wrote is before it in the executor's output.
const pickUp = "Detected input context value change"

// lag bounds how long the engine may take to stamp an entry, and to hand it on: a tenth of it has been seen. A plugin that has not
// printed pickUp by then does not print it, and the stamps alone decide, until it does.
const lag = 10 * time.Second

// open adds a job's chapter: what is stamped from then on may be its.
func (b *logbook) open(job msg.ExecutionID, from time.Time, secrets []msg.Secret) {
	b.learn(secrets)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.find(job) >= 0 {
		return
	}
	if n := len(b.chapters); n > 0 && (b.silent || b.chapters[n-1].left) {
		b.turn(n)
	} else { // its first words may be taken for the last ones of those before it
		for _, before := range b.chapters {
			before.rest = append(before.rest, before.filter.Learn(b.secrets)...)
		}
	}
	b.chapters = append(b.chapters, b.begin(job, from))
}

// learn adds to what is masked in the chapters that begin from now on.
func (b *logbook) learn(secrets []msg.Secret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range secrets {
		if !slices.Contains(b.secrets, s) {
			b.secrets = append(b.secrets, s)
		}
	}
}

// known returns all that is masked.
func (b *logbook) known() []msg.Secret {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.secrets)
}

func (b *logbook) begin(job msg.ExecutionID, from time.Time) *chapter {
	ch := &chapter{job: job, from: from, filter: b.newFilter(b.secrets, b.isMidline(job))}
	rec, _ := b.spool.Job(job)
	if resume := b.resumeOf(rec); !resume.Time.Before(from) { // else it was handed out here before
		ch.resume, ch.behind, ch.left = resume, resume, resume.Left
	}
	ch.untimed = rec.Kind == msg.Script
	ch.spoken = from.IsZero() || !ch.resume.Time.IsZero() && rec.Log.Size > 0
	return ch
}

// resumeOf is where to go on reading this executor's output for the job; zero where the job's log holds none of it.
func (b *logbook) resumeOf(job msg.JobRecord) msg.Position {
	resume := job.Log.Resume
	if resume.Executor != b.executor {
		return msg.Position{}
	}
	resume.Executor = ""
	return resume
}

func (b *logbook) find(job msg.ExecutionID) int {
	return slices.IndexFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
}

// isMidline reports whether what is in the spool of the job does not end with a line. An error counts as no: the line that goes
// on then looks like two.
func (b *logbook) isMidline(job msg.ExecutionID) bool {
	rec, _ := b.spool.Job(job)
	if rec.Log.Size == 0 {
		return false
	}
	last, err := b.spool.ReadLog(job, rec.Log.Size-1, 1)
	return err == nil && string(last) != "\n"
}

// withdraw takes back an open: the job was not handed out. What the executor has printed at its start stays its first job's, which
// no other executor gets.
func (b *logbook) withdraw(job msg.ExecutionID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.find(job); i >= 0 && !b.chapters[i].from.IsZero() {
		b.drop(job)
	}
}

// rewind forgets what is not in the spool, and returns where to read on.
func (b *logbook) rewind() msg.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ch := range b.chapters {
		b.chapters[i] = b.begin(ch.job, ch.from)
		if b.silent || !b.chapters[i].resume.Time.IsZero() { // it has words, so those before it have all of theirs
			for _, before := range b.chapters[:i] {
				before.left = true
			}
		}
	}
	if len(b.chapters) == 0 { // what it has printed so far belongs to jobs that are over
		b.last, b.index, b.skip = time.Time{}, 0, 0
		return msg.Position{Time: time.Now()}
	}
	from := slices.MinFunc(b.chapters, func(x, y *chapter) int { return compare(x.needed(), y.needed()) }).needed()
	b.last, b.index, b.skip = from.Time, from.Count-1, from.Skip
	return from
}

// write takes entries and returns the jobs whose logs in the spool have grown, and how many bytes came after the end of the
// log that they belong to.
func (b *logbook) write(entries []msg.LogEntry) (grown []msg.ExecutionID, late int, err error) {
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
		said := b.heed(at, e)
		if ch := b.owner(e.Time); ch != nil {
			ch.spoken = ch.spoken || !said && compare(at, ch.resume) >= 0
			ch.take(at, e.Text)
		} else {
			late += len(e.Text)
		}
	}
	for _, ch := range b.chapters {
		if len(ch.rest) == 0 {
			continue
		}
		kept, err := b.append(ch)
		if err != nil {
			return grown, late, err
		}
		if kept {
			grown = append(grown, ch.job)
		}
	}
	return grown, late, nil
}

// append adds to a chapter's log what is ready for it, as much as fits. A plugin that floods its log costs no disk for what is
// left out. Nor is anything kept of a job that the spool has no more: the server refused its ending, and it was put away.
func (b *logbook) append(ch *chapter) (kept bool, err error) {
	next, text := ch.next(), ch.rest
	rec, there := b.spool.Job(ch.job)
	switch left := b.limit - rec.Log.Size; {
	case !there, b.limit > 0 && left < 0: // it says so already
		ch.rest, ch.full, ch.inside = nil, true, nil
		return false, nil
	case b.limit > 0 && int64(len(text)) > left:
		text = fmt.Appendf(beginning(text, int(left)), "\n… the log ends here: of a job's log this runner keeps %d bytes\n", b.limit)
	}
	next.Executor = b.executor
	if err := b.spool.AppendLog(ch.job, text, next); err != nil {
		return false, err
	}
	ch.rest = nil
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

// heed hears in an entry that the plugin leaves the current job, by pickUp, or that it says no such thing. It reports whether the
// entry is pickUp. A plugin that prints it before it has said anything about its job, or before that is over, means that job: the
// engine is late, or the plugin was asked to come once more.
func (b *logbook) heed(at msg.Position, e msg.LogEntry) (said bool) {
	said = bytes.Contains(e.Text, []byte(pickUp))
	n := len(b.begun())
	if n == 0 || compare(at, b.chapters[n-1].resume) < 0 { // it was heeded before the reading began anew
		return said
	}
	current, waiting := b.chapters[n-1], b.chapters[n:]
	switch {
	case said:
		b.silent = false
		if current.spoken && b.isOver(current.job) {
			b.turn(n)
		}
	case len(waiting) > 0 && e.Time.Sub(waiting[0].from) > lag:
		b.silent = true
		b.turn(len(b.chapters) - 1)
	}
	return said
}

// turn leaves the first n chapters behind: they have all their words, and what their filters hold must not be looked for behind
// the first of the next one's.
func (b *logbook) turn(n int) {
	for _, ch := range b.chapters[:n] {
		ch.left = true
		ch.rest = append(ch.rest, ch.filter.Flush()...)
	}
}

// parted reports whether all that the job wrote has been read, for sure: its plugin has gone for another one since.
func (b *logbook) parted(job msg.ExecutionID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.find(job)
	return i < 0 || b.silent || b.chapters[i].left
}

// isOver: a result is in the spool before its plugin hears so, and goes for the next job.
func (b *logbook) isOver(job msg.ExecutionID) bool {
	rec, ok := b.spool.Job(job)
	return !ok || rec.Stage >= msg.Ended
}

// begun are the chapters that may have entries: the oldest, and each of which the one before is left.
func (b *logbook) begun() []*chapter {
	for i, ch := range b.chapters {
		if !ch.left {
			return b.chapters[:i+1]
		}
	}
	return b.chapters
}

// owner is the newest chapter that had begun at that time.
func (b *logbook) owner(t time.Time) *chapter {
	for _, ch := range slices.Backward(b.begun()) {
		if !t.Before(ch.from) {
			return ch
		}
	}
	return nil
}

// close ends a job's log: what the filter holds goes into it, and nothing is added any more. It may be repeated after an error.
func (b *logbook) close(job msg.ExecutionID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end(job)
}

// closeThrough is close for the jobs before too, and first: whoever reads on after a crash would take for theirs what nobody
// else waits for. It returns whose logs have ended.
func (b *logbook) closeThrough(job msg.ExecutionID) (closed []msg.ExecutionID, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, before := range slices.Clone(b.chapters[:max(0, b.find(job))]) {
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

func (b *logbook) end(job msg.ExecutionID) error {
	err := b.flush(job)
	if err == nil {
		err = b.handOn(job)
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

// handOn keeps with the next chapter how far this one went, though stamped when that had been handed out: who reads on when this one
// has ended would take that for the next one's.
func (b *logbook) handOn(job msg.ExecutionID) error {
	i := b.find(job)
	if i < 0 || i+1 == len(b.chapters) {
		return nil
	}
	ch, next := b.chapters[i], b.chapters[i+1]
	rec, _ := b.spool.Job(next.job)
	if ch.behind.Time.Before(next.from) || compare(ch.behind, b.resumeOf(rec)) <= 0 {
		return nil
	}
	if compare(ch.behind, next.behind) > 0 {
		next.behind = msg.Position{Time: ch.behind.Time, Count: ch.behind.Count}
	}
	_, err := b.append(next)
	return err
}

// leave is close for a log that goes on elsewhere.
func (b *logbook) leave(job msg.ExecutionID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.flush(job); err != nil {
		return err
	}
	b.drop(job)
	return nil
}

func (b *logbook) flush(job msg.ExecutionID) error {
	i := b.find(job)
	if i < 0 {
		return nil
	}
	ch := b.chapters[i]
	if ch.rest = append(ch.rest, ch.filter.Flush()...); len(ch.rest) == 0 {
		return nil
	}
	_, err := b.append(ch)
	return err
}

func (b *logbook) drop(job msg.ExecutionID) {
	b.chapters = slices.DeleteFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
}

// closeAll ends all logs, and returns whose. A job that was not handed out may still go elsewhere: its ending comes first.
func (b *logbook) closeAll() ([]msg.ExecutionID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var closed []msg.ExecutionID
	for _, ch := range slices.Clone(b.chapters) {
		if rec, ok := b.spool.Job(ch.job); ok && rec.Stage < msg.HandedOut {
			if err := b.flush(ch.job); err != nil {
				return closed, err
			}
			continue
		}
		if err := b.end(ch.job); err != nil {
			return closed, err
		}
		closed = append(closed, ch.job)
	}
	return closed, nil
}
