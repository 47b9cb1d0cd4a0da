package masking

import (
	"bytes"
	"regexp"
)

const (
	// longHead is within how many bytes of a line a marker must stand to have a logger's prefix before it.
	longHead = 256
	// longMarker is how much may lie between a marker's first byte and its last. What is longer has no end, and is text.
	longMarker = 64 << 10
)

// loggerPrefix is what loggers put before a text: klog's header, or a time or level first and a separator last.
var loggerPrefix = regexp.MustCompile(`^\s*(?:` +
	`[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] ` +
	`|\[?(?:\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|(?i:trace|debug|info|warn|warning|error|critical|fatal)\b).*[\]):|>-]\s*` +
	`)?$`)

var (
	starts = [...][]byte{[]byte("##[start: comment]"), []byte("##[start: status]")}
	ends   = [...][]byte{[]byte("##[end: comment]"), []byte("##[end: status]")}
	anyOf  = []byte("##[start: ")
)

// marker makes every marker begin a line: a logger's prefix before it is taken away, any other text gets a line of its own.
// What has no end stays as it was written.
type marker struct {
	buf     []byte
	scanned int  // of buf: no need to look there again
	midline bool // part of the line has left already
	lead    int  // of buf: what stands before the open marker
	open    int  // index+1 in starts; 0: no marker is open
}

func (m *marker) held() int { return len(m.buf) }

func (m *marker) push(text []byte) []byte {
	m.buf = append(m.buf, text...)
	out := make([]byte, 0, len(text)+1)
	for more := len(m.buf) > 0; more; {
		if m.open > 0 {
			out, more = m.inMarker(out)
		} else {
			out, more = m.inText(out)
		}
	}
	return out
}

// giveUp hands on all that is held, as it is.
func (m *marker) giveUp() []byte { return m.leave(len(m.buf), nil) }

// inText deals with one line, or with what is there of it. false: it needs more.
func (m *marker) inText(out []byte) ([]byte, bool) {
	line := m.buf
	nl := bytes.IndexByte(m.buf[m.scanned:], '\n') + m.scanned + 1
	if nl > m.scanned {
		line = m.buf[:nl]
	}
	if at, kind := findStart(line, m.scanned); kind > 0 {
		return m.begin(at, kind, out), true
	}
	if nl > m.scanned {
		return m.leave(nl, out), len(m.buf) > 0
	}
	part := startsWithin(line)
	if !m.midline && len(line) < longHead {
		m.scanned = part
		return out, false
	}
	return m.leave(part, out), false
}

// begin opens a marker at an offset of buf. What stands before it leaves, unless it is a logger's.
func (m *marker) begin(at, kind int, out []byte) []byte {
	m.lead = at
	fromLogger := !m.midline && at+len(starts[kind-1]) <= longHead && loggerPrefix.Match(m.buf[:at])
	if !fromLogger {
		out = m.leave(at, out)
		m.lead = 0
	}
	m.open, m.scanned = kind, m.lead+len(starts[kind-1])
	return out
}

// inMarker looks for the end of the open marker. false: it needs more.
func (m *marker) inMarker(out []byte) ([]byte, bool) {
	end, limit := ends[m.open-1], m.lead+longMarker
	within := m.buf[:min(len(m.buf), limit)]
	if i := bytes.Index(within[m.scanned:], end); i >= 0 {
		stop := m.scanned + i + len(end) - m.lead
		if m.midline {
			out = append(out, '\n')
		}
		m.buf = m.buf[m.lead:]
		return m.leave(stop, out), len(m.buf) > 0
	}
	if len(m.buf) >= limit {
		return m.leave(limit, out), len(m.buf) > 0
	}
	m.scanned = max(m.scanned, len(m.buf)-len(end)+1)
	return out, false
}

// leave hands on the first n bytes of buf, and goes on as text.
func (m *marker) leave(n int, out []byte) []byte {
	if n > 0 {
		m.midline = m.buf[n-1] != '\n'
	}
	out = append(out, m.buf[:n]...)
	m.buf, m.scanned, m.lead, m.open = m.buf[n:], 0, 0, 0
	return out
}

// findStart finds the first marker at or behind from; kind 0: none.
func findStart(line []byte, from int) (at, kind int) {
	for {
		i := bytes.Index(line[from:], anyOf)
		if i < 0 {
			return 0, 0
		}
		from += i
		for k, start := range starts {
			if bytes.HasPrefix(line[from:], start) {
				return from, k + 1
			}
		}
		from++
	}
}

// startsWithin is where the longest tail of text begins that may become a marker.
func startsWithin(text []byte) int {
	for i := max(0, len(text)-len(starts[0])); i < len(text); i++ {
		for _, start := range starts {
			if bytes.HasPrefix(start, text[i:]) {
				return i
			}
		}
	}
	return len(text)
}
