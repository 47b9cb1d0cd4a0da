// Package control transports the CLI's commands to a running runner: HTTP with JSON over a Unix socket in the state directory, which only
// the owner of the socket and root can open.
//
//	GET  /status          the runner's status, as Commands.Status returns it
//	POST /drain           drain the runner; the answer has a line of JSON per progress update, and the last line has the outcome
//	POST /spool/resend    {"location"}: report a rejected job again
//	POST /spool/discard   {"location"}: delete an ended job, a rejected job or a quarantined record
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

// Commands are the functions that execute commands. They are called from several goroutines.
type Commands struct {
	// Status returns the runner's status as a value that marshals to JSON.
	Status func(context.Context) any
	// Drain drains the runner and reports progress. It returns nil when nothing runs any more, and an error if the runner ends before.
	Drain func(ctx context.Context, progress func(any)) error
	// Resend and Discard change the spool. The location is a path in the spool, as "runnerd spool ls" shows it.
	Resend, Discard func(ctx context.Context, location string) error
}

const (
	maxRequests = 16       // concurrent requests
	maxBody     = 64 << 10 // bytes
	timeout     = 5 * time.Second
)

// Serve serves commands on the listener until ctx ends, which also ends the contexts of open requests. It closes the listener.
func Serve(ctx context.Context, l net.Listener, commands Commands) error {
	server := &http.Server{
		Handler: handler(commands), ReadHeaderTimeout: timeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve commands: %w", err)
	}
	return <-stopped
}

func handler(commands Commands) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		respond(w, http.StatusOK, commands.Status(r.Context()))
	})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, r *http.Request) { drain(w, r, commands.Drain) })
	mux.HandleFunc("POST /spool/resend", func(w http.ResponseWriter, r *http.Request) { changeSpool(w, r, commands.Resend) })
	mux.HandleFunc("POST /spool/discard", func(w http.ResponseWriter, r *http.Request) { changeSpool(w, r, commands.Discard) })
	permits := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case permits <- struct{}{}:
			defer func() { <-permits }()
			mux.ServeHTTP(w, r)
		default:
			respond(w, http.StatusServiceUnavailable, errorResponse{"too many concurrent commands, try again"})
		}
	})
}

// errorResponse is the body of an answer with an error status.
type errorResponse struct {
	Error string `json:"error"`
}

// spoolRequest is the body of a request that changes the spool.
type spoolRequest struct {
	Location string `json:"location"`
}

func changeSpool(w http.ResponseWriter, r *http.Request, do func(context.Context, string) error) {
	var request spoolRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&request); err != nil {
		respond(w, http.StatusBadRequest, errorResponse{"read the request: " + err.Error()})
		return
	}
	if err := do(r.Context(), request.Location); err != nil {
		respond(w, http.StatusConflict, errorResponse{err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// drainUpdate is a line of the answer to a drain. The last line has Drained or Error.
type drainUpdate struct {
	Progress any    `json:"progress,omitempty"`
	Drained  bool   `json:"drained,omitempty"`
	Error    string `json:"error,omitempty"`
}

func drain(w http.ResponseWriter, r *http.Request, do func(context.Context, func(any)) error) {
	lines, control := json.NewEncoder(w), http.NewResponseController(w)
	send := func(u drainUpdate) {
		_ = lines.Encode(u) // fails only if the client is gone, and the drain continues without it
		_ = control.Flush()
	}
	w.Header().Set("Content-Type", "application/jsonl")
	_ = control.Flush() // the client sees that the drain has begun
	if err := do(r.Context(), func(progress any) { send(drainUpdate{Progress: progress}) }); err != nil {
		send(drainUpdate{Error: err.Error()})
		return
	}
	send(drainUpdate{Drained: true})
}

func respond(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"could not marshal the answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // fails only if the client is gone
}
