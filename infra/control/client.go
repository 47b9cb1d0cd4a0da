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

// ErrNoRunner means that no runner answers on the socket in the state directory.
var ErrNoRunner = errors.New("no runner answers")

// Client sends commands to the runner that uses a state directory.
type Client struct {
	http *http.Client
	dir  string
}

// NewClient returns a client for a state directory, and does not connect yet.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		err = withAddress(dir, func(address string) (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", address)
			return err
		})
		return conn, err
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, dir: dir}
}

// Status reads the runner's status into v.
func (c *Client) Status(ctx context.Context, v any) error {
	body, err := c.do(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(v); err != nil {
		return fmt.Errorf("read status of the runner: %w", err)
	}
	return nil
}

// Resend makes the runner report a rejected job again.
func (c *Client) Resend(ctx context.Context, location string) error {
	return c.change(ctx, "resend", location)
}

// Discard makes the runner delete an ended job, a rejected job or a quarantined record.
func (c *Client) Discard(ctx context.Context, location string) error {
	return c.change(ctx, "discard", location)
}

func (c *Client) change(ctx context.Context, verb, location string) error {
	body, err := c.do(ctx, http.MethodPost, "/spool/"+verb, spoolRequest{location})
	if err != nil {
		return err
	}
	return body.Close()
}

// Drain drains the runner. It returns nil when nothing runs any more and the runner is about to exit. P is the type of a progress update.
func Drain[P any](ctx context.Context, c *Client, progress func(P)) error {
	body, err := c.do(ctx, http.MethodPost, "/drain", struct{}{})
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var update struct {
			drainUpdate
			Progress *P `json:"progress"`
		}
		switch err := lines.Decode(&update); {
		case err != nil:
			return fmt.Errorf("the runner ended before it was drained (see its log): %w", err)
		case update.Drained:
			return nil
		case update.Error != "":
			return errors.New(update.Error)
		case update.Progress != nil:
			progress(*update.Progress)
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
		return nil, fmt.Errorf("no permission for %s: run this command as the runner's user or as root", filepath.Join(c.dir, socketFile))
	case err != nil:
		return nil, fmt.Errorf("send command to the runner: %w", err)
	case answer.StatusCode >= 300:
		defer answer.Body.Close()
		return nil, responseError(answer)
	}
	return answer.Body, nil
}

func responseError(answer *http.Response) error {
	var p errorResponse
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("unexpected answer from the runner (may be another version of runnerd): %s", answer.Status)
	}
	return errors.New(p.Error)
}
