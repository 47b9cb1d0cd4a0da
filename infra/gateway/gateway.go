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
	// ExecutorDir is a directory of the executor; out/ in it is the one that the plugin writes to.
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

// Options are what a Gateway is made of. Store, Keys, Host and Listeners are mandatory.
type Options struct {
	Store     Store
	Keys      Keys
	Log       zerolog.Logger
	Host      net.IP // the address at which executors reach the listeners
	Listeners Listeners

	ReleaseURL  string        // given to plugins; may be empty
	MaxResult   int64         // bytes of base64 text; default 64 MiB
	InlineInput int           // bytes of base64 text; a larger input is fetched by the plugin; default 4 MiB
	Absence     time.Duration // after a planned stop executors come again after as long; default 10 s, above what a restart takes
}

// Gateway serves all executors. Make it with New; its methods may be called from several goroutines.
type Gateway struct {
	Options
	certificate tls.Certificate
	files       *fsnotify.Watcher
	work        sync.WaitGroup // what Serve waits for

	mu        sync.Mutex // guards what follows; never taken before an endpoint's
	endpoints map[msg.ExecutorID]*endpoint
	urls      map[string]route     // by the secret in the path
	dirs      map[string]*endpoint // by the result directory
}

// New makes a gateway. It serves nothing before Serve, and holds its listeners until Serve has returned.
func New(o Options) (*Gateway, error) {
	if o.MaxResult == 0 {
		o.MaxResult = 64 << 20
	}
	if o.InlineInput == 0 {
		o.InlineInput = 4 << 20
	}
	if o.Absence == 0 {
		o.Absence = 10 * time.Second
	}
	certificate, err := o.Keys.Certificate([]net.IP{o.Host})
	if err != nil {
		return nil, fmt.Errorf("make the gateway's certificate: %w", err)
	}
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch result files: %w (the limit fs.inotify.max_user_instances may be reached: raise it)", err)
	}
	return &Gateway{
		Options: o, certificate: certificate, files: files,
		endpoints: map[msg.ExecutorID]*endpoint{}, urls: map[string]route{}, dirs: map[string]*endpoint{},
	}, nil
}

// find returns the endpoint of an executor that was admitted, or nil.
func (g *Gateway) find(id msg.ExecutorID) *endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.endpoints[id]
}

func (g *Gateway) all() []*endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*endpoint, 0, len(g.endpoints))
	for _, e := range g.endpoints {
		all = append(all, e)
	}
	return all
}

// Admit lets the executor's plugin in from now on, and returns what the executor must be given. Repeated: the same.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (msg.Access, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endpoints[rec.ID] == nil {
		g.endpoints[rec.ID] = newEndpoint(g, rec)
	}
	return g.access(rec), nil
}

// Dismiss ends the executor's access. Its directory may be removed then.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.mu.Lock()
	e := g.endpoints[id]
	delete(g.endpoints, id)
	if e != nil {
		g.forget(e)
	}
	g.mu.Unlock()
	if e != nil {
		e.close(refusal(404, "the executor was dismissed"), true)
	}
}

// Requests hands on what the executor's plugin does until ctx ends: first everything that waits, then each thing as it happens. A
// newer call ends an older one.
func (g *Gateway) Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error {
	e := g.find(id)
	if e == nil {
		return errNotAdmitted(id)
	}
	return e.tell(ctx, emit)
}

func errNotAdmitted(id msg.ExecutorID) error { return fmt.Errorf("executor %s is not admitted", id) }

// IsWaiting reports whether a request waits for its answer.
func (g *Gateway) IsWaiting(id msg.ExecutorID, request msg.RequestID) bool {
	e := g.find(id)
	return e != nil && e.isWaiting(request)
}

// Answer answers a request. One that waits no longer: no effect.
func (g *Gateway) Answer(id msg.ExecutorID, request msg.RequestID, a msg.Answer) {
	if e := g.find(id); e != nil {
		e.answer(request, a)
	}
}

// Notify sends an event to a watch. One that is closed: no effect.
func (g *Gateway) Notify(id msg.ExecutorID, watch msg.RequestID, event msg.WatchEvent) {
	if e := g.find(id); e != nil {
		e.notify(watch, event)
	}
}
