package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

const (
	inputMax     = 256 << 20 // bytes
	redirectsMax = 5
)

// FetchInput reads an input that was too large for its offer. The URL may be relative to the server's, or point elsewhere;
// the access token goes to the server only.
func (c *Client) FetchInput(ctx context.Context, from string) (io.ReadCloser, error) {
	const op = "fetch input"
	at, err := c.server.Parse(from)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%s: %.200q is no address", op, from)
	}
	var token string
	if c.ours(at) {
		s, err := c.current(op)
		if err != nil {
			return nil, err
		}
		token = s.token
	}
	res, err := c.call(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.get(ctx, at, token)
	}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media == "text/html" {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, quoteMax))
		return nil, strange(op, res, text, "base64 text was expected")
	}
	if b, ok := res.Body.(*body); ok {
		b.left = inputMax
	}
	return res.Body, nil
}

func (c *Client) get(ctx context.Context, at *url.URL, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.agent)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.fetch.Do(req)
}

// followInput lets an input be elsewhere. The standard client would send the token along to a subdomain.
func (c *Client) followInput(req *http.Request, via []*http.Request) error {
	if len(via) > redirectsMax {
		return errors.New("the input is redirected without end")
	}
	if !c.ours(req.URL) {
		req.Header.Del("Authorization")
	}
	return nil
}

// ours reports whether u has the server's origin.
func (c *Client) ours(u *url.URL) bool {
	return u.Scheme == c.server.Scheme && u.Hostname() == c.server.Hostname() && port(u) == port(c.server)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
