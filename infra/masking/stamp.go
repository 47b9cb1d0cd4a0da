package masking

import (
	"bytes"
	"slices"
	"time"
)

// stampLayout is the format of the time that stamp adds.
const stampLayout = "2006-01-02T15:04:05.000Z "

// stamper adds the time of receipt to every line that has no time. It leaves markers unchanged, because the server parses them.
type stamper struct {
	midline bool // part of the current line has been emitted
}

// stamp adds times to text. Its first line was received at first, the others at rest. Text must contain each marker completely, and the
// first maxLinePrefix bytes of each line or the whole line.
func (s *stamper) stamp(text []byte, first, rest time.Time) []byte {
	if rest.IsZero() || len(text) == 0 {
		return text
	}
	var out []byte
	var copied int // bytes of text that are in out
	var unterminated [len(starts)]bool
	for at, n := first, 0; n < len(text); at = rest {
		line := text[n:]
		marker := markerEnd(line, &unterminated)
		if !s.midline && marker == 0 && !hasTime(line) {
			out = append(slices.Grow(out, len(line)+len(line)/4), text[copied:n]...)
			out = at.UTC().AppendFormat(out, stampLayout)
			copied = n
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
	return append(out, text[copied:]...)
}

// markerEnd returns the end of the marker at the beginning of text, the end of the marker's start if the marker is unterminated, or 0 if
// there is no marker. The array unterminated caches the kinds of marker that have no end in the rest of the text.
func markerEnd(text []byte, unterminated *[len(starts)]bool) int {
	if text[0] != '#' {
		return 0
	}
	for k, start := range starts {
		if !bytes.HasPrefix(text, start) {
			continue
		}
		if !unterminated[k] {
			if i := bytes.Index(text, ends[k]); i >= 0 {
				return i + len(ends[k])
			}
			unterminated[k] = true
		}
		return len(start)
	}
	return 0
}

// hasTime reports whether a line has a time of day, such as 15:04:05, in its first 48 bytes, or in its first 256 bytes if the line is
// JSON.
func hasTime(line []byte) bool {
	const maxBytes, maxBytesInJSON = 48, maxLinePrefix
	head := line[:min(len(line), maxBytes)]
	if line[0] == '{' {
		head = line[:min(len(line), maxBytesInJSON)]
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
