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

// Options of a System. The zero value serves.
type Options struct {
	Log zerolog.Logger
	// Scheduler is Live if nil.
	Scheduler Scheduler
	// Grace bounds how long the end of an actor waits for its goroutines; 5 s if zero.
	Grace time.Duration
	// Context is the parent of all actors' contexts. Its end is the end of the process, not of a drain: tasks are not
	// begun any more.
	Context context.Context
	// OnCrash hears of every crash, in the turn of the actor that crashed.
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
	top       *node // no actor: the parent of the roots
	fatal     chan error
	seq       atomic.Uint64
}

// NewSystem starts no goroutine.
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
	log = log.Level(max(log.GetLevel(), zerolog.WarnLevel)) // below that it speaks of its own affairs
	logger := slog.New(zerolog.NewSlogHandler(log))
	proto := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	// What Proto.Actor subscribed to the first one logs late messages, from a goroutine that sleeps, and answers Watch: the
	// end of an actor is told by its cell, and a late message is discarded by contract.
	proto.EventStream = eventstream.NewEventStream()
	return proto
}

// Fatal delivers the Crash of the first root that crashed, at its crash: the process is to end.
func (s *System) Fatal() <-chan error { return s.fatal }

// Stop stops all roots, each after its children, and returns nil when they are gone and no goroutine of any actor runs any more, or
// an error when ctx ends before. It may be repeated.
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
