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

// Serve answers executors until ctx ends; a GET that waits is then answered 503, so that the plugin comes again (rule 6), and
// callbacks that are under way are answered as long as somebody hears Requests. It returns when nothing of it is left.
func (g *Gateway) Serve(ctx context.Context) error {
	secrets := g.server(g.serveSecrets)
	secrets.TLSConfig = &tls.Config{Certificates: []tls.Certificate{g.certificate}, MinVersion: tls.VersionTLS12}
	callbacks := g.server(g.serveCallbacks)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.watchFiles(ctx) })
	group.Go(func() error { return secrets.ServeTLS(counted{g.Listeners.Secrets}, "", "") })
	group.Go(func() error { return callbacks.Serve(g.Listeners.Callbacks) })
	group.Go(func() error {
		<-ctx.Done()
		for _, e := range g.all() {
			e.close(g.comeAgain("the runner is being restarted"), false)
		}
		return errors.Join(finish(secrets), finish(callbacks), g.files.Close())
	})
	err := group.Wait()
	g.work.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (g *Gateway) server(answer http.HandlerFunc) *http.Server {
	return &http.Server{
		Handler:           answer,
		ErrorLog:          stdlog.New(g.Log, "", 0),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       10 * time.Minute, // between the jobs of an executor; its GET waits meanwhile
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxRequests},
		ConnContext:       withConnection,
	}
}

// finish lets answers leave, results above all, and then ends what is left.
func finish(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return s.Close()
	}
	return nil
}
