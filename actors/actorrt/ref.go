package actorrt

import (
	"context"
	"fmt"
)

// Ref is the address of one actor. A later actor of the same name has another Ref. The zero Ref discards its messages.
type Ref[M any] struct{ to *node }

// Tell sends m. It is safe from any goroutine, never blocks and never fails: an actor that has ended discards m.
func (r Ref[M]) Tell(m M) {
	if r.to != nil {
		r.to.post(message[M]{mustNotBeNil(m)})
	}
}

// mustNotBeNil panics if m is nil: it runs in the sender, where the bug is.
func mustNotBeNil[M any](m M) M {
	if any(m) == nil {
		panic("actorrt: a nil message")
	}
	return m
}

// Ask sends mk(reply) and waits for the first reply. It is for callers that are not actors (an actor gets the answer as a message),
// and returns ErrCrashed or ErrStopped as soon as no reply can come.
func Ask[M, R any](ctx context.Context, to Ref[M], mk func(reply func(R)) M) (R, error) {
	var none R
	if to.to == nil {
		return none, fmt.Errorf("ask zero Ref: %w", ErrStopped)
	}
	replies := make(chan R, 1)
	to.Tell(mk(func(r R) {
		select {
		case replies <- r:
		default:
		}
	}))
	var err error
	select {
	case r := <-replies:
		return r, nil
	case <-to.to.ended:
		err = to.to.endReason()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	select {
	case r := <-replies: // a reply that arrived together with the end counts
		return r, nil
	default:
		return none, fmt.Errorf("ask %s: %w", to.to.path, err)
	}
}

// envelope is an entry of a mailbox: a message and its origin.
type envelope[M any] interface{ deliver(s *host[M]) }

// message is a message sent by Tell.
type message[M any] struct{ m M }

func (t message[M]) deliver(s *host[M]) { s.receive(t.m, "") }
func (t message[M]) content() any       { return t.m }
