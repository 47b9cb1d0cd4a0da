// Package health serves the health endpoints: /live answers 200 if the process works, and /ready if the runner is ready. Otherwise they
// answer 503 with one reason per line.
//
// A runner that is not ready is not broken: it waits for the server or the engine, and jobs may be running. So a supervisor must not
// restart the runner because of /ready.
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

// Handler serves /live and /ready. It calls one of the functions for every request, from several goroutines. They must not block.
// notLive returns the reasons why the process does not work, and notReady those why the runner is not ready. Without a reason the
// answer is 200.
func Handler(notLive, notReady func() []string) http.Handler {
	mux := http.NewServeMux()
	for name, reasons := range map[string]func() []string{"live": notLive, "ready": notReady} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			if found := reasons(); len(found) > 0 {
				respond(w, http.StatusServiceUnavailable, strings.Join(found, "\n"))
				return
			}
			respond(w, http.StatusOK, name)
		})
	}
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
