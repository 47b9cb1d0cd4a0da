package devserver

import (
	"net/http"
	"strings"

	"runnerd/infra/release/api"
)

// restHandler returns the REST API for users and plugin authors.
func (s *Server) restHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/tasks", s.postTask)
	mux.HandleFunc("GET /api/tasks", func(w http.ResponseWriter, _ *http.Request) { respondJSON(w, 200, s.Tasks()) })
	mux.HandleFunc("GET /api/tasks/{id}", s.getTask)
	mux.HandleFunc("GET /api/tasks/{id}/log", s.getLog)
	mux.HandleFunc("POST /api/tasks/{id}/abort", s.postAbort)
	mux.HandleFunc("GET /api/runners", func(w http.ResponseWriter, _ *http.Request) { respondJSON(w, 200, s.Runners()) })
	mux.HandleFunc("PUT /api/runners/{id}/config", s.putConfig)
	mux.HandleFunc("POST /api/runners/{id}/enable", func(w http.ResponseWriter, r *http.Request) { respond(w, s.enable(r.PathValue("id"), true)) })
	mux.HandleFunc("POST /api/runners/{id}/disable", func(w http.ResponseWriter, r *http.Request) { respond(w, s.enable(r.PathValue("id"), false)) })
	mux.HandleFunc("POST /api/runners/{id}/ping", func(w http.ResponseWriter, r *http.Request) { respond(w, s.sendPing(r.PathValue("id"))) })
	mux.HandleFunc("DELETE /api/runners/{id}", func(w http.ResponseWriter, r *http.Request) { respond(w, s.Delete(r.PathValue("id"))) })
	mux.HandleFunc("GET /api/ledger", func(w http.ResponseWriter, r *http.Request) {
		entries := s.ledger.Entries()
		if job := r.FormValue("job"); job != "" {
			entries = s.ledger.Job(job)
		}
		respondJSON(w, 200, map[string]any{"violations": s.ledger.Violations(), "entries": entries})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		respond(w, errorf(404, "%s %s not found: see /api/tasks, /api/runners, /api/ledger?job=… and /api/v1/openapi.yaml", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) postTask(w http.ResponseWriter, r *http.Request) {
	var request TaskRequest
	id, err := "", decodeStrictJSON(w, r, s.options.MaxBody, &request)
	if err == nil {
		id, err = s.Submit(request)
	}
	if err != nil {
		respond(w, err)
		return
	}
	w.Header().Set("Location", "/api/tasks/"+id)
	s.respondTask(w, http.StatusCreated, id)
}

func (s *Server) getTask(w http.ResponseWriter, r *http.Request) {
	s.respondTask(w, http.StatusOK, r.PathValue("id"))
}

func (s *Server) respondTask(w http.ResponseWriter, status int, id string) {
	view, err := s.Task(id)
	if err != nil {
		respond(w, err)
		return
	}
	respondJSON(w, status, view)
}

func (s *Server) postAbort(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Reason string `json:"reason"`
	}
	var err error
	if r.ContentLength != 0 {
		err = decodeStrictJSON(w, r, maxSmallBody, &body)
	}
	if err == nil {
		err = s.Abort(r.PathValue("id"), body.Reason)
	}
	respond(w, err)
}

func (s *Server) putConfig(w http.ResponseWriter, r *http.Request) {
	var config api.Config
	err := decodeStrictJSON(w, r, maxSmallBody, &config, "enabled", "capacity", "evictionSeconds")
	if err == nil {
		err = s.Configure(r.PathValue("id"), func(c *api.Config) { *c = config })
	}
	respond(w, err)
}

func (s *Server) getLog(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	text, _, _, err := s.logFrom(id, 0)
	switch {
	case err != nil:
		respond(w, err)
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		s.followLog(w, r, id)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text)
	}
}
