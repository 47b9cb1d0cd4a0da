package devserver

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/launchdarkly/eventsource"

	"runnerd/infra/release/api"
)

// forPeople is the REST API for people and for authors of plugins.
func (s *Server) forPeople() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/tasks", s.postTask)
	mux.HandleFunc("GET /api/tasks", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, s.Tasks()) })
	mux.HandleFunc("GET /api/tasks/{id}", s.getTask)
	mux.HandleFunc("GET /api/tasks/{id}/log", s.getLog)
	mux.HandleFunc("POST /api/tasks/{id}/abort", s.postAbort)
	mux.HandleFunc("GET /api/runners", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, s.Runners()) })
	mux.HandleFunc("PUT /api/runners/{id}/config", s.putConfig)
	mux.HandleFunc("DELETE /api/runners/{id}", func(w http.ResponseWriter, r *http.Request) { answer(w, s.Delete(r.PathValue("id"))) })
	mux.HandleFunc("GET /api/ledger", func(w http.ResponseWriter, r *http.Request) {
		answerJSON(w, 200, map[string]any{"breaches": s.ledger.Breaches(), "entries": s.ledger.Job(r.FormValue("job"))})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, refuse(404, "there is no %s %s: see /api/tasks, /api/runners, /api/ledger?job=… and /api/v1/openapi.yaml", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) postTask(w http.ResponseWriter, r *http.Request) {
	var request TaskRequest
	err := read(w, r, s.options.LargestBody, &request)
	id := ""
	if err == nil {
		id, err = s.Submit(request)
	}
	if err != nil {
		answer(w, err)
		return
	}
	w.Header().Set("Location", "/api/tasks/"+id)
	s.showTask(w, http.StatusCreated, id)
}

func (s *Server) getTask(w http.ResponseWriter, r *http.Request) {
	s.showTask(w, http.StatusOK, r.PathValue("id"))
}

func (s *Server) showTask(w http.ResponseWriter, status int, id string) {
	view, err := s.Task(id)
	if err != nil {
		answer(w, err)
		return
	}
	answerJSON(w, status, view)
}

func (s *Server) postAbort(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Reason string `json:"reason"`
	}
	var err error
	if r.ContentLength != 0 {
		err = read(w, r, smallBody, &body)
	}
	if err == nil {
		err = s.Abort(r.PathValue("id"), body.Reason)
	}
	answer(w, err)
}

func (s *Server) putConfig(w http.ResponseWriter, r *http.Request) {
	var config api.Config
	err := read(w, r, smallBody, &config, "enabled", "capacity", "evictionSeconds")
	if err == nil {
		err = s.Configure(r.PathValue("id"), func(c *api.Config) { *c = config })
	}
	answer(w, err)
}

func (s *Server) getLog(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	text, _, _, err := s.logFrom(id, 0)
	switch {
	case err != nil:
		answer(w, err)
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		s.followLog(w, r, id)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text)
	}
}

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
