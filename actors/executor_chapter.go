package actors

import (
	"cmp"
	"time"

	msg "runnerd/messages"
)

// chapter is the log of one job while it may still grow.
type chapter struct {
	job     msg.ExecutionID
	from    time.Time    // its output begins here; zero: with the executor's
	left    bool         // its plugin has gone for the next job since
	spoken  bool         // its plugin has said something since it went for it; always of an executor's first
	resume  msg.Position // what is before it is in the spool already
	behind  msg.Position // after the newest entry that it has taken
	filter  Filter
	untimed bool    // its lines get no time: they are a script's, and go into the runner's log, which has its own
	inside  []piece // of entries, whose bytes the filter may hold
	rest    []byte  // out of the filter, and not in the spool yet
	full    bool    // nothing more is kept, so nothing more is filtered
}

// piece is what the filter took of one entry.
type piece struct {
	at  msg.Position // of its first byte
	len int
}

// needed is the first position that may have something for the chapter.
func (ch *chapter) needed() msg.Position {
	if ch.resume.Time.IsZero() {
		return msg.Position{Time: ch.from}
	}
	return ch.resume
}

// take filters an entry, but for what is in the spool already.
func (ch *chapter) take(at msg.Position, text []byte) {
	if n := ch.known(at, len(text)); n > 0 {
		text, at.Skip = text[n:], at.Skip+n
	}
	if len(text) == 0 || ch.full {
		return
	}
	at.Left = ch.left
	ch.behind = msg.Position{Time: at.Time, Count: at.Count + 1, Left: ch.left}
	ch.inside = append(ch.inside, piece{at, len(text)})
	came := at.Time
	if ch.untimed {
		came = time.Time{}
	}
	ch.rest = append(ch.rest, ch.filter.Write(text, came)...)
}

// known is how many of an entry's bytes are in the spool already.
func (ch *chapter) known(at msg.Position, size int) int {
	switch c := cmp.Or(at.Time.Compare(ch.resume.Time), cmp.Compare(at.Count, ch.resume.Count)); {
	case c < 0:
		return size
	case c == 0:
		return min(size, max(0, ch.resume.Skip-at.Skip))
	default:
		return 0
	}
}

// next is the position of the first byte that the filter still holds, or else of what comes after the newest entry.
func (ch *chapter) next() msg.Position {
	held := ch.filter.Held()
	for i, before := len(ch.inside)-1, 0; i >= 0; i-- {
		p := ch.inside[i]
		if before+p.len >= held && held > 0 {
			ch.inside = ch.inside[i:]
			at := p.at
			at.Skip += p.len - (held - before)
			return at
		}
		before += p.len
	}
	ch.inside = nil
	return ch.behind
}

func compare(a, b msg.Position) int {
	return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Count, b.Count), cmp.Compare(a.Skip, b.Skip))
}
