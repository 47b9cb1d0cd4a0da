package devserver

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/launchdarkly/eventsource"
)

// logFrom returns the log from an offset on, a channel that is closed when the task changes, and whether that is all.
func (s *Server) logFrom(id string, offset int) (text []byte, changed <-chan struct{}, over bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil {
		return nil, nil, false, err
	}
	// What is in the log never changes, so the slice may be read after the lock; it cannot be appended to.
	text = t.log.text[min(offset, len(t.log.text)):len(t.log.text):len(t.log.text)]
	return text, t.changed.wait(), t.quiet(), nil
}

// CopyLog writes the log of a task while it comes, to its end.
func (s *Server) CopyLog(ctx context.Context, id string, to io.Writer) error {
	for offset := 0; ; {
		text, changed, over, err := s.logFrom(id, offset)
		if err != nil {
			return err
		}
		offset += len(text)
		if _, err := to.Write(text); err != nil || over {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lines is an event with one line of the log or more; its id is the offset after them.
type lines struct {
	name, text string
	next       int
}

func (l lines) Id() string    { return strconv.Itoa(l.next) } //nolint:revive // the library's name
func (l lines) Event() string { return l.name }
func (l lines) Data() string  { return l.text }

// followLog sends whole lines as events "log" while they come, and the event "end" with the task's state after the last.
func (s *Server) followLog(w http.ResponseWriter, r *http.Request, id string) {
	if !s.hold() {
		answer(w, errClosing)
		return
	}
	defer s.held.Done()
	offset, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	offset = max(0, offset)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	flush, encoder := http.NewResponseController(w), eventsource.NewEncoder(w, false)
	for {
		text, changed, over, err := s.logFrom(id, offset)
		if err != nil {
			return // forgotten meanwhile
		}
		if !over {
			text = text[:bytes.LastIndexByte(text, '\n')+1]
		}
		if len(text) > 0 {
			offset += len(text)
			err = encoder.Encode(lines{"log", strings.TrimSuffix(string(text), "\n"), offset})
		}
		if over {
			view, _ := s.Task(id)
			_ = encoder.Encode(lines{"end", string(view.State), offset})
			return
		}
		if flush.Flush() != nil || err != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.closing.Done():
			return
		}
	}
}
