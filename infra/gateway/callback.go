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
	readTimeout  = 40 * time.Second // from the start of the request until its body has arrived
	storeTimeout = 45 * time.Second // from the start of the request until it is answered; the Python SDK gives up after 60 s (rule 9)
)

// serveCallbacks receives results and serves large inputs. The secret in the path is the authentication.
func (g *Gateway) serveCallbacks(w http.ResponseWriter, r *http.Request) {
	k, secret, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	to, ok := g.findRoute(routeKind(k), secret)
	if !ok {
		http.NotFound(w, r)
		return
	}
	select {
	case to.endpoint.callbacks <- struct{}{}:
		defer func() { <-to.endpoint.callbacks }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many concurrent requests", http.StatusTooManyRequests)
		return
	}
	switch {
	case to.kind == callbackRoute && r.Method == http.MethodPost:
		to.endpoint.serveCallback(w, r, to)
	case to.kind == inputRoute && r.Method == http.MethodGet:
		to.endpoint.serveInput(w, to)
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

// serveInput serves an input that is too large for the Secret.
func (e *endpoint) serveInput(w http.ResponseWriter, to route) {
	if e.currentJob() != to.execution {
		http.Error(w, "not the current job", http.StatusNotFound)
		return
	}
	input, err := e.g.Store.Input(to.execution)
	if err != nil {
		e.log.Error().Err(err).Str("execution", string(to.execution)).Msg("could not read the input that a plugin fetches")
		http.Error(w, "could not read the input", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, input) // fails only if the plugin is gone
}

// serveCallback receives a POST to the callback URL of a job. It answers 204 when the session has accepted the callback, and 503 if it
// could not read the body or the session did not answer in time.
func (e *endpoint) serveCallback(w http.ResponseWriter, r *http.Request, to route) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	current := e.currentJob()
	received, release, err := e.readBody(ctx, r.Body, to)
	defer release()
	if err == nil {
		answer, answered := e.await(ctx, func(id msg.RequestID) msg.SessionEvent {
			return msg.CallbackReceived{Request: id, Execution: to.execution, Current: current, ReceivedBody: received}
		})
		if answered {
			w.WriteHeader(answer.status)
			return
		}
		err = errors.New("not stored in time, or the plugin closed the connection")
	}
	e.log.Warn().Err(err).Str("execution", string(to.execution)).Msg("could not accept a callback; its result may still come by file")
	http.Error(w, "could not store the result", http.StatusServiceUnavailable)
}

// readBody reads and decrypts a callback's body. Each executor has at most one body in memory: the next one is not read until
// release is called. The body for an older job is discarded.
func (e *endpoint) readBody(ctx context.Context, r io.Reader, to route) (got msg.ReceivedBody, release func(), err error) {
	release = func() {}
	if !to.newest {
		got.Size, _ = io.Copy(io.Discard, io.LimitReader(r, e.g.MaxResult))
		return got, release, nil
	}
	select {
	case e.bodies <- struct{}{}:
		release = func() { <-e.bodies }
	case <-ctx.Done():
		return got, release, errors.New("another body is still being received")
	}
	body, err := io.ReadAll(io.LimitReader(r, e.g.MaxResult+1))
	if err != nil {
		return got, release, fmt.Errorf("read body: %w", err)
	}
	got.Size = int64(len(body))
	if got.Size > e.g.MaxResult {
		rest, _ := io.Copy(io.Discard, r) // bounded by the read deadline
		return msg.ReceivedBody{Verdict: msg.TooLarge, Size: got.Size + rest, Limit: e.g.MaxResult}, release, nil
	}
	if result, ok := decryptResult(to.key, body); ok {
		result.Via = msg.ViaCallback
		got.Verdict, got.Result = msg.IsResult, result
	}
	return got, release, nil
}

// unparsableExitCode is the exit code of a result that is encrypted with the job's key but is not JSON.
const unparsableExitCode = -1

// decryptResult decrypts a body, which is base64 text or raw bytes. A body that decrypts with the job's key is its result, whatever its
// content (rule 11). The zero key means that the key is unknown; then no body is a result.
func decryptResult(key seal.Key, body []byte) (msg.Result, bool) {
	if key == (seal.Key{}) {
		return msg.Result{}, false
	}
	if !isBase64(body) {
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
		inside.ExitCode = unparsableExitCode
	}
	return msg.Result{Body: body, ExitCode: inside.ExitCode}, true
}

// isBase64 distinguishes base64 text from the raw bytes that some clients send.
func isBase64(body []byte) bool {
	return len(bytes.Trim(body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t ")) == 0
}
