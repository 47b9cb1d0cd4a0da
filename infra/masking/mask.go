package masking

// stars stand for a secret of any length: the length is not told.
const stars = "********"

// longRun is how much one mask may cover before it leaves: matches may overlap for ever ("aaa" in a line of a's).
const longRun = 64 << 10

// masker masks a stream. Offsets count raw bytes.
type masker struct {
	*automaton
	at   int32  // state of the automaton
	base int64  // offset of held[0]
	held []byte // taken, undecided
	runs []run  // in held, ascending, apart

	made   int64 // masked bytes returned so far
	shifts []shift
}

// run is an unbroken run of matches that overlap: one mask.
type run struct {
	from, to int64
	newest   int64 // where its newest match begins
	shown    bool  // its stars have left already
}

func (m *masker) push(raw []byte) []byte {
	pos, at, root := m.base+int64(len(m.held)), m.at, &m.rows[0]
	m.held = append(m.held, raw...)
	for i, c := range raw {
		if at == 0 {
			at = root[c]
		} else {
			at = m.step(at, c)
		}
		if n := m.states[at].match; n > 0 {
			end := pos + int64(i) + 1
			m.found(end-int64(n), end)
		}
	}
	m.at = at
	return m.release(pos + int64(len(raw)) - int64(m.states[at].depth))
}

// found adds a match; no older one ends later.
func (m *masker) found(from, to int64) {
	r := run{from: from, to: to, newest: from}
	for n := len(m.runs); n > 0 && m.runs[n-1].to > from; n-- {
		r.from, r.shown = min(r.from, m.runs[n-1].from), m.runs[n-1].shown
		m.runs = m.runs[:n-1]
	}
	m.runs = append(m.runs, r)
}

// release lets go of what lies before limit: no later match begins there. A run that goes on behind it stays whole, so that
// the newest bytes held are a place to begin anew.
func (m *masker) release(limit int64) []byte {
	out := make([]byte, 0, max(limit-m.base, 0)+int64(len(stars)))
	done := 0
	for ; done < len(m.runs) && m.runs[done].to <= limit; done++ {
		out = m.hide(&m.runs[done], m.runs[done].to, out)
	}
	m.runs = append(m.runs[:0], m.runs[done:]...)
	if len(m.runs) == 0 || m.runs[0].from >= limit {
		return m.show(limit, out)
	}
	if r := &m.runs[0]; limit-r.from > longRun {
		out = m.hide(r, min(limit, r.newest), out)
		r.from = m.base
		return out
	}
	return m.show(m.runs[0].from, out)
}

// show hands on what lies before to as it is.
func (m *masker) show(to int64, out []byte) []byte {
	n := to - m.base
	out = append(out, m.held[:n]...)
	m.made += n
	m.drop(n)
	return out
}

// hide hands on stars for the run as far as to.
func (m *masker) hide(r *run, to int64, out []byte) []byte {
	out = m.show(r.from, out)
	covered := to - r.from
	m.drop(covered)
	if !r.shown {
		r.shown = true
		out = append(out, stars...)
		m.made += int64(len(stars))
		covered -= int64(len(stars))
	}
	m.shifts = append(m.shifts, shift{at: m.made, by: covered})
	return out
}

func (m *masker) drop(n int64) {
	m.held = m.held[n:]
	m.base += n
}

func (m *masker) flush() []byte {
	m.at = 0
	return m.release(m.base + int64(len(m.held)))
}

func (m *masker) takeShifts() []shift {
	s := m.shifts
	m.shifts = nil
	return s
}
