package actorrt

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrCrashed is what Ask returns when the actor panicked before it answered. The Crash is in the chain.
	ErrCrashed = errors.New("the actor crashed before it answered")
	// ErrStopped is what Ask returns when the actor had stopped, or never was.
	ErrStopped = errors.New("the actor has stopped")

	errGoexit = errors.New("goroutine ended by runtime.Goexit")
)

// Crash is the end of an actor by a panic.
type Crash struct {
	Actor   string // its path
	Where   string // "start", "receive", "task <name>", "child <name>"
	Message string // the type of the message in hand, if any
	Subject string // the job that the message in hand was about, as named by Ctx.About
	Reason  any    // the value of the panic; the *Crash of the child, if that was the reason
	Stack   []byte // nil if the reason is a child's Crash, which has it
	At      time.Time
}

func (c *Crash) Error() string {
	if c.Message == "" {
		return fmt.Sprintf("%s crashed in %s: %v", c.Actor, c.Where, c.Reason)
	}
	return fmt.Sprintf("%s crashed in %s of %s: %v", c.Actor, c.Where, c.Message, c.Reason)
}

func (c *Crash) Unwrap() error {
	err, _ := c.Reason.(error)
	return err
}

// crashed is called where the panic was recovered, while its stack can still be read. This is where every panic is logged,
// once, whatever comes of it.
func (c *node) crashed(where, message, subject string, reason any) *Crash {
	crash := &Crash{Actor: c.path, Where: where, Message: message, Subject: subject, Reason: reason, At: time.Now()}
	if child, ok := reason.(*Crash); ok {
		crash.Subject = child.Subject
	} else {
		crash.Stack = debug.Stack()
	}
	line := c.log.Error().Err(crash)
	if crash.Subject != "" {
		line = line.Str("job", crash.Subject)
	}
	if crash.Stack != nil {
		line = line.Bytes("stack", crash.Stack)
	}
	line.Msg("actor panicked")
	return crash
}
