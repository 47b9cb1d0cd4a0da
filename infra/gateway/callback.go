package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

const (
	readTime  = 40 * time.Second // for a body to arrive
	storeTime = 45 * time.Second // from the request's beginning; Python gives up at 60 (rule 9)
	storeWait = 500 * time.Millisecond
)

// serveCallbacks takes results and gives out large inputs, to whoever knows the path.
func (g *Gateway) serveCallbacks(w http.ResponseWriter, r *http.Request) {
	k, secret, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	g.mu.Lock()
	p, ok := g.paths[secret]
	g.mu.Unlock()
	if !ok || kind(k) != p.kind {
		http.NotFound(w, r)
		return
	}
	select {
	case p.door.calls <- struct{}{}:
		defer func() { <-p.door.calls }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at once", http.StatusTooManyRequests)
		return
	}
	switch {
	case p.kind == callbackPath && r.Method == http.MethodPost:
		p.door.called(w, r, p.job)
	case p.kind == inputPath && r.Method == http.MethodGet:
		p.door.fetched(w, p.job)
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// fetched answers with an input that is too large for the Secret.
func (d *door) fetched(w http.ResponseWriter, j *job) {
	if d.openJob() != j {
		http.Error(w, "the job is over", http.StatusNotFound)
		return
	}
	input, err := d.g.Store.Input(j.execution)
	if err != nil {
		d.log.Error().Err(err).Str("job", string(j.execution)).Msg("cannot read the input that a plugin fetches")
		http.Error(w, "the input cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, input) // a plugin that reads no more has itself to tell
}

// called takes what was posted to the URL of j. The answer is 204 unless a result that counts cannot be stored.
func (d *door) called(w http.ResponseWriter, r *http.Request, j *job) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTime)
	defer cancel()
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
	atWork := d.openJob()
	if atWork != j {
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, d.g.MaxResult))
		d.stray(j, atWork)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := d.receive(ctx, r.Body, j); err != nil {
		d.log.WithLevel(d.blame(j, zerolog.ErrorLevel)).Err(err).Str("job", string(j.execution)).Msg("a result could not be taken; the result file is left")
		http.Error(w, "the result could not be taken", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// receive reads a body and keeps it if it is the result of j. Nil: nothing is left to do for whoever sent it.
func (d *door) receive(ctx context.Context, from io.Reader, j *job) error {
	select {
	case d.bodies <- struct{}{}:
		defer func() { <-d.bodies }()
	case <-ctx.Done():
		return errors.New("another body is still on its way")
	}
	body, err := io.ReadAll(io.LimitReader(from, d.g.MaxResult+1))
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if int64(len(body)) > d.g.MaxResult {
		rest, _ := io.Copy(io.Discard, from) // bounded by the read deadline
		d.refuse(j, int64(len(body))+rest)
		return nil
	}
	res, ok := decode(j.key, body)
	if !ok {
		d.log.WithLevel(d.blame(j, zerolog.WarnLevel)).Str("job", string(j.execution)).Int("bytes", len(body)).Msg("a callback brought what is not the job's result")
		return nil
	}
	res.Via = msg.ViaCallback
	return d.storeOnAndOn(ctx, j, res)
}

// storeOnAndOn tries as long as the plugin waits for its answer.
func (d *door) storeOnAndOn(ctx context.Context, j *job, res msg.Result) error {
	for {
		err := d.take(j, res, "")
		if err == nil {
			return nil
		}
		d.log.Warn().Err(err).Str("job", string(j.execution)).Msg("cannot store a result, trying again")
		select {
		case <-time.After(storeWait):
		case <-ctx.Done():
			return err
		}
	}
}
