package actors

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	msg "runnerd/messages"
)

// logbook turns the output of one executor into the logs of its jobs. Entries stamped before a job's hand-out belong to the
// job before; what enters the spool is masked. A job's part of it is a chapter.
//
// The engine stamps an entry when it reads it, and on a busy machine that is many milliseconds after it was written: later
// than the next hand-out, which takes one or two. So where two jobs follow closely, the plugin's own word counts too: see pickUp.
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
	chapters []*chapter   // that may still grow, in order
	read     msg.Position // what is before it had its place before the reading began anew
	marked   bool         // pickUp was read, and its job has no chapter yet
	silent   bool         // the plugin does not print pickUp
	last     time.Time    // stamp of the newest entry
	index    int          // how many entries before the newest bear that stamp
}

// pickUp is what both official SDKs print when they go and ask for a job that is not their first: all that the job before
// wrote is before it in the executor's output.
const pickUp = "Detected input context value change"

// lag bounds how long the engine may take to stamp an entry, and to hand it on: a tenth of it has been seen. A plugin that has not
// printed pickUp by then does not print it, and the stamps alone decide.
const lag = 10 * time.Second

// open begins a job's chapter: what is stamped from then on is its.
func (b *logbook) open(job msg.ExecutionID, from time.Time, secrets []msg.Secret) {
	b.learn(secrets)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.chapters {
		if ch.job == job {
			return
		}
	}
	ch := b.begin(job, from)
	ch.begun = len(b.chapters) == 0 || b.marked || b.silent
	b.marked = false
	if !ch.begun { // its first words may be taken for the last ones of those before it
		for _, before := range b.chapters {
			before.rest = append(before.rest, before.filter.Learn(b.secrets)...)
		}
	}
	b.chapters = append(b.chapters, ch)
	slices.SortStableFunc(b.chapters, func(x, y *chapter) int { return x.from.Compare(y.from) })
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
	ch := &chapter{job: job, from: from, begun: true, filter: b.newFilter(b.secrets, b.isMidline(job))}
	if rec, ok := b.spool.Job(job); ok {
		ch.resume, ch.behind, ch.untimed = rec.Log.Resume, rec.Log.Resume, rec.Kind == msg.Script
	}
	ch.spoken = from.IsZero() || !ch.resume.Time.IsZero()
	return ch
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

// withdraw takes back an open: the job was not handed out.
func (b *logbook) withdraw(job msg.ExecutionID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.chapters {
		if ch.job == job {
			b.marked = ch.begun
		}
	}
	b.drop(job)
}

// rewind forgets what is not in the spool, and returns where to read on.
func (b *logbook) rewind() msg.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last, b.index = time.Time{}, 0
	b.marked = true // there is nobody before the oldest
	for i, ch := range b.chapters {
		ch = b.begin(ch.job, ch.from)
		ch.begun = b.marked || b.silent || !ch.resume.Time.IsZero()
		b.chapters[i], b.marked = ch, b.isLeft(ch)
	}
	if len(b.chapters) == 0 { // what it has printed so far belongs to jobs that are over
		return msg.Position{Time: time.Now()}
	}
	from := slices.MinFunc(b.chapters, func(x, y *chapter) int { return compare(x.needed(), y.needed()) }).needed()
	b.read = slices.MaxFunc(b.chapters, func(x, y *chapter) int { return compare(x.resume, y.resume) }).resume
	b.last, b.index = from.Time, from.Count-1
	return from
}

// isLeft reports whether what is in the spool of the job says that the plugin went for the next one. As the first line it is
// the job's own, unless that was the executor's first: the engine was late with it.
func (b *logbook) isLeft(ch *chapter) bool {
	const tail = 64 << 10 // hardly anything follows it
	rec, _ := b.spool.Job(ch.job)
	from := max(0, rec.Log.Size-tail)
	text, err := b.spool.ReadLog(ch.job, from, tail)
	i := bytes.LastIndex(text, []byte(pickUp))
	return err == nil && b.isOver(ch.job) && i >= 0 && (ch.from.IsZero() || from > 0 || bytes.Contains(text[:i], []byte("\n")))
}

// write takes entries and returns the jobs whose logs in the spool have grown, and how many bytes came after the end of the
// log that they belong to.
func (b *logbook) write(entries []msg.LogEntry, skip *int) (grown []msg.ExecutionID, late int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		if e.Time.Equal(b.last) {
			b.index++
		} else {
			b.last, b.index = e.Time, 0
		}
		at := msg.Position{Time: e.Time, Count: b.index, Skip: *skip}
		*skip = 0
		said := compare(at, b.read) >= 0 && b.mark(e)
		if ch := b.owner(e.Time); ch != nil {
			ch.spoken = ch.spoken || !said
			ch.take(at, e.Text)
		} else {
			late += len(e.Text)
		}
	}
	for _, ch := range slices.Clone(b.chapters) {
		if len(ch.rest) == 0 {
			continue
		}
		if err := b.append(ch); err != nil {
			if b.forgotten(ch.job) {
				continue
			}
			return grown, late, err
		}
		grown = append(grown, ch.job)
	}
	return grown, late, nil
}

// append adds to a chapter's log what is ready for it, as much as fits. A plugin that floods its log costs no disk for what is
// left out.
func (b *logbook) append(ch *chapter) error {
	next, text := ch.next(), ch.rest
	rec, _ := b.spool.Job(ch.job)
	switch left := b.limit - rec.Log.Size; {
	case b.limit == 0 || int64(len(text)) <= left:
	case left < 0: // it says so already
		ch.rest, ch.full, ch.inside = nil, true, nil
		return nil
	default:
		text = fmt.Appendf(text[:left:left], "\n… the log ends here: of a job's log this runner keeps %d bytes\n", b.limit)
	}
	if err := b.spool.AppendLog(ch.job, text, next); err != nil {
		return err
	}
	ch.rest = nil
	return nil
}

// mark lets the oldest chapter that has not begun begin with pickUp, or without it when it does not come. It reports whether
// the entry is one. A plugin that says so before it has said anything about its job, or before that is over, means that job: the
// engine is late, or the plugin was asked to come once more.
func (b *logbook) mark(e msg.LogEntry) (said bool) {
	said = bytes.Contains(e.Text, []byte(pickUp))
	i := slices.IndexFunc(b.chapters, func(ch *chapter) bool { return !ch.begun })
	switch current := b.current(); {
	case said && current != nil && (!current.spoken || !b.isOver(current.job)):
	case i < 0:
		b.marked = b.marked || said
	case said:
		b.begins(i)
	case e.Time.Sub(b.chapters[i].from) > lag:
		b.begins(i)
		b.silent = true
	}
	return said
}

// begins lets a chapter begin: those before it have all their words, and what their filters hold must not be looked for behind the
// first of its own.
func (b *logbook) begins(i int) {
	b.chapters[i].begun = true
	for _, before := range b.chapters[:i] {
		before.rest = append(before.rest, before.filter.Flush()...)
	}
}

// parted reports whether all that the job wrote has been read, for sure: its plugin has gone for another one since.
func (b *logbook) parted(job msg.ExecutionID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
	return i < 0 || b.silent || b.marked || slices.ContainsFunc(b.chapters[i+1:], func(ch *chapter) bool { return ch.begun })
}

// isOver: a result is in the spool before its plugin hears so, and goes for the next job.
func (b *logbook) isOver(job msg.ExecutionID) bool {
	rec, ok := b.spool.Job(job)
	return !ok || rec.Stage >= msg.Ended
}

// current is the newest chapter that has begun.
func (b *logbook) current() *chapter {
	for _, ch := range slices.Backward(b.chapters) {
		if ch.begun {
			return ch
		}
	}
	return nil
}

// owner is the newest chapter that had begun at that time.
func (b *logbook) owner(t time.Time) *chapter {
	for _, ch := range slices.Backward(b.chapters) {
		if !t.Before(ch.from) && ch.begun {
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
	last := slices.IndexFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
	for _, before := range slices.Clone(b.chapters[:max(0, last)]) {
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
		err = b.spool.EndLog(job)
	}
	if err != nil && !b.forgotten(job) {
		return err
	}
	b.drop(job)
	return nil
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
	i := slices.IndexFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
	if i < 0 {
		return nil
	}
	ch := b.chapters[i]
	if ch.rest = append(ch.rest, ch.filter.Flush()...); len(ch.rest) > 0 {
		return b.append(ch)
	}
	return nil
}

// forgotten reports whether the spool has the job no more: the server refused its ending, and it was put away.
func (b *logbook) forgotten(job msg.ExecutionID) bool {
	_, there := b.spool.Job(job)
	if !there {
		b.drop(job)
	}
	return !there
}

// drop takes a chapter out. The oldest that is left needs no pickUp: there is nobody before it to whom words could belong.
func (b *logbook) drop(job msg.ExecutionID) {
	b.chapters = slices.DeleteFunc(b.chapters, func(ch *chapter) bool { return ch.job == job })
	if len(b.chapters) > 0 {
		b.chapters[0].begun = true
	}
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
