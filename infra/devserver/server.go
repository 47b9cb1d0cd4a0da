package devserver

import (
	"cmp"
	"context"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/release/api"
)

// Options are the settings of a Server. A zero value means the default in the comment beside the field.
type Options struct {
	Token     string // for registration; required
	PublicURL string // the server's address in the input of plugins
	Log       zerolog.Logger

	TypeDefinitions [][]byte   // contents of plugins' type-definitions.yaml
	Config          api.Config // of a new runner; default if revision and capacity are zero: enabled, capacity 4, eviction time 60 s

	Lease            time.Duration // of an offer; default 60 s
	MaxPoll          time.Duration // default 50 s
	PingInterval     time.Duration // default 10 s
	MaxInlineInput   int           // bytes of encrypted input in an offer; the runner fetches a larger input; default 1 MiB
	MaxOpenTasks     int           // unfinished tasks; default 100,000
	MaxFinishedTasks int           // default 10,000
	MaxFinishedBytes int64         // bytes of logs and results of finished tasks, counted at the finish; default 1 GiB
	MaxLogBytes      int64         // bytes stored of each task's log; default 64 MiB
	MaxLedgerEntries int           // default 100,000
	MaxBody          int64         // bytes of a finish or a new task; default 256 MiB

	// Intercept, if set, is called for every operation of the Runner API: register, unregister, events, heartbeat, reserve,
	// confirm, input, log, finish. It responds itself, or calls next and may delay or corrupt its response. Tests use it to
	// make the server fail.
	Intercept func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

func (o Options) withDefaults() Options {
	if o.Config.Revision == 0 && o.Config.Capacity == 0 {
		o.Config = api.Config{Enabled: true, Capacity: 4, EvictionSeconds: 60}
	}
	o.Config.Revision = cmp.Or(o.Config.Revision, 1)
	o.Lease = cmp.Or(o.Lease, time.Minute)
	o.MaxPoll = cmp.Or(o.MaxPoll, 50*time.Second)
	o.PingInterval = cmp.Or(o.PingInterval, 10*time.Second)
	o.MaxInlineInput = cmp.Or(o.MaxInlineInput, 1<<20)
	o.MaxOpenTasks = cmp.Or(o.MaxOpenTasks, 100_000)
	o.MaxFinishedTasks = cmp.Or(o.MaxFinishedTasks, 10_000)
	o.MaxFinishedBytes = cmp.Or(o.MaxFinishedBytes, 1<<30)
	o.MaxLogBytes = cmp.Or(o.MaxLogBytes, 64<<20)
	o.MaxLedgerEntries = cmp.Or(o.MaxLedgerEntries, 100_000)
	o.MaxBody = cmp.Or(o.MaxBody, 256<<20)
	return o
}

// Server is a development Release server. Create it with New and stop it with Close.
type Server struct {
	options      Options
	types        typeDefinitions
	events       *eventStreams
	ledger       *Ledger
	closing      context.Context // ends with Close
	close        context.CancelFunc
	longRequests sync.WaitGroup // requests that Close waits for

	mu            sync.Mutex // guards the fields below, and the tasks and runners in them
	runners       []*runner  // in the order of their first registration
	tasks         map[string]*task
	open          []*task  // not finished, oldest first
	finished      []*task  // oldest first
	finishedBytes int64    // storedBytes of the finished tasks
	work          notifier // notifies when there may be something new to offer
}

// New starts a server. The caller serves its Handler. New fails if the type definitions are invalid.
func New(options Options) (*Server, error) {
	types, err := parseTypeDefinitions(options.TypeDefinitions)
	if err != nil {
		return nil, err
	}
	options = options.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		options: options,
		types:   types,
		events:  newEventStreams(),
		ledger:  newLedger(options.MaxLedgerEntries, options.Log),
		closing: ctx,
		close:   cancel,
		tasks:   map[string]*task{},
	}
	s.longRequests.Go(s.pingLoop)
	return s, nil
}

// Handler serves the Runner API, the REST API, and the document of the Runner API at /api/v1/openapi.yaml.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	api.HandlerWithOptions(runnerAPI{s}, api.StdHTTPServerOptions{
		BaseRouter:       mux,
		Middlewares:      []api.MiddlewareFunc{s.intercept},
		ErrorHandlerFunc: func(w http.ResponseWriter, _ *http.Request, err error) { respond(w, errorf(400, "%v", err)) },
	})
	mux.HandleFunc("GET /api/v1/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(api.Document)
	})
	mux.Handle("/api/", http.NewCrossOriginProtection().Handler(s.restHandler()))
	return mux
}

func (s *Server) intercept(next http.Handler) http.Handler {
	if s.options.Intercept == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op := path.Base(r.Pattern)
		if op == "{runnerId}" {
			op = "unregister"
		}
		s.options.Intercept(op, w, r, next.ServeHTTP)
	})
}

// Ledger returns the record of the runners' messages and violations.
func (s *Server) Ledger() *Ledger { return s.ledger }

// Close ends polls and event streams, and returns when they have ended. Call it before the Shutdown of the http.Server in
// front of it, which waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.longRequests.Wait()
	s.events.close()
}

// beginLongRequest adds a request to those that Close waits for. It returns false if the server is closing.
func (s *Server) beginLongRequest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return false
	}
	s.longRequests.Add(1)
	return true
}

// notifier wakes all waiters on a change. The lock of the changing object guards it.
type notifier struct{ changed chan struct{} }

func (b *notifier) wait() <-chan struct{} {
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

func (b *notifier) notify() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}
