package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	stdlog "log"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve serves executors until ctx ends. Then it answers pending GETs with 503, so that plugins retry (rule 6), and waits up to
// 5 s for open callbacks, which the session still receives through Requests. It returns when all its goroutines have ended.
func (g *Gateway) Serve(ctx context.Context) error {
	secrets := g.server(g.serveSecrets)
	secrets.TLSConfig = &tls.Config{Certificates: []tls.Certificate{g.certificate}, MinVersion: tls.VersionTLS12}
	callbacks := g.server(g.serveCallbacks)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.watchResultFiles(ctx) })
	group.Go(func() error { return secrets.ServeTLS(countingListener{g.Listeners.Secrets}, "", "") })
	group.Go(func() error { return callbacks.Serve(g.Listeners.Callbacks) })
	group.Go(func() error {
		<-ctx.Done()
		for _, e := range g.allEndpoints() {
			e.close(g.unavailable(), false)
		}
		return errors.Join(shutdown(secrets), shutdown(callbacks), g.watcher.Close())
	})
	err := group.Wait()
	g.tasks.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (g *Gateway) server(handler http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler:           handler,
		ErrorLog:          stdlog.New(g.Log, "", 0),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute, // a pending GET does not count as idle
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxRequests},
		ConnContext:       withConnection,
	}
}

// shutdown waits up to 5 s for open requests, above all callbacks, and then closes the remaining connections.
func shutdown(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return s.Close()
	}
	return nil
}
