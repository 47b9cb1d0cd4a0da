package masking

import (
	"bytes"
	"slices"
	"time"
)

// stampLayout is what a line begins with that bears no time of its own.
const stampLayout = "2006-01-02T15:04:05.000Z "

// stamper puts the time of its receipt before every line that bears none. Lines of a marker are the server's to read: they stay.
type stamper struct {
	midline bool // part of the line has left already
}

// stamp takes text of which a marker is never parted, and of a line that begins at least the head, where that is longer. Its
// first line is as old as first.
func (s *stamper) stamp(text []byte, first, then time.Time) []byte {
	if then.IsZero() || len(text) == 0 {
		return text
	}
	var out []byte
	var kept int // of text, in out
	var endless [len(starts)]bool
	for at, n := first, 0; n < len(text); at = then {
		line := text[n:]
		marker := endOfMarker(line, &endless)
		if !s.midline && marker == 0 && !bearsTime(line) {
			out = append(slices.Grow(out, len(line)+len(line)/4), text[kept:n]...)
			out = at.UTC().AppendFormat(out, stampLayout)
			kept = n
		}
		if nl := bytes.IndexByte(line[marker:], '\n'); nl >= 0 {
			n += marker + nl + 1
		} else {
			n = len(text)
		}
		s.midline = text[n-1] != '\n'
	}
	if out == nil {
		return text
	}
	return append(out, text[kept:]...)
}

// endOfMarker is where the marker ends that text begins with, or its start, if there is no end; 0: it begins with none. Endless
// are the kinds of which no end is in the text any more.
func endOfMarker(text []byte, endless *[len(starts)]bool) int {
	if text[0] != '#' {
		return 0
	}
	for k, start := range starts {
		if !bytes.HasPrefix(text, start) {
			continue
		}
		if !endless[k] {
			if i := bytes.Index(text, ends[k]); i >= 0 {
				return i + len(ends[k])
			}
			endless[k] = true
		}
		return len(start)
	}
	return 0
}

// bearsTime reports whether a line has a time of day, such as 15:04:05, where loggers write it: at its beginning, or
// anywhere near it in a line of JSON.
func bearsTime(line []byte) bool {
	const near, nearInJSON = 48, longHead
	head := line[:min(len(line), near)]
	if line[0] == '{' {
		head = line[:min(len(line), nearInJSON)]
	}
	if nl := bytes.IndexByte(head, '\n'); nl >= 0 {
		head = head[:nl]
	}
	for i := 2; i+5 < len(head); i++ {
		if head[i] == ':' && head[i+3] == ':' && digits(head[i-2:i]) && digits(head[i+1:i+3]) && digits(head[i+4:i+6]) {
			return true
		}
	}
	return false
}

func digits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
