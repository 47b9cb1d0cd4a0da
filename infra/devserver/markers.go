package devserver

import "bytes"

const (
	maxComments    = 1000
	maxMarkerBytes = 64 << 10 // from its ] to its end; a longer marker is plain text
	markerStart    = "##[start: "
)

// logMarkers are the comments and the status line in a log. A marker may span chunks.
type logMarkers struct {
	comments []string
	status   string
	scanned  int // bytes of the log that need not be scanned again
}

// scan reads the new part of a log.
func (m *logMarkers) scan(log []byte) {
	for {
		start := bytes.Index(log[m.scanned:], []byte(markerStart))
		if start < 0 {
			m.scanned = max(m.scanned, len(log)-len(markerStart)+1)
			return
		}
		m.scanned += start
		if n := m.parseMarker(log[m.scanned:]); n > 0 {
			m.scanned += n
		} else {
			return
		}
	}
}

// parseMarker parses the marker at the beginning of text and returns its length, or 0 if its end is not there yet.
func (m *logMarkers) parseMarker(text []byte) int {
	word, rest, ok := bytes.Cut(text[len(markerStart):], []byte("]"))
	kind := string(word)
	if known := kind == "comment" || kind == "status"; !known {
		if !ok && len(word) < len("comment") {
			return 0
		}
		return len(markerStart)
	}
	body, _, ok := bytes.Cut(rest[:min(len(rest), maxMarkerBytes)], []byte("##[end: "+kind+"]"))
	if !ok {
		if len(rest) >= maxMarkerBytes {
			return len(markerStart)
		}
		return 0
	}
	content := string(bytes.TrimSpace(body))
	if kind == "status" {
		m.status = content
	} else {
		m.comments = appendBounded(m.comments, content, maxComments)
	}
	return len(markerStart) + len(word) + 1 + len(body) + len("##[end: ]") + len(kind)
}
