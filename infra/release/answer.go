package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

const (
	maxAnswer     = 64 << 20 // bytes of a JSON answer; offers contain inputs
	maxProblem    = 64 << 10
	maxExcerpt    = 200              // bytes of an invalid answer that are shown
	maxRetryAfter = 1 * time.Hour    // so that a wrong header does not silence a runner for a year
	stallTimeout  = 30 * time.Second // between two reads of a body
	minRate       = 256              // bytes per second of a body, after the time that an answer may take
)

// call sends a request and returns the answer if it has one of the statuses. The caller must close its body.
func (c *Client) call(ctx context.Context, op string, limit time.Duration, send func(context.Context) (*http.Response, error), statuses ...int) (*http.Response, error) {
	credentials := c.currentCredentials()
	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %s", limit)) })
	res, err := send(limited)
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		if limited.Err() != nil {
			err = context.Cause(limited)
		}
		return nil, fmt.Errorf("%s: %s: %w", op, c.server.Host, withHint(err))
	}
	res.Body = &body{ReadCloser: res.Body, ctx: limited, cancel: cancel, remaining: maxAnswer, began: time.Now()}
	if slices.Contains(statuses, res.StatusCode) {
		return res, nil
	}
	defer res.Body.Close()
	err = refusal(op, res, statuses[0])
	if r := (*msg.Refusal)(nil); errors.As(err, &r) {
		r.Stale = c.currentCredentials() != credentials
	}
	return nil, err
}

// body is the body of an answer. It limits the size and the time without progress, and requires a minimum rate.
type body struct {
	io.ReadCloser
	ctx       context.Context
	cancel    context.CancelCauseFunc
	remaining int64
	began     time.Time // zero: no minimum rate
	received  int64
}

func (b *body) Read(p []byte) (int, error) {
	limit, reason := stallTimeout, fmt.Errorf("the answer made no progress for %s", stallTimeout)
	if allowed := b.allowedTime(); allowed < limit {
		limit, reason = allowed, fmt.Errorf("the answer is slower than %d bytes per second", minRate)
	}
	timer := time.AfterFunc(limit, func() { b.cancel(reason) })
	defer timer.Stop()
	n, err := b.ReadCloser.Read(p)
	b.received += int64(n)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	if b.remaining -= int64(n); b.remaining < 0 {
		return 0, errors.New("the answer exceeds the size limit")
	}
	return n, err
}

// allowedTime returns how long the next read may take at the minimum rate.
func (b *body) allowedTime() time.Duration {
	if b.began.IsZero() {
		return stallTimeout
	}
	return answerTimeout(0) + time.Duration(b.received)*time.Second/minRate - time.Since(b.began)
}

func (b *body) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// refusal returns the error for an answer with another status than wanted.
func refusal(op string, res *http.Response, wanted int) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // a part is still worth showing
	r := &msg.Refusal{Op: op, Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"))}
	problem, isProblem := readProblem(res, text)
	switch {
	case res.StatusCode < 400:
		return protocolError(op, res, text, fmt.Sprintf("expected HTTP %d", wanted))
	case !isProblem && r.Final():
		return protocolError(op, res, text, "expected a problem document")
	case op == "log" && res.StatusCode == http.StatusConflict:
		var err error
		if r.Offset, err = logOffset(op, res); err != nil {
			return err
		}
	}
	if r.Detail = problem.Detail; r.Detail == "" {
		r.Detail = problem.Title
	}
	if !isProblem {
		r.Detail = excerpt(text)
	}
	return r
}

func readProblem(res *http.Response, text []byte) (p api.Problem, ok bool) {
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if media != "application/problem+json" && media != "application/json" {
		return p, false
	}
	err := json.Unmarshal(text, &p)
	return p, err == nil && (p.Title != "" || p.Detail != "" || p.Status != 0)
}

// protocolError returns the error for an answer that violates the protocol.
func protocolError(op string, res *http.Response, text []byte, reason string) error {
	if to := res.Header.Get("Location"); to != "" {
		reason += fmt.Sprintf("; it redirects to %.200q", to)
	}
	if q := excerpt(text); q != "" {
		reason += fmt.Sprintf("; the body begins with %q", q)
	}
	return fmt.Errorf("%s: %s: HTTP %d, but not from a Release server (%s): check the path of --release-url and any proxy",
		op, res.Request.URL.Host, res.StatusCode, reason)
}

// excerpt returns the beginning of a text as printable characters.
func excerpt(text []byte) string {
	clean := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(text[:min(len(text), maxExcerpt)]), ""))
	return strings.Join(strings.Fields(clean), " ")
}

// retryAfter parses seconds or a date. It returns 0 if value is neither.
func retryAfter(value string) time.Duration {
	wait := time.Duration(0)
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		wait = time.Duration(min(max(n, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), maxRetryAfter)
}

func logOffset(op string, res *http.Response) (int64, error) {
	value := res.Header.Get("Log-Offset")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, protocolError(op, res, nil, fmt.Sprintf("Log-Offset is %.40q, expected a number of bytes", value))
	}
	return n, nil
}
