package actorrt

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrCrashed is what Ask returns when the actor panicked before it answered. The Crash is in the chain.
	ErrCrashed = errors.New("actor crashed before it answered")
	// ErrStopped is what Ask returns when the actor has stopped, or does not exist.
	ErrStopped = errors.New("actor has stopped")

	errGoexit = errors.New("goroutine ended by runtime.Goexit")
)

// Crash describes how an actor ended by a panic.
type Crash struct {
	Actor   string // its path
	Where   string // "start", "receive", "task <name>", "child <name>"
	Message string // the type of the current message, if any
	Subject string // the execution id that the current message was about, from Ctx.SetSubject
	Reason  any    // the value of the panic; the *Crash of the child, if that was the reason
	Stack   []byte // nil if the reason is a child's Crash, which has the stack
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

// newCrash must be called where the panic was recovered, while its stack is available. Every panic is logged here, exactly once.
func (c *node) newCrash(where, message, subject string, reason any) *Crash {
	crash := &Crash{Actor: c.path, Where: where, Message: message, Subject: subject, Reason: reason, At: time.Now()}
	if child, ok := reason.(*Crash); ok {
		crash.Subject = child.Subject
	} else {
		crash.Stack = debug.Stack()
	}
	line := c.log.Error().Err(crash)
	if crash.Subject != "" {
		line = line.Str("execution", crash.Subject)
	}
	if crash.Stack != nil {
		line = line.Bytes("stack", crash.Stack)
	}
	line.Msg("actor panicked")
	return crash
}
