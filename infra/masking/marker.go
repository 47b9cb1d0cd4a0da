package masking

import (
	"bytes"
	"regexp"
	"unicode/utf8"
)

const (
	// maxLinePrefix is how many bytes a logger's prefix and the start of a marker may have together.
	maxLinePrefix = 256
	// maxMarker is how many bytes a marker may have. A longer one is cut, and the rest of it is ordinary text.
	maxMarker = 64 << 10
	cutNote   = "… (cut here: longer than 64 KiB)"
)

// loggerPrefix matches what loggers write before a text: klog's header, or a time or level followed by anything up to a separator.
var loggerPrefix = regexp.MustCompile(`^\s*(?:` +
	`[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+:\d+\] ` +
	`|\[?(?:\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|(?i:trace|debug|info|warn|warning|error|critical|fatal)\b).*[\]):|>-]\s*` +
	`)?$`)

var (
	starts      = [...][]byte{[]byte("##[start: comment]"), []byte("##[start: status]")}
	ends        = [...][]byte{[]byte("##[end: comment]"), []byte("##[end: status]")}
	startPrefix = []byte("##[start: ")
)

// markerFilter makes every marker begin a line. It removes a logger's prefix before the marker and puts other text on a separate line.
// A marker without an end stays unchanged, unless it is too long.
type markerFilter struct {
	buf     []byte
	scanned int  // bytes of buf that need no second scan
	midline bool // part of the line has been emitted
	prefix  int  // bytes of buf before the open marker
	open    int  // index+1 in starts; 0: no marker is open
}

func (m *markerFilter) held() int { return len(m.buf) }

func (m *markerFilter) push(text []byte) []byte {
	m.buf = append(m.buf, text...)
	out := make([]byte, 0, len(text)+1)
	for more := len(m.buf) > 0; more; {
		if m.open > 0 {
			out, more = m.scanMarker(out)
		} else {
			out, more = m.scanText(out)
		}
	}
	return out
}

// flush emits the held text unchanged.
func (m *markerFilter) flush() []byte { return m.emit(len(m.buf), nil) }

// scanText processes one line or the part of it that has been received. It returns false if it needs more text.
func (m *markerFilter) scanText(out []byte) ([]byte, bool) {
	line := m.buf
	nl := bytes.IndexByte(m.buf[m.scanned:], '\n') + m.scanned + 1
	if nl > m.scanned {
		line = m.buf[:nl]
	}
	if at, kind := findStart(line, m.scanned); kind > 0 {
		return m.beginMarker(at, kind, out), true
	}
	if nl > m.scanned {
		return m.emit(nl, out), len(m.buf) > 0
	}
	part := partialStart(line)
	if !m.midline && len(line) < maxLinePrefix {
		m.scanned = part
		return out, false
	}
	return m.emit(part, out), false
}

// beginMarker opens a marker at an offset of buf, and emits the text before it unless a logger wrote it.
func (m *markerFilter) beginMarker(at, kind int, out []byte) []byte {
	m.prefix = at
	fromLogger := !m.midline && at+len(starts[kind-1]) <= maxLinePrefix && loggerPrefix.Match(m.buf[:at])
	if !fromLogger {
		out = m.emit(at, out)
		m.prefix = 0
	}
	m.open, m.scanned = kind, m.prefix+len(starts[kind-1])
	return out
}

// scanMarker looks for the end of the open marker. It returns false if it needs more text.
func (m *markerFilter) scanMarker(out []byte) ([]byte, bool) {
	end, limit := ends[m.open-1], m.prefix+maxMarker
	within := m.buf[:min(len(m.buf), limit)]
	if i := bytes.Index(within[m.scanned:], end); i >= 0 {
		stop := m.scanned + i + len(end) - m.prefix
		if m.midline {
			out = append(out, '\n')
		}
		m.buf = m.buf[m.prefix:]
		return m.emit(stop, out), len(m.buf) > 0
	}
	if len(m.buf) >= limit {
		return m.cutMarker(out), true
	}
	m.scanned = max(m.scanned, len(m.buf)-len(end)+1)
	return out, false
}

// cutMarker ends the open marker, which is too long, so that the server shows its beginning.
func (m *markerFilter) cutMarker(out []byte) []byte {
	if m.midline {
		out = append(out, '\n')
	}
	end := ends[m.open-1]
	m.buf = m.buf[m.prefix:]
	n := maxMarker - len(cutNote) - len(end)
	for n > 0 && !utf8.RuneStart(m.buf[n]) {
		n--
	}
	out = append(append(append(m.emit(n, out), cutNote...), end...), '\n')
	m.midline = false
	return out
}

// emit appends the first n bytes of buf to out and continues with text.
func (m *markerFilter) emit(n int, out []byte) []byte {
	if n > 0 {
		m.midline = m.buf[n-1] != '\n'
	}
	out = append(out, m.buf[:n]...)
	m.buf, m.scanned, m.prefix, m.open = m.buf[n:], 0, 0, 0
	return out
}

// findStart finds the first marker at or after from. Kind 0 means that there is none.
func findStart(line []byte, from int) (at, kind int) {
	for {
		i := bytes.Index(line[from:], startPrefix)
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

// partialStart returns the offset of the longest suffix of text that may become a marker.
func partialStart(text []byte) int {
	for i := max(0, len(text)-len(starts[0])); i < len(text); i++ {
		for _, start := range starts {
			if bytes.HasPrefix(start, text[i:]) {
				return i
			}
		}
	}
	return len(text)
}
