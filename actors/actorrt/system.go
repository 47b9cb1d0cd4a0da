package actorrt

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
	"github.com/rs/zerolog"
)

// Options configure a System. The zero value is valid.
type Options struct {
	Log zerolog.Logger
	// Scheduler defaults to Live.
	Scheduler Scheduler
	// Grace bounds how long the end of an actor waits for its goroutines. It defaults to 5 s.
	Grace time.Duration
	// Context is the parent of all actors' contexts. It ends with the process, not with a drain: no task begins after its end.
	Context context.Context
	// OnCrash is called for every crash, in the turn of the actor that crashed.
	OnCrash func(*Crash)
}

// System holds a tree of actors.
type System struct {
	proto     *actor.ActorSystem
	log       zerolog.Logger
	scheduler Scheduler
	grace     time.Duration
	base      context.Context
	onCrash   func(*Crash)
	top       *node // the parent of the roots; not an actor
	fatal     chan error
	seq       atomic.Uint64
}

// NewSystem returns a System without actors. It starts no goroutine.
func NewSystem(o Options) *System {
	s := &System{
		log: o.Log, scheduler: o.Scheduler, grace: o.Grace, base: o.Context, onCrash: o.OnCrash,
		fatal: make(chan error, 1),
	}
	s.top = &node{sys: s}
	if s.scheduler == nil {
		s.scheduler = Live()
	}
	if s.grace == 0 {
		s.grace = 5 * time.Second
	}
	if s.base == nil {
		s.base = context.Background()
	}
	s.proto = newProto(o.Log)
	return s
}

func newProto(log zerolog.Logger) *actor.ActorSystem {
	log = log.Level(max(log.GetLevel(), zerolog.WarnLevel)) // Proto.Actor's info and debug lines are about its internals
	logger := slog.New(zerolog.NewSlogHandler(log))
	proto := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	// A new event stream drops Proto.Actor's own subscriptions: they log late messages, from a goroutine that sleeps, and answer Watch.
	// Here the node reports an actor's end, and late messages are discarded by contract.
	proto.EventStream = eventstream.NewEventStream()
	return proto
}

// Fatal delivers the Crash of the first root that crashes. The process should then exit.
func (s *System) Fatal() <-chan error { return s.fatal }

// Stop stops all roots, each after its children. It returns nil once they have ended and no goroutine of any actor runs any more, or an
// error if ctx ends before that. It may be called again.
func (s *System) Stop(ctx context.Context) error {
	for _, root := range s.top.liveChildren() {
		root.stop()
		select {
		case <-root.stopped:
		case <-ctx.Done():
			return fmt.Errorf("stop %s: %w", root.path, context.Cause(ctx))
		}
	}
	select {
	case <-s.top.whenIdle():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop %s: %w", strings.Join(s.top.tasks(), ", "), context.Cause(ctx))
	}
}
