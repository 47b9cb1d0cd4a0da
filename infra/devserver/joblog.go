package devserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// maxChunk is the maximum size of a log chunk in bytes.
const maxChunk = 8 << 20

// jobLog is the log of one task: its first bytes, up to a limit, and its size.
type jobLog struct {
	text    []byte
	limit   int64
	size    int64 // includes bytes beyond the limit, which are not stored
	total   int64 // -1: unknown
	tail    []byte
	markers logMarkers
}

func newJobLog(limit int64) jobLog { return jobLog{limit: limit, total: -1} }

// chunk is a received part of a log.
type chunk struct {
	from  int64
	text  []byte
	total int64 // -1: more chunks follow
}

// parseContentRange parses "bytes a-b/total", "bytes a-b/*" or "bytes */total", for a body of size bytes.
func parseContentRange(header string, size int) (from, total int64, err error) {
	bad := errorf(400, "Content-Range must be bytes a-b/*, bytes a-b/total or bytes */total, and match the body of %d bytes", size)
	span, end, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	if total = -1; end != "*" {
		if total, err = strconv.ParseInt(end, 10, 64); err != nil || total < 0 {
			return 0, 0, bad
		}
	}
	if span == "*" && size == 0 && total >= 0 {
		return total, total, nil
	}
	first, last, dash := strings.Cut(span, "-")
	from, err = strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !dash || err != nil || err2 != nil || from < 0 || to-from+1 != int64(size) || size == 0 {
		return 0, 0, bad
	}
	return from, total, nil
}

// inconsistency describes how a chunk contradicts the log, or returns "". A repeated chunk is consistent, even if it is longer now:
// the response to the first one may have been lost.
func (l *jobLog) inconsistency(c chunk) string {
	end := c.from + int64(len(c.text))
	switch {
	case c.from > l.size:
		return fmt.Sprintf("gap: the chunk begins at byte %d, but the log ends at byte %d", c.from, l.size)
	case l.total >= 0 && (end > l.total || c.total >= 0 && c.total != l.total):
		return fmt.Sprintf("the chunk ends at byte %d with total %d (-1: none), but the total was %d", end, c.total, l.total)
	case c.total >= 0 && (c.total != end || c.total < l.size):
		return fmt.Sprintf("the total is %d, but the chunk ends at byte %d and the log at byte %d", c.total, end, l.size)
	}
	if stored := int64(len(l.text)); c.from < stored {
		n := min(end, stored) - c.from
		if !bytes.Equal(c.text[:n], l.text[c.from:c.from+n]) {
			return fmt.Sprintf("overlap: the bytes from %d differ from the stored ones", c.from)
		}
	}
	return ""
}

// add appends a consistent chunk that begins at the end of the log, or is a repetition.
func (l *jobLog) add(c chunk) {
	if c.from == l.size {
		l.size += int64(len(c.text))
		free := max(0, l.limit-int64(len(l.text)))
		l.text = append(l.text, c.text[:min(free, int64(len(c.text)))]...)
		l.markers.scan(l.text)
	}
	if c.total >= 0 {
		l.total = c.total
	}
}

// containsSecret reports whether a new chunk contains a secret or the end of one that began in an earlier chunk.
func (l *jobLog) containsSecret(c chunk, secrets []msg.Secret) bool {
	longest := 1
	text := append(l.tail, c.text...)
	found := false
	for _, s := range secrets {
		longest = max(longest, len(s))
		found = found || bytes.Contains(text, []byte(s))
	}
	l.tail = bytes.Clone(text[max(0, len(text)-longest+1):])
	return found
}

func (a runnerAPI) AppendLog(w http.ResponseWriter, r *http.Request, jobID string, params api.AppendLogParams) {
	caller, err := a.authenticate(r)
	if err != nil {
		respond(w, err)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxChunk))
	if err != nil {
		respond(w, fmt.Errorf("read log chunk: %w", err))
		return
	}
	from, total, err := parseContentRange(params.ContentRange, len(text))
	if err != nil {
		respond(w, err)
		return
	}
	offset, err := a.appendLog(caller, jobID, chunk{from, text, total})
	if offset >= 0 {
		w.Header().Set("Log-Offset", strconv.FormatInt(offset, 10))
	}
	respond(w, err)
}

// appendLog returns the end of the log, or -1 if the error is not about the offset.
func (s *Server) appendLog(caller *runner, jobID string, c chunk) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	if err != nil {
		return -1, err
	}
	entry := t.entry("log", fmt.Sprintf("%d bytes at %d, total %d", len(c.text), c.from, c.total))
	entry.Runner = caller.id
	if t.view.Runner != caller.id || t.view.Started.IsZero() || t.view.Kind == api.KindScript {
		s.ledger.recordViolation("I3", entry)
		return -1, errorf(410, "job %s is a script or not confirmed by this runner: it has no log here", jobID)
	}
	if fault := t.log.inconsistency(c); fault != "" {
		entry.Detail = fault
		s.ledger.recordViolation("I7", entry)
		return t.log.size, errorf(409, "%s", fault)
	}
	if c.from < t.log.size && c.from+int64(len(c.text)) > t.log.size {
		return t.log.size, errorf(409, "the first bytes of the chunk are already stored: continue at byte %d", t.log.size)
	}
	if c.from == t.log.size && t.log.containsSecret(c, t.secrets) {
		s.ledger.recordViolation("I8", t.entry("log", fmt.Sprintf("password value in the bytes before %d", c.from+int64(len(c.text)))))
	}
	t.log.add(c)
	s.ledger.record(entry)
	t.changed.notify()
	return t.log.size, nil
}
