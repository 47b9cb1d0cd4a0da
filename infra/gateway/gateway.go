package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Store is what the gateway needs of the spool.
type Store interface {
	Input(msg.ExecutionID) (string, error)
	// ExecutorDir returns the executor's directory. The plugin writes to out/ in it.
	ExecutorDir(msg.ExecutorID) string
}

// Keys is what the gateway needs of the runner's identity.
type Keys interface {
	OpenKey(sealed []byte) (seal.Key, error)
	Unseal([]byte) ([]msg.Secret, error)
	Derive(purpose string, parts ...string) []byte
	CA() []byte
	Certificate(ips []net.IP, names ...string) (tls.Certificate, error)
}

// Options configure a Gateway. Store, Keys, Host and Listeners are mandatory.
type Options struct {
	Store     Store
	Keys      Keys
	Log       zerolog.Logger
	Host      net.IP // the address at which executors reach the listeners
	Listeners Listeners

	ReleaseURL  string        // the server's URL for plugins; may be empty
	MaxResult   int64         // bytes of base64 text; default 64 MiB
	InlineInput int           // bytes of base64 text; plugins fetch a larger input; default 4 MiB
	RetryAfter  time.Duration // delay after which plugins retry at a planned stop; default 10 s, which is longer than a restart
}

// Gateway serves all executors. Its methods may be called from several goroutines.
type Gateway struct {
	Options
	certificate tls.Certificate
	watcher     *fsnotify.Watcher
	tasks       sync.WaitGroup // goroutines that Serve waits for

	mu         sync.Mutex // guards the fields below; an endpoint's mu is locked before it
	endpoints  map[msg.ExecutorID]*endpoint
	routes     map[string]route     // by the secret in the path
	resultDirs map[string]*endpoint // by the result directory
}

// New returns a gateway. Serve starts it and closes its listeners.
func New(o Options) (*Gateway, error) {
	if o.MaxResult == 0 {
		o.MaxResult = 64 << 20
	}
	if o.InlineInput == 0 {
		o.InlineInput = 4 << 20
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 10 * time.Second
	}
	certificate, err := o.Keys.Certificate([]net.IP{o.Host})
	if err != nil {
		return nil, fmt.Errorf("create the gateway's certificate: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch result files: %w (if the limit is reached, raise fs.inotify.max_user_instances)", err)
	}
	return &Gateway{
		Options: o, certificate: certificate, watcher: watcher,
		endpoints: map[msg.ExecutorID]*endpoint{}, routes: map[string]route{}, resultDirs: map[string]*endpoint{},
	}, nil
}

// findEndpoint returns the endpoint of an admitted executor, or nil.
func (g *Gateway) findEndpoint(id msg.ExecutorID) *endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.endpoints[id]
}

func (g *Gateway) allEndpoints() []*endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*endpoint, 0, len(g.endpoints))
	for _, e := range g.endpoints {
		all = append(all, e)
	}
	return all
}

// Admit creates an executor's endpoint and returns what the executor needs to reach it. It is idempotent.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (msg.Access, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endpoints[rec.ID] == nil {
		g.endpoints[rec.ID] = newEndpoint(g, rec)
	}
	return g.accessFor(rec), nil
}

// Dismiss removes an executor's endpoint. After that the executor's directory may be removed.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.mu.Lock()
	e := g.endpoints[id]
	delete(g.endpoints, id)
	if e != nil {
		g.removeEndpoint(e)
	}
	g.mu.Unlock()
	if e != nil {
		e.close(statusError(404, "the executor was dismissed"), true)
	}
}

// Requests calls emit for the executor's events until ctx ends: first for the pending requests, then for each new event. A newer call
// ends an older one.
func (g *Gateway) Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error {
	e := g.findEndpoint(id)
	if e == nil {
		return errNotAdmitted(id)
	}
	return e.deliverEvents(ctx, emit)
}

func errNotAdmitted(id msg.ExecutorID) error { return fmt.Errorf("executor %s is not admitted", id) }

// WasDelivered reports whether the executor's machine has acknowledged the job's input. It waits until that is known.
func (g *Gateway) WasDelivered(id msg.ExecutorID, job msg.ExecutionID) bool {
	e := g.findEndpoint(id)
	if e == nil {
		return false
	}
	e.resolveDeliveries()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.delivered == job
}

// IsWaiting reports whether a request still waits for its answer.
func (g *Gateway) IsWaiting(id msg.ExecutorID, request msg.RequestID) bool {
	e := g.findEndpoint(id)
	return e != nil && e.isWaiting(request)
}

// Answer answers a request. It has no effect if the request does not wait any more.
func (g *Gateway) Answer(id msg.ExecutorID, request msg.RequestID, a msg.Answer) {
	if e := g.findEndpoint(id); e != nil {
		e.answer(request, a)
	}
}

// Notify sends an event to a watch. It has no effect if the watch is closed.
func (g *Gateway) Notify(id msg.ExecutorID, watch msg.RequestID, event msg.WatchEvent) {
	if e := g.findEndpoint(id); e != nil {
		e.notify(watch, event)
	}
}
