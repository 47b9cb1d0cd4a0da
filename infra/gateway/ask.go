package gateway

import (
	"context"
	"net/http"
	"os"
	"time"

	msg "runnerd/messages"
)

// get answers a GET of the Secret.
func (d *door) get(w http.ResponseWriter, r *http.Request) {
	a, err := d.ask(r.Context())
	if err != nil {
		return // the client has gone
	}
	if err := a.write(w); err != nil {
		d.log.Info().Err(err).Msg("the answer was cut; the plugin repeats its request, or proves that it did not start")
		return
	}
	if a.job != nil {
		d.wrote(a.job)
	}
}

// ask returns what the plugin's question for its Secret means now. It may take for ever; that is the hold.
func (d *door) ask(ctx context.Context) (answer, error) {
	if err := d.look(); err != nil {
		d.log.Warn().Err(err).Msg("cannot look at the result file")
	}
	h, a := d.reply()
	if h == nil {
		return a, nil
	}
	select {
	case a := <-h.answer:
		return a, nil
	case <-ctx.Done():
	}
	if d.letGo(h) {
		return answer{}, ctx.Err()
	}
	return <-h.answer, nil // the job crossed the loss: it is handed out
}

// reply answers at once, or begins a hold. What a job has left is removed before the next one can come. A plugin may have left
// so much that this takes long: it keeps nobody waiting but the plugin, which is ended when it takes too long to settle.
func (d *door) reply() (*hold, answer) {
	d.clearing.Lock()
	defer d.clearing.Unlock()
	h, a, ok := d.replyOver(false)
	if !ok {
		d.emptyOut()
		h, a, _ = d.replyOver(true)
	}
	return h, a
}

// replyOver is reply; not ok: the directory is to be cleared first. Nobody but a GET begins a hold or hands out again, so while
// clearing is held no job comes in between.
func (d *door) replyOver(cleared bool) (h *hold, a answer, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, d.g.comeAgain("the runner is being restarted"), true
	case d.phase == settled:
		return nil, answer{status: http.StatusOK, body: d.secret(d.emptied(d.job))}, true
	case !cleared && (d.phase == unstarted || d.phase == waiting && d.hold == nil):
		return nil, answer{}, false
	case d.phase == waiting:
		return d.beginHold(), answer{}, true
	}
	a, err := d.repeat()
	if err != nil {
		// Only the spool can cause it. The client asks again, as long as it can.
		d.log.Error().Err(err).Str("job", string(d.job.execution)).Msg("cannot give out the job again")
		return nil, d.g.comeAgain("the job cannot be read"), true
	}
	return nil, a, true
}

// repeat answers with the open job again, and journals that when the job did not start the first time. mu is held.
func (d *door) repeat() (answer, error) {
	input, err := d.g.Store.Input(d.job.execution)
	if err != nil {
		return answer{}, err
	}
	if d.phase == unstarted {
		if err := d.journal(d.job, time.Now()); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusOK, body: d.secret(d.filled(d.job, input)), job: d.job}, nil
}

// beginHold makes the GET wait. An older one that seems to wait is a connection that was lost. mu is held.
func (d *door) beginHold() *hold {
	if d.hold != nil {
		d.hold.answer <- tooMany("a newer request waits")
	} else {
		d.news.add(msg.Held{})
	}
	d.hold = &hold{answer: make(chan answer, 1)}
	d.owed, d.held, d.gaveUp = false, true, false
	return d.hold
}

// letGo ends a hold that was lost; false: it was answered.
func (d *door) letGo(h *hold) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hold != h {
		return false
	}
	d.hold = nil
	d.news.add(msg.HoldLost{})
	if d.gaveUp {
		d.owe()
	}
	return true
}

// emptyOut leaves nothing of the job before to the next. What cannot be removed cannot be taken for a result either: it is
// encrypted with another key.
func (d *door) emptyOut() {
	if err := empty(d.out()); err != nil && !os.IsNotExist(err) {
		d.log.Warn().Err(err).Msg("cannot empty the result directory")
	}
}
