package actors

import (
	"cmp"
	"time"

	msg "runnerd/messages"
)

// jobLog is the log of one job while it may still grow.
type jobLog struct {
	job       msg.ExecutionID
	from      time.Time    // its output begins here; zero: with the executor's
	complete  bool         // its plugin has gone for the next job since
	sawOutput bool         // its plugin has said something since it went for it; always of an executor's first
	resume    msg.Position // what is before it is in the spool already
	next      msg.Position // after the newest entry that it has taken
	filter    Filter
	untimed   bool            // its lines get no time: they are a script's, and go into the runner's log, which has its own
	filtering []filteredPiece // of entries, whose bytes the filter may hold
	ready     []byte          // out of the filter, and not in the spool yet
	full      bool            // nothing more is kept, so nothing more is filtered
}

// filteredPiece is what the filter took of one entry.
type filteredPiece struct {
	at  msg.Position // of its first byte
	len int
}

// firstNeeded is the first position that may have something for the chapter.
func (l *jobLog) firstNeeded() msg.Position {
	if l.resume.Time.IsZero() {
		return msg.Position{Time: l.from}
	}
	return l.resume
}

// takeWaiting filters an entry, but for what is in the spool already.
func (l *jobLog) take(at msg.Position, text []byte) {
	if n := l.alreadyStored(at, len(text)); n > 0 {
		text, at.Skip = text[n:], at.Skip+n
	}
	if len(text) == 0 || l.full {
		return
	}
	at.AfterMarker = l.complete
	l.next = msg.Position{Time: at.Time, Count: at.Count + 1, AfterMarker: l.complete}
	l.filtering = append(l.filtering, filteredPiece{at, len(text)})
	came := at.Time
	if l.untimed {
		came = time.Time{}
	}
	l.ready = append(l.ready, l.filter.Write(text, came)...)
}

// spoolState is how many of an entry's bytes are in the spool already.
func (l *jobLog) alreadyStored(at msg.Position, size int) int {
	switch c := cmp.Or(at.Time.Compare(l.resume.Time), cmp.Compare(at.Count, l.resume.Count)); {
	case c < 0:
		return size
	case c == 0:
		return min(size, max(0, l.resume.Skip-at.Skip))
	default:
		return 0
	}
}

// resumePosition is the position of the first byte that the filter still holds, or else of what comes after the newest entry.
func (l *jobLog) resumePosition() msg.Position {
	held := l.filter.Held()
	for i, before := len(l.filtering)-1, 0; i >= 0; i-- {
		p := l.filtering[i]
		if before+p.len >= held && held > 0 {
			l.filtering = l.filtering[i:]
			at := p.at
			at.Skip += p.len - (held - before)
			return at
		}
		before += p.len
	}
	l.filtering = nil
	return l.next
}

func compare(a, b msg.Position) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Count, b.Count), cmp.Compare(a.Skip, b.Skip))
}
