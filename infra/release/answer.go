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
	answerMax  = 64 << 20 // bytes of an answer in JSON: offers carry inputs
	problemMax = 64 << 10
	quoteMax   = 200              // bytes of a strange answer that a person sees
	retryMax   = 1 * time.Hour    // a server's mistake must not silence a runner for a year
	stallLimit = 30 * time.Second // between two pieces of an answer's body
)

// call sends a request and returns its answer when that has one of the statuses; closing its body ends it.
func (c *Client) call(ctx context.Context, op string, limit time.Duration, send func(context.Context) (*http.Response, error), statuses ...int) (*http.Response, error) {
	began := c.newest()
	limited, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %s", limit)) })
	res, err := send(limited)
	timer.Stop()
	if err != nil {
		defer cancel(nil)
		if limited.Err() != nil {
			err = context.Cause(limited)
		}
		return nil, fmt.Errorf("%s: %s: %w", op, c.server.Host, explain(err))
	}
	res.Body = &body{ReadCloser: res.Body, ctx: limited, cancel: cancel, left: answerMax}
	if slices.Contains(statuses, res.StatusCode) {
		return res, nil
	}
	defer res.Body.Close()
	err = refusal(op, res, statuses[0])
	if r := (*msg.Refusal)(nil); errors.As(err, &r) {
		r.Stale = c.newest() != began
	}
	return nil, err
}

// body is the body of an answer. It may be slow, but must not stand still, and has a limit in size.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	left   int64
}

func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(stallLimit, func() { b.cancel(fmt.Errorf("the answer stands still for %s", stallLimit)) })
	defer timer.Stop()
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, errors.New("the answer is larger than is taken")
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// refusal makes an error of an answer that was not asked for.
func refusal(op string, res *http.Response, wanted int) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, problemMax)) // what came of it is still worth showing
	r := &msg.Refusal{Op: op, Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"))}
	problem, isProblem := readProblem(res, text)
	switch {
	case res.StatusCode < 400:
		return strange(op, res, text, fmt.Sprintf("%d was expected", wanted))
	case !isProblem && r.Final():
		return strange(op, res, text, "with a problem document it would be the server's word")
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
		r.Detail = quote(text)
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

// strange is an answer that is not part of the protocol.
func strange(op string, res *http.Response, text []byte, why string) error {
	s := fmt.Sprintf("%s: %s answers %d", op, res.Request.URL.Host, res.StatusCode)
	if to := res.Header.Get("Location"); to != "" {
		s += fmt.Sprintf(" (go to %.200q)", to)
	}
	if q := quote(text); q != "" {
		s += fmt.Sprintf(" and %q", q)
	}
	return fmt.Errorf("%s; %s. Is there a proxy before the server, or is the server's URL another?", s, why)
}

// quote returns the beginning of a text, printable.
func quote(text []byte) string {
	clean := strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(string(text[:min(len(text), quoteMax)]), ""))
	return strings.Join(strings.Fields(clean), " ")
}

// retryAfter reads seconds or a date; zero: neither.
func retryAfter(value string) time.Duration {
	wait := time.Duration(0)
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		wait = time.Duration(min(max(n, 0), int64(retryMax/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = time.Until(at)
	}
	return min(max(wait, 0), retryMax)
}

func logOffset(op string, res *http.Response) (int64, error) {
	value := res.Header.Get("Log-Offset")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, strange(op, res, nil, fmt.Sprintf("its Log-Offset %.40q is not a number of bytes", value))
	}
	return n, nil
}
