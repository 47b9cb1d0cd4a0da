package fakes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// The plugins' side of the gateway: a question for a job, a result.

// get is a question for its Secret of a plugin that ran last: it is held until a job is there, or answered with the one that is
// open. Nothing makes a plugin ask while it is at work, or has a result that is not stored yet. None of the three: ask again
// then, or when something has changed.
func (g *Gateway) get(id msg.ExecutorID, last msg.ExecutionID) (h *hold, in *given, again time.Time, err error) {
	if g.look(id, "") != nil {
		return nil, nil, time.Now().Add(time.Second), nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	switch {
	case g.closed:
		return nil, nil, again, errAway
	case d == nil:
		return nil, nil, again, errNoDoor
	case d.open != nil && d.rec.Mode == msg.Files && !d.asked:
		d.asked = true
		return nil, d.open, again, nil
	case d.open != nil && d.unstarted:
		return nil, g.again(id, d), time.Now().Add(time.Second), nil
	case d.open != nil && d.open.execution == last:
		return nil, nil, again, nil
	case d.open != nil:
		return nil, d.open, again, nil
	}
	d.hold, d.owedAt, d.late = &hold{at: g}, time.Time{}, ""
	g.site.empty(id)
	d.tell(msg.Held{})
	return d.hold, nil, again, nil
}

// again hands out the job that did not start, once more; nil: that cannot be journaled now. mu is held.
func (g *Gateway) again(id msg.ExecutorID, d *door) *given {
	if g.spool.HandOut(d.open.execution, id, d.rec.Arming, time.Now()) != nil {
		return nil
	}
	d.unstarted, d.owedAt = false, time.Time{}
	d.handOuts++
	return d.open
}

// letGo is the end of who waited.
func (h *hold) letGo(id msg.ExecutorID) {
	g := h.at
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil && d.hold == h {
		d.lose()
		d.tell(msg.HoldLost{})
	}
}

// event reports whether an event came that makes a plugin ask, and else when one may come.
func (g *Gateway) event(id msg.ExecutorID) (came bool, again time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	switch {
	case d == nil || d.owedAt.IsZero() || d.hold != nil || d.open != nil && !d.unstarted:
		return false, time.Time{}
	case time.Now().Before(d.owedAt):
		return false, d.owedAt
	}
	if err := g.spool.UpdateExecutor(id, func(r *msg.ExecutorRecord) { r.Arming++ }); err != nil {
		d.owedAt = time.Now().Add(time.Second)
		return false, d.owedAt
	}
	d.rec.Arming++
	d.owedAt = time.Time{}
	return true, time.Time{}
}

func (g *Gateway) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// callback takes a result; nil: the answer is 204.
func (g *Gateway) callback(id msg.ExecutorID, job msg.ExecutionID, body []byte) error {
	g.mu.Lock()
	closed := g.closed
	stray := !closed && g.stray(id, job)
	g.mu.Unlock()
	switch {
	case closed:
		return errAway
	case stray:
		return nil
	}
	err := g.take(id, job, body, msg.ViaCallback, "")
	if _, refused := errors.AsType[msg.ResultRefused](err); refused {
		return nil
	}
	return err
}

// stray is a callback for a job that is over: it came late, or it is bogus and proves that the job after it did not start. mu is
// held.
func (g *Gateway) stray(id msg.ExecutorID, job msg.ExecutionID) bool {
	d := g.doors[id]
	switch {
	case d == nil || d.open != nil && d.open.execution == job:
		return false
	case d.open == nil && d.late == job:
		d.late = "" // the file was faster
	case d.open == nil && d.hold == nil:
		d.owedAt = time.Now()
		g.site.wake(id)
	case d.before == job && !d.unstarted && d.handOuts >= 5:
		d.tell(msg.ResultRefused{Execution: d.open.execution, Reason: "the plugin could not read its input"})
	case d.before == job && !d.unstarted:
		_ = g.spool.NotStarted(d.open.execution) // only a restart before the next GET would miss it
		d.unstarted, d.owedAt = true, time.Now()
		d.tell(msg.NotStarted{Execution: d.open.execution, Proof: "a result on the URL of the job before"})
		g.site.wake(id)
	}
	return true
}

// Look reads the result file.
func (g *Gateway) Look(id msg.ExecutorID) error {
	return g.Do(context.Background(), Look, func() error { return g.look(id, "") })
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
		if d.refused != job {
			d.refused = job
			d.tell(refused)
		}
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
	d.open, d.unstarted, d.late = nil, false, ""
	if via == msg.ViaFile {
		d.late = job
	}
	if rec, ok := g.spool.Job(job); stored || ok && rec.HasResult {
		res.Body = nil
		d.result = &msg.ResultStored{Execution: job, Result: res, Retire: retire}
		d.tell(*d.result)
	} else {
		d.change()
	}
	g.site.wake(id)
	return nil
}
