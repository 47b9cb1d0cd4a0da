// Package release is the client of the Runner API: one method per request, with credentials, time limits, size limits, and checks of the
// server's answers.
//
// It does not retry, because the actors decide when to try again. Errors have three classes:
//
//   - *msg.Refusal: the server refused the request. 404, 409 and 410 need a problem document to count as a refusal, because a
//     refused job is given up, and a proxy without a backend answers 404, too.
//   - the cause of the context, if the context ended.
//   - any other error: the server's decision is unknown. There was no answer, or one that violates the protocol (an HTML page, a
//     body without a required field).
//
// A request must be answered within 10 s, plus the time that the server may hold a reserve, plus 1 s per KB of a large body. The body of
// an answer, except for the event stream, must then arrive at 256 bytes per second or faster, without a pause of 30 s. The credentials are in memory only: a runner registers at its start, unless it
// was about to unregister, in which case its credentials were stored.
package release

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// Options configure a Client.
type Options struct {
	URL   string     // of the server, with an optional path
	Token msg.Secret // registration token; surrounding white space is ignored

	Name, UUID, Version string
	PublicKey           []byte // session keys are sealed to it
	Capabilities        []string
	Metadata            map[string]string

	RootCAs *x509.CertPool // see Roots; nil: the system's
	Log     zerolog.Logger
}

// Client is a client of one Release server. It is safe for concurrent use.
type Client struct {
	runner api.Runner
	token  string
	server *url.URL // ends in a slash
	api    *api.Client
	fetch  *http.Client // for inputs, which may be on other servers
	agent  string
	log    zerolog.Logger

	mu          sync.Mutex
	credentials credentials
}

// credentials are the result of a registration: all other calls need them.
type credentials struct{ runnerID, token string }

// New checks the options. It does not connect.
func New(o Options) (*Client, error) {
	server, err := url.Parse(strings.TrimSpace(o.URL))
	if err != nil || server.Host == "" || server.Scheme != "https" && server.Scheme != "http" {
		return nil, fmt.Errorf("--release-url is %q: write it as https://HOST[:PORT][/PATH]", o.URL)
	}
	server.Path = strings.TrimRight(server.Path, "/") + "/"
	token := strings.TrimSpace(string(o.Token)) // an official manifest ends it with a space
	if token == "" {
		return nil, errors.New("no registration token is set: create one on the server and set RELEASE_RUNNER_TOKEN or --token-file")
	}
	transport := newTransport(o.RootCAs)
	c := &Client{
		runner: api.Runner{UUID: o.UUID, Name: o.Name, Version: o.Version, PublicKey: o.PublicKey, Capabilities: o.Capabilities, Metadata: o.Metadata},
		token:  token,
		server: server,
		agent:  "runnerd/" + o.Version,
		log:    o.Log,
	}
	c.fetch = &http.Client{Transport: transport, CheckRedirect: c.checkInputRedirect}
	c.api, err = api.NewClient(server.String(), api.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: noRedirect}),
		api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("User-Agent", c.agent)
			return nil
		}))
	return c, err
}

// newTransport returns a transport with HTTP/2 and pings. Without pings, every request would wait on a silently dead connection long
// after the network has recovered.
func newTransport(roots *x509.CertPool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	t.MaxIdleConnsPerHost = 16
	return t
}

// noRedirect returns a redirect as the answer, because the protocol has none and the token must not be sent elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func bearer(token string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

// requireCredentials returns the credentials. Without them it fails as if the server had asked the runner to register.
func (c *Client) requireCredentials(op string) (credentials, error) {
	s := c.currentCredentials()
	if s == (credentials{}) {
		return s, &msg.Refusal{Op: op, Status: http.StatusUnauthorized, Detail: "the runner is not registered"}
	}
	return s, nil
}

func (c *Client) currentCredentials() credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.credentials
}

func (c *Client) setCredentials(s credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credentials = s
}
