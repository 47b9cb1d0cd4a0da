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

// logFrom returns the log from an offset, a channel that is closed when the task changes, and whether the log is complete.
func (s *Server) logFrom(id string, offset int) (text []byte, changed <-chan struct{}, done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil {
		return nil, nil, false, err
	}
	// Stored bytes never change, so the slice may be read without the lock. Its capacity is its length, so that an append copies it.
	text = t.log.text[min(offset, len(t.log.text)):len(t.log.text):len(t.log.text)]
	return text, t.changed.wait(), t.logComplete(), nil
}

// CopyLog writes the log of a task as it grows, and returns when the log is complete.
func (s *Server) CopyLog(ctx context.Context, id string, to io.Writer) error {
	for offset := 0; ; {
		text, changed, done, err := s.logFrom(id, offset)
		if err != nil {
			return err
		}
		offset += len(text)
		if _, err := to.Write(text); err != nil || done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// logEvent is an event with one or more log lines. Its id is the offset at which they end.
type logEvent struct {
	name, text string
	endOffset  int
}

func (l logEvent) Id() string    { return strconv.Itoa(l.endOffset) } //nolint:revive // the library's name
func (l logEvent) Event() string { return l.name }
func (l logEvent) Data() string  { return l.text }

// followLog sends complete lines as "log" events while the log grows, and then the task's state as the "end" event.
func (s *Server) followLog(w http.ResponseWriter, r *http.Request, id string) {
	if !s.beginLongRequest() {
		respond(w, errClosing)
		return
	}
	defer s.longRequests.Done()
	offset, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	offset = max(0, offset)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	controller, encoder := http.NewResponseController(w), eventsource.NewEncoder(w, false)
	for {
		text, changed, done, err := s.logFrom(id, offset)
		if err != nil {
			return // the task was deleted meanwhile
		}
		if !done {
			text = text[:bytes.LastIndexByte(text, '\n')+1]
		}
		if len(text) > 0 {
			offset += len(text)
			err = encoder.Encode(logEvent{"log", strings.TrimSuffix(string(text), "\n"), offset})
		}
		if done {
			view, _ := s.Task(id)
			_ = encoder.Encode(logEvent{"end", string(view.State), offset})
			return
		}
		if controller.Flush() != nil || err != nil {
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
