package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

const (
	readTime  = 40 * time.Second // for a body to arrive
	storeTime = 45 * time.Second // from the request's beginning; Python gives up at 60 (rule 9)
)

// serveCallbacks takes results and gives out large inputs, to whoever knows the path.
func (g *Gateway) serveCallbacks(w http.ResponseWriter, r *http.Request) {
	k, secret, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	to, ok := g.routeOf(kind(k), secret)
	if !ok {
		http.NotFound(w, r)
		return
	}
	select {
	case to.endpoint.callbacks <- struct{}{}:
		defer func() { <-to.endpoint.callbacks }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests at once", http.StatusTooManyRequests)
		return
	}
	switch {
	case to.kind == callbackPath && r.Method == http.MethodPost:
		to.endpoint.callback(w, r, to)
	case to.kind == inputPath && r.Method == http.MethodGet:
		to.endpoint.giveInput(w, to)
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// giveInput answers with an input that is too large for the Secret.
func (e *endpoint) giveInput(w http.ResponseWriter, to route) {
	if e.currentJob() != to.execution {
		http.Error(w, "the job is over", http.StatusNotFound)
		return
	}
	input, err := e.g.Store.Input(to.execution)
	if err != nil {
		e.log.Error().Err(err).Str("job", string(to.execution)).Msg("could not read the input that a plugin fetches")
		http.Error(w, "the input cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, input) // a plugin that reads no more has only itself to tell
}

// callback takes what was posted to the URL of a job. The answer is 204 unless a result that counts could not be stored in time.
func (e *endpoint) callback(w http.ResponseWriter, r *http.Request, to route) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTime)
	defer cancel()
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
	current := e.currentJob()
	got, release, err := e.receive(ctx, r.Body, to)
	defer release()
	if err == nil {
		answer, there := e.await(ctx, func(id msg.RequestID) msg.SessionEvent {
			return msg.CallbackReceived{Request: id, Execution: to.execution, Current: current, Delivery: got}
		})
		if there {
			w.WriteHeader(answer.status)
			return
		}
		err = errors.New("it was not stored in time")
	}
	e.log.Warn().Err(err).Str("job", string(to.execution)).Msg("could not take the result that a callback brought; the result file remains")
	http.Error(w, "the result could not be taken", http.StatusServiceUnavailable)
}

// receive reads a body, of which one per executor is in memory until release. That of a job which is over is not kept.
func (e *endpoint) receive(ctx context.Context, from io.Reader, to route) (got msg.Delivery, release func(), err error) {
	release = func() {}
	if !to.newest {
		got.Size, _ = io.Copy(io.Discard, io.LimitReader(from, e.g.MaxResult))
		return got, release, nil
	}
	select {
	case e.bodies <- struct{}{}:
		release = func() { <-e.bodies }
	case <-ctx.Done():
		return got, release, errors.New("another body is still being received")
	}
	body, err := io.ReadAll(io.LimitReader(from, e.g.MaxResult+1))
	if err != nil {
		return got, release, fmt.Errorf("read body: %w", err)
	}
	got.Size = int64(len(body))
	if got.Size > e.g.MaxResult {
		rest, _ := io.Copy(io.Discard, from) // bounded by the read deadline
		return msg.Delivery{Verdict: msg.TooLarge, Size: got.Size + rest, Limit: e.g.MaxResult}, release, nil
	}
	if result, ok := decode(to.key, body); ok {
		result.Via = msg.ViaCallback
		got.Verdict, got.Result = msg.IsResult, result
	}
	return got, release, nil
}

// unreadable is the exit code of a result that was encrypted with the job's key, and so is the job's, but is no JSON.
const unreadable = -1

// decode checks that the body belongs to the key, base64 text or raw. Its text does not matter (rule 11): what decrypts is
// the result. Nothing belongs to a key that is not known, which is the zero one.
func decode(key seal.Key, body []byte) (msg.Result, bool) {
	if key == (seal.Key{}) {
		return msg.Result{}, false
	}
	if !isText(body) {
		body = base64.StdEncoding.AppendEncode(nil, body)
	}
	plain, err := seal.Decrypt(key, body)
	if err != nil {
		return msg.Result{}, false
	}
	inside := struct {
		ExitCode int `json:"exitCode"`
	}{}
	if json.Unmarshal(plain, &inside) != nil {
		inside.ExitCode = unreadable
	}
	return msg.Result{Body: body, ExitCode: inside.ExitCode}, true
}

// isText tells base64 text from the raw bytes that some clients send.
func isText(body []byte) bool {
	return len(bytes.Trim(body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t ")) == 0
}
