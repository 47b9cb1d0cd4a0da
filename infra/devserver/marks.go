package devserver

import "bytes"

const (
	keepComments = 1000
	longestMark  = 64 << 10 // from its ] to its end: a longer one is no mark
	markStart    = "##[start: "
)

// marks are the comments and the status line that stand in a log. They may span chunks.
type marks struct {
	comments []string
	status   string
	read     int // bytes of the log that need not be looked at again
}

// find reads what is new in a log.
func (m *marks) find(log []byte) {
	for {
		start := bytes.Index(log[m.read:], []byte(markStart))
		if start < 0 {
			m.read = max(m.read, len(log)-len(markStart)+1)
			return
		}
		m.read += start
		if n := m.take(log[m.read:]); n > 0 {
			m.read += n
		} else {
			return
		}
	}
}

// take reads the mark at the beginning of text and returns its length; 0: its end is still to come.
func (m *marks) take(text []byte) int {
	word, rest, ok := bytes.Cut(text[len(markStart):], []byte("]"))
	kind := string(word)
	if known := kind == "comment" || kind == "status"; !known {
		if !ok && len(word) < len("comment") {
			return 0
		}
		return len(markStart)
	}
	body, _, ok := bytes.Cut(rest[:min(len(rest), longestMark)], []byte("##[end: "+kind+"]"))
	if !ok {
		if len(rest) >= longestMark {
			return len(markStart)
		}
		return 0
	}
	content := string(bytes.TrimSpace(body))
	if kind == "status" {
		m.status = content
	} else {
		m.comments = appendBounded(m.comments, content, keepComments)
	}
	return len(markStart) + len(word) + 1 + len(body) + len("##[end: ]") + len(kind)
}
