package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
)

// ErrNoRunner is wrapped where no runner answers in the directory.
var ErrNoRunner = errors.New("no runner answers")

// Client asks the runner of a state directory.
type Client struct {
	http *http.Client
	dir  string
}

// NewClient asks nothing yet.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = at(dir, func(address string) (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", address)
			return err
		})
		return conn, err
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, dir: dir}
}

// Status reads how the runner fares into v.
func (c *Client) Status(ctx context.Context, v any) error {
	body, err := c.do(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("read the runner's answer: %w", err)
	}
	return nil
}

// Resend has what the server refused sent once more.
func (c *Client) Resend(ctx context.Context, place string) error {
	return c.change(ctx, "resend", place)
}

// Discard has what is over forgotten.
func (c *Client) Discard(ctx context.Context, place string) error {
	return c.change(ctx, "discard", place)
}

func (c *Client) change(ctx context.Context, verb, place string) error {
	body, err := c.do(ctx, http.MethodPost, "/spool/"+verb, request{place})
	if err != nil {
		return err
	}
	return body.Close()
}

// Drain returns nil once nothing runs any more and the runner is about to end. P is what it tells on the way.
func Drain[P any](ctx context.Context, c *Client, progress func(P)) error {
	body, err := c.do(ctx, http.MethodPost, "/drain", struct{}{})
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var s struct {
			step
			Progress *P `json:"progress"`
		}
		switch err := lines.Decode(&s); {
		case err != nil:
			return fmt.Errorf("the runner has ended before it was drained (its log says why): %w", err)
		case s.Drained:
			return nil
		case s.Error != "":
			return errors.New(s.Error)
		case s.Progress != nil:
			progress(*s.Progress)
		}
	}
}

func (c *Client) do(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://runner"+path, content)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w in %s", ErrNoRunner, c.dir)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s is another user's: run this as the user of the runner, or as root", filepath.Join(c.dir, socketFile))
	case err != nil:
		return nil, fmt.Errorf("ask the runner: %w", err)
	case answer.StatusCode >= 300:
		defer answer.Body.Close()
		return nil, refusal(answer)
	}
	return answer.Body, nil
}

func refusal(answer *http.Response) error {
	var p problem
	if err := json.NewDecoder(io.LimitReader(answer.Body, longest)).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("the runner answers %s; is it of another version?", answer.Status)
	}
	return errors.New(p.Error)
}
