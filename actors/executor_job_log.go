package actors

import (
	"cmp"
	"time"

	msg "runnerd/messages"
)

// jobLog is the log of one job while it may still grow.
type jobLog struct {
	job          msg.ExecutionID
	from         time.Time    // its output begins at this time; zero: with the executor's first output
	complete     bool         // the plugin has asked for the next job since
	sawOutput    bool         // the plugin has printed something since it asked for this job; true for the executor's first job
	resume       msg.Position // all output before it is in the spool
	next         msg.Position // the position after the newest added entry
	filter       Filter
	noTimestamps bool            // for a script: its lines go into the runner's log, which has its own timestamps
	filtering    []filteredEntry // entries whose bytes the filter may still hold
	ready        []byte          // filtered, and not in the spool yet
	full         bool            // the size limit is reached: nothing more is stored or filtered
}

// filteredEntry is the part of an entry that was written to the filter.
type filteredEntry struct {
	at   msg.Position // of its first byte
	size int
}

// firstNeeded returns the first position that may have output of the job that is not in the spool.
func (l *jobLog) firstNeeded() msg.Position {
	if l.resume.Time.IsZero() {
		return msg.Position{Time: l.from}
	}
	return l.resume
}

// add filters an entry, except for the part that is in the spool already.
func (l *jobLog) add(at msg.Position, text []byte) {
	if n := l.alreadyStored(at, len(text)); n > 0 {
		text, at.Skip = text[n:], at.Skip+n
	}
	if len(text) == 0 || l.full {
		return
	}
	at.AfterMarker = l.complete
	l.next = msg.Position{Time: at.Time, Count: at.Count + 1, AfterMarker: l.complete}
	l.filtering = append(l.filtering, filteredEntry{at, len(text)})
	received := at.Time
	if l.noTimestamps {
		received = time.Time{}
	}
	l.ready = append(l.ready, l.filter.Write(text, received)...)
}

// alreadyStored returns how many bytes of an entry are in the spool already.
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

// resumePosition returns the position of the first byte that the filter still holds, or that after the newest entry if it holds none.
func (l *jobLog) resumePosition() msg.Position {
	held := l.filter.Held()
	for i, before := len(l.filtering)-1, 0; i >= 0; i-- {
		p := l.filtering[i]
		if before+p.size >= held && held > 0 {
			l.filtering = l.filtering[i:]
			at := p.at
			at.Skip += p.size - (held - before)
			return at
		}
		before += p.size
	}
	l.filtering = nil
	return l.next
}

func compare(a, b msg.Position) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Count, b.Count), cmp.Compare(a.Skip, b.Skip))
}
