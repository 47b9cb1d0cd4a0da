package gateway

import (
	"crypto/tls"
	"errors"
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
	Job(msg.ExecutionID) (msg.JobRecord, bool)
	Input(msg.ExecutionID) (string, error)
	// HandOut journals that the job is the executor's, and notes it in the executor's record. Durable on return. A second
	// one for the same executor is a repetition after a proof that the first did not start.
	HandOut(id msg.ExecutionID, executor msg.ExecutorID, arming uint64, at time.Time) error
	// NotStarted journals the proof, for whoever returns before the job was handed out again. Durable on return.
	NotStarted(msg.ExecutionID) error
	// StoreResult keeps the first result; durable on return. False: the job's ending was decided before.
	StoreResult(msg.ExecutionID, msg.Result) (stored bool, err error)
	Executors() []msg.ExecutorRecord
	UpdateExecutor(msg.ExecutorID, func(*msg.ExecutorRecord)) error
	// ExecutorDir is a directory of the executor; out/ in it is the one that the plugin writes to.
	ExecutorDir(msg.ExecutorID) string
}

// Keys is what the gateway needs of the runner's identity.
type Keys interface {
	OpenKey(sealed []byte) (seal.Key, error)
	// Seal and Unseal keep values in the store that only this identity can read.
	Seal([]msg.Secret) ([]byte, error)
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
	ComeBack    time.Duration // how long executors may come back by themselves after a return; default 12 s (rule 7: Go within 11)
}

// Gateway is the door of all executors. Make it with New; its methods may be called from several goroutines.
type Gateway struct {
	Options
	certificate tls.Certificate
	files       *fsnotify.Watcher
	restored    func() error // once

	mu    sync.Mutex // guards what follows; after a door's, never before it
	doors map[msg.ExecutorID]*door
	paths map[string]place // by the secret in it
	dirs  map[string]*door // by the directory that is watched
}

var errDismissed = errors.New("the executor was dismissed")

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
	if o.ComeBack == 0 {
		o.ComeBack = 12 * time.Second
	}
	certificate, err := o.Keys.Certificate([]net.IP{o.Host})
	if err != nil {
		return nil, fmt.Errorf("make the gateway's certificate: %w", err)
	}
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch result files: %w (the limit fs.inotify.max_user_instances may be reached: raise it)", err)
	}
	g := &Gateway{
		Options: o, certificate: certificate, files: files,
		doors: map[msg.ExecutorID]*door{}, paths: map[string]place{}, dirs: map[string]*door{},
	}
	g.restored = sync.OnceValue(g.restore)
	return g, nil
}

// find returns the door of an executor that was admitted.
func (g *Gateway) find(id msg.ExecutorID) (*door, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d, ok := g.doors[id]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("executor %s is not admitted", id)
}

func (g *Gateway) all() []*door {
	g.mu.Lock()
	defer g.mu.Unlock()
	doors := make([]*door, 0, len(g.doors))
	for _, d := range g.doors {
		doors = append(doors, d)
	}
	return doors
}

// Admit answers for the executor from now on, and returns what it must be given. Repeated: the same.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (msg.Access, error) {
	g.mu.Lock()
	_, known := g.doors[rec.ID]
	if !known {
		g.doors[rec.ID] = newDoor(g, rec)
	}
	g.mu.Unlock()
	return g.access(rec), nil
}

// Dismiss ends the executor's access. Its directory may be removed then.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.mu.Lock()
	d, ok := g.doors[id]
	delete(g.doors, id)
	for secret, p := range g.paths {
		if p.door == d {
			delete(g.paths, secret)
		}
	}
	g.mu.Unlock()
	if ok {
		d.close(errDismissed)
	}
}
