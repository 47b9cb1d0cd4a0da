package fakes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// The plugins' side of the gateway: a question for a job, a result.

// get is a plugin's question for its Secret: it is held until a job is there. While one is open, nothing makes a plugin ask.
func (g *Gateway) get(ctx context.Context, id msg.ExecutorID) (given, error) {
	if err := g.Look(id); err != nil {
		return given{}, fmt.Errorf("look: %w", err)
	}
	for {
		hold, in, changed, err := g.reply(id)
		if err != nil {
			return given{}, err
		}
		if in != nil {
			return *in, nil
		}
		if hold == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return given{}, context.Cause(ctx)
			}
		}
		return g.held(ctx, id, hold)
	}
}

func (g *Gateway) reply(id msg.ExecutorID) (hold chan given, in *given, changed <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	switch {
	case g.closed:
		return nil, nil, nil, errAway
	case d == nil:
		return nil, nil, nil, errNoDoor
	case d.open != nil && d.rec.Mode == msg.Files && !d.asked:
		d.asked = true
		return nil, d.open, nil, nil
	case d.open != nil:
		return nil, nil, d.changed, nil
	}
	d.hold = make(chan given, 1)
	g.site.empty(id)
	d.tell(msg.Held{})
	return d.hold, nil, nil, nil
}

// held waits; a job that crosses the loss of the connection is handed out.
func (g *Gateway) held(ctx context.Context, id msg.ExecutorID, hold chan given) (given, error) {
	for {
		g.mu.Lock()
		d := g.doors[id]
		if g.closed || d == nil {
			g.mu.Unlock()
			select {
			case in := <-hold:
				return in, nil
			default:
				return given{}, errAway
			}
		}
		changed := d.changed
		g.mu.Unlock()
		select {
		case in := <-hold:
			return in, nil
		case <-changed:
		case <-ctx.Done():
			g.mu.Lock()
			if d.hold == hold {
				d.hold = nil
				d.tell(msg.HoldLost{})
			}
			g.mu.Unlock()
			return given{}, context.Cause(ctx)
		}
	}
}

// callback takes a result; nil: the answer is 204.
func (g *Gateway) callback(id msg.ExecutorID, job msg.ExecutionID, body []byte) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return errAway
	}
	return g.take(id, job, body, msg.ViaCallback, "")
}

// Look reads the result file.
func (g *Gateway) Look(id msg.ExecutorID) error {
	return g.do(context.Background(), Look, func() error { return g.look(id, "") })
}

func (g *Gateway) look(id msg.ExecutorID, retire string) error {
	g.mu.Lock()
	d := g.doors[id]
	var job msg.ExecutionID
	if d != nil && d.open != nil {
		job = d.open.execution
	}
	g.mu.Unlock()
	switch body := g.site.file(id); {
	case d == nil:
		return errNoDoor
	case job == "" || body == nil:
		return nil
	default:
		return g.take(id, job, body, msg.ViaFile, retire)
	}
}

// tooLarge is the body of a result that no runner takes.
var tooLarge = []byte("too large")

// take stores the first result of the open job.
func (g *Gateway) take(id msg.ExecutorID, job msg.ExecutionID, body []byte, via msg.Via, retire string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	if d == nil || d.open == nil || d.open.execution != job {
		return nil
	}
	if bytes.Equal(body, tooLarge) {
		refused := msg.ResultRefused{Execution: job, Reason: "the result is larger than this runner takes"}
		d.tell(refused)
		return refused
	}
	text, err := seal.Decrypt(d.open.key, body)
	if err != nil {
		return nil
	}
	var inside contract.Result
	if err := json.Unmarshal(text, &inside); err != nil {
		return nil
	}
	res := msg.Result{Body: body, ExitCode: inside.ExitCode, Via: via}
	stored, err := g.spool.StoreResult(job, res)
	if err != nil {
		return err
	}
	d.open = nil
	if rec, ok := g.spool.Job(job); stored || ok && rec.HasResult {
		res.Body = nil
		d.result = &msg.ResultStored{Execution: job, Result: res, Retire: retire}
		d.tell(*d.result)
	} else {
		d.change()
	}
	return nil
}
