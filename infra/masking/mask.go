package masking

// stars replace a secret of any length, so that the output does not show the length.
const stars = "********"

// maxMask is how many raw bytes one mask may cover before it is emitted: matches may overlap without end ("aaa" in a line of a's).
const maxMask = 64 << 10

// masker masks a stream. Offsets count raw bytes.
type masker struct {
	*automaton
	state   int32   // state of the automaton
	base    int64   // offset of held[0]
	held    []byte  // bytes not emitted yet
	matches []match // in held, ascending, disjoint

	emitted int64 // masked bytes returned so far
	shifts  []shift
}

// match is the union of matches that overlap. One mask covers it.
type match struct {
	from, to  int64
	lastStart int64 // start of its newest match
	masked    bool  // its stars have been emitted
}

func (m *masker) push(raw []byte) []byte {
	pos, at, root := m.base+int64(len(m.held)), m.state, &m.rows[0]
	m.held = append(m.held, raw...)
	for i, c := range raw {
		if at == 0 {
			at = root[c]
		} else {
			at = m.step(at, c)
		}
		if n := m.states[at].match; n > 0 {
			end := pos + int64(i) + 1
			m.addMatch(end-int64(n), end)
		}
	}
	m.state = at
	return m.release(pos + int64(len(raw)) - int64(m.states[at].depth))
}

// addMatch adds a match that ends at or after all older ones, and merges it with those that it overlaps.
func (m *masker) addMatch(from, to int64) {
	r := match{from: from, to: to, lastStart: from}
	for n := len(m.matches); n > 0 && m.matches[n-1].to > from; n-- {
		r.from, r.masked = min(r.from, m.matches[n-1].from), m.matches[n-1].masked
		m.matches = m.matches[:n-1]
	}
	m.matches = append(m.matches, r)
}

// release emits the bytes before limit, where no later match can begin. It holds back all of a match that continues beyond limit, so that
// a new filter can start at the held bytes.
func (m *masker) release(limit int64) []byte {
	out := make([]byte, 0, max(limit-m.base, 0)+int64(len(stars)))
	done := 0
	for ; done < len(m.matches) && m.matches[done].to <= limit; done++ {
		out = m.emitMask(&m.matches[done], m.matches[done].to, out)
	}
	m.matches = append(m.matches[:0], m.matches[done:]...)
	if len(m.matches) == 0 || m.matches[0].from >= limit {
		return m.emit(limit, out)
	}
	if r := &m.matches[0]; limit-r.from > maxMask {
		out = m.emitMask(r, min(limit, r.lastStart), out)
		r.from = m.base
		return out
	}
	return m.emit(m.matches[0].from, out)
}

// emit appends the held bytes that lie before the offset to, unchanged.
func (m *masker) emit(to int64, out []byte) []byte {
	n := to - m.base
	out = append(out, m.held[:n]...)
	m.emitted += n
	m.drop(n)
	return out
}

// emitMask appends stars for the part of the match that lies before the offset to.
func (m *masker) emitMask(r *match, to int64, out []byte) []byte {
	out = m.emit(r.from, out)
	covered := to - r.from
	m.drop(covered)
	if !r.masked {
		r.masked = true
		out = append(out, stars...)
		m.emitted += int64(len(stars))
		covered -= int64(len(stars))
	}
	m.shifts = append(m.shifts, shift{at: m.emitted, by: covered})
	return out
}

func (m *masker) drop(n int64) {
	m.held = m.held[n:]
	m.base += n
}

func (m *masker) flush() []byte {
	m.state = 0
	return m.release(m.base + int64(len(m.held)))
}

func (m *masker) takeShifts() []shift {
	s := m.shifts
	m.shifts = nil
	return s
}
