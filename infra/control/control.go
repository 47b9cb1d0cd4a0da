// Package control is the door through which people's commands reach a runner that lives: HTTP with JSON on a Unix socket in its
// state directory, which only its owner (and root) can open.
//
//	GET  /status          how the runner fares, as the program describes it
//	POST /drain           drain and end; the answer is a line of JSON for every progress, the last one says how it ended
//	POST /spool/resend    {"place"}: send what the server refused once more
//	POST /spool/discard   {"place"}: forget what is over
//
// The package carries questions and answers; what they mean is the program's.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Program is what the door opens. Its functions are called from several goroutines.
type Program struct {
	// Status describes the runner, as a value for JSON.
	Status func(context.Context) any
	// Drain drains the runner and tells how far it is, until nothing runs any more (nil) or it ends otherwise.
	Drain func(ctx context.Context, progress func(any)) error
	// Resend and Discard change the spool; place is where an inspection found it.
	Resend, Discard func(ctx context.Context, place string) error
}

const (
	most     = 16 // requests at once
	longest  = 64 << 10
	patience = 5 * time.Second
)

// Serve answers at the listener until ctx ends; requests under way are then ended. The listener is closed on return.
func Serve(ctx context.Context, l net.Listener, p Program) error {
	server := &http.Server{
		Handler: handler(p), ReadHeaderTimeout: patience, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		stopped <- server.Shutdown(closing)
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve commands: %w", err)
	}
	return <-stopped
}

func handler(p Program) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, p.Status(r.Context())) })
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) { drain(w, r, p.Drain) })
	mux.HandleFunc("POST /spool/resend", func(w http.ResponseWriter, r *http.Request) { change(w, r, p.Resend) })
	mux.HandleFunc("POST /spool/discard", func(w http.ResponseWriter, r *http.Request) { change(w, r, p.Discard) })
	places := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			mux.ServeHTTP(w, r)
		default:
			answer(w, http.StatusServiceUnavailable, problem{"too many commands at once"})
		}
	})
}

// problem is the answer to what could not be done.
type problem struct {
	Error string `json:"error"`
}

// request says what a change is about.
type request struct {
	Place string `json:"place"`
}

func change(w http.ResponseWriter, r *http.Request, do func(context.Context, string) error) {
	var about request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, longest)).Decode(&about); err != nil {
		answer(w, http.StatusBadRequest, problem{"read the request: " + err.Error()})
		return
	}
	if err := do(r.Context(), about.Place); err != nil {
		answer(w, http.StatusConflict, problem{err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// step is a line of a drain's answer. The last one has Drained or Error.
type step struct {
	Progress any    `json:"progress,omitempty"`
	Drained  bool   `json:"drained,omitempty"`
	Error    string `json:"error,omitempty"`
}

func drain(w http.ResponseWriter, r *http.Request, do func(context.Context, func(any)) error) {
	lines, control := json.NewEncoder(w), http.NewResponseController(w)
	say := func(s step) {
		_ = lines.Encode(s) // whoever asked may be gone: the drain goes on
		_ = control.Flush()
	}
	w.Header().Set("Content-Type", "application/jsonl")
	_ = control.Flush() // that it has begun
	if err := do(r.Context(), func(progress any) { say(step{Progress: progress}) }); err != nil {
		say(step{Error: err.Error()})
		return
	}
	say(step{Drained: true})
}

func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked may be gone
}
