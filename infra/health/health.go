// Package health answers whoever supervises the runner: /live, which is 200 while the process is up, and /ready, which is 200
// when nothing stands against it and else 503 with the reasons, a line each.
//
// A runner that is not ready is not broken: it waits for a server or an engine, with jobs that may be running. So only /ready
// ever says no, and nothing should be restarted because of it.
package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Handler answers /live and /ready. reasons is called for every request, from several goroutines, and must not block; it
// returns what stands against being ready, nothing when ready.
func Handler(reasons func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "live") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if against := reasons(); len(against) > 0 {
			answer(w, http.StatusServiceUnavailable, strings.Join(against, "\n"))
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) // whoever asked may be gone: nobody is left to tell
}

// Serve answers on the listener until ctx ends; requests under way are then answered first. The listener is closed on return.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	const patience = 5 * time.Second
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		stopped <- server.Shutdown(closing)
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health: %w", err)
	}
	return <-stopped
}
