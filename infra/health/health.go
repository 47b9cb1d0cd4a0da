// Package health serves the health endpoints: /live answers 200 while the process runs; /ready answers 200 if the runner is ready, and
// otherwise 503 with one reason per line.
//
// A runner that is not ready is not broken: it waits for the server or the engine, and jobs may be running. So /live never fails, and a
// supervisor must not restart the runner because of /ready.
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

// Handler serves /live and /ready. It calls reasons for every request, from several goroutines. reasons must not block; it returns why the
// runner is not ready, or nothing if it is ready.
func Handler(reasons func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "live") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if notReady := reasons(); len(notReady) > 0 {
			respond(w, http.StatusServiceUnavailable, strings.Join(notReady, "\n"))
			return
		}
		respond(w, http.StatusOK, "ready")
	})
	return mux
}

func respond(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text) // fails only if the client is gone
}

// Serve serves h on the listener until ctx ends, and then completes the open requests. It closes the listener.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	const timeout = 5 * time.Second
	server := &http.Server{Handler: h, ReadHeaderTimeout: timeout, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err := server.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health: %w", err)
	}
	return <-stopped
}
