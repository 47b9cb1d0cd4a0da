// Package release is the runner's side of the Runner API: one method per request, and what is around them (a session,
// time limits, limits on size, the checks on what a server says).
//
// It repeats nothing: when to try again is the actors' decision. It gives them what they decide by, in three classes:
//
//   - *msg.Refusal: the server said no. 404, 409 and 410 count as such only with a problem document, as a job is given up
//     on them: a proxy without a backend answers 404 too, and knows nothing of what the server wants.
//   - the cause of the context that ended.
//   - any other error: nothing is known about what the server wants. There was no answer, or one that is not part of the
//     protocol (an HTML page, a body without a required field).
//
// A request has 10 s for its answer (a reserve: after the time that the server may hold it; one with a large body: as long as
// 1 KB/s takes); an answer's body, as long as it comes at all. The session is in memory only: a runner that starts
// registers, but for one that was about to unregister: its session was kept.
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

// Options are what a Client is made of.
type Options struct {
	URL   string     // of the server, with a path where it has one
	Token msg.Secret // registration token; white space around it does not matter

	Name, UUID, Version string
	PublicKey           []byte // session keys are sealed to it
	Capabilities        []string
	Metadata            map[string]string

	RootCAs *x509.CertPool // see Roots; nil: the system's
	Log     zerolog.Logger
}

// Client talks to one Release server. All methods may be called from several goroutines.
type Client struct {
	runner api.Runner
	token  string
	server *url.URL // ends in a slash
	api    *api.Client
	fetch  *http.Client // inputs may be elsewhere
	agent  string
	log    zerolog.Logger

	mu      sync.Mutex
	session session
}

// session is what register gives.
type session struct{ runnerID, token string }

// New checks the options; it connects to nobody.
func New(o Options) (*Client, error) {
	server, err := url.Parse(strings.TrimSpace(o.URL))
	if err != nil || server.Host == "" || server.Scheme != "https" && server.Scheme != "http" {
		return nil, fmt.Errorf("the server's URL %q is none: give one like https://release.example.com", o.URL)
	}
	server.Path = strings.TrimRight(server.Path, "/") + "/"
	token := strings.TrimSpace(string(o.Token)) // an official manifest writes a blank behind it
	if token == "" {
		return nil, errors.New("there is no registration token: make one on the server and give it to the runner")
	}
	transport := newTransport(o.RootCAs)
	c := &Client{
		runner: api.Runner{UUID: o.UUID, Name: o.Name, Version: o.Version, PublicKey: o.PublicKey, Capabilities: o.Capabilities, Metadata: o.Metadata},
		token:  token,
		server: server,
		agent:  "runnerd/" + o.Version,
		log:    o.Log,
	}
	c.fetch = &http.Client{Transport: transport, CheckRedirect: c.followInput}
	c.api, err = api.NewClient(server.String(), api.WithHTTPClient(&http.Client{Transport: transport, CheckRedirect: followNone}),
		api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("User-Agent", c.agent)
			return nil
		}))
	return c, err
}

// newTransport speaks HTTP/2 where the server does. A connection that is dead without a word is found by pings: else
// every request would go on waiting on it long after the network is back.
func newTransport(roots *x509.CertPool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	t.MaxIdleConnsPerHost = 16
	return t
}

// followNone makes a redirect an answer: no request of the protocol is redirected, and a token must not follow one.
func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func bearer(token string) api.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

// current is the session for a request; without one the caller is to register, as if the server had said so.
func (c *Client) current(op string) (session, error) {
	s := c.newest()
	if s == (session{}) {
		return s, &msg.Refusal{Op: op, Status: http.StatusUnauthorized, Detail: "the runner has not registered yet"}
	}
	return s, nil
}

func (c *Client) newest() session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *Client) begin(s session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
}
