package release

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

const (
	maxInput     = 256 << 20 // bytes
	maxRedirects = 5
)

// FetchInput returns an input that was too large for its offer. The URL is relative to the server's or absolute. The access token is sent
// to the server only.
func (c *Client) FetchInput(ctx context.Context, from string) (io.ReadCloser, error) {
	const op = "fetch input"
	at, err := c.server.Parse(from)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fmt.Errorf("%s: %.200q is not an HTTP URL", op, from)
	}
	var token string
	if c.isServer(at) {
		s, err := c.requireCredentials(op)
		if err != nil {
			return nil, err
		}
		token = s.token
	}
	res, err := c.call(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.getInput(ctx, at, token)
	}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media == "text/html" {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, maxExcerpt))
		return nil, protocolError(op, res, text, "expected base64 text")
	}
	if b, ok := res.Body.(*body); ok {
		b.remaining = maxInput
	}
	return res.Body, nil
}

func (c *Client) getInput(ctx context.Context, at *url.URL, token string) (*http.Response, error) {
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

// checkInputRedirect removes the token from a redirect to another origin; the standard client would send it to a subdomain.
func (c *Client) checkInputRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("the input has more than %d redirects", maxRedirects)
	}
	if !c.isServer(req.URL) {
		req.Header.Del("Authorization")
	}
	return nil
}

// isServer reports whether u has the server's origin.
func (c *Client) isServer(u *url.URL) bool {
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
