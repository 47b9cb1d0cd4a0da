package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

func TestAResultThatIsTooLargeIsRefusedOnceHoweverItComes(t *testing.T) {
	body := strings.Repeat("A", 10000)
	for _, first := range []string{"file", "callback"} {
		t.Run("first by "+first, func(t *testing.T) {
			e := newWorld(t, func(o *Options) { o.MaxResult = 4096 }).executor("large", msg.Daemon)
			p := newPython(e)
			asked := p.ask()
			j := e.hello()
			e.give(j)
			a := await(t, asked)
			expect[msg.Delivered](e)
			if first == "callback" {
				p.deliver(a, body)
			} else {
				e.writesOn(body[:5000])
				e.writeResult(body)
			}
			got := expect[msg.ResultRefused](e)
			if got.Execution != j.id || !strings.Contains(got.Reason, "10000") || !strings.Contains(got.Reason, "4096") {
				t.Errorf("refused: %+v", got)
			}
			e.writeResult(body)
			p.deliver(a, body)
			p.deliver(a, j.result(0)) // the control: it fits, and is told next
			expect[msg.ResultStored](e)
		})
	}
}

func TestAResultFileThatIsTooLargeAndOverwrittenByOneThatFitsIsNotRefused(t *testing.T) {
	e := newWorld(t, func(o *Options) { o.MaxResult = 4096 }).executor("again", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	expect[msg.Delivered](e)
	e.writesOn(strings.Repeat("A", 10000))
	d, err := e.find(e.id)
	must(t, err)
	must(t, d.look())
	e.writeResult(j.result(0))
	expect[msg.ResultStored](e)
}

func TestAResultFileThatIsTooLargeIsRefusedAtOnceWhenItsPluginHasEnded(t *testing.T) {
	e := newWorld(t, func(o *Options) { o.MaxResult = 4096 }).executor("ended", msg.Daemon)
	asked := newPython(e).ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	e.writeResult(strings.Repeat("A", 10000))
	refused, ok := errors.AsType[msg.ResultRefused](e.Look(e.id))
	if !ok || refused.Execution != j.id || !strings.Contains(refused.Reason, "10000") {
		t.Errorf("the look says %+v, %v", refused, ok)
	}
}

func TestAPluginsNoiseIsAWarningOnce(t *testing.T) {
	var log bytes.Buffer
	e := newWorld(t, func(o *Options) {
		o.Log = zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.WarnLevel)
	}).executor("noise", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	e.give(e.hello())
	a := await(t, asked)
	expect[msg.Delivered](e)
	for range 10 {
		p.deliver(a, "no result")
	}
	e.stop() // nothing writes to the log any more
	if n := strings.Count(log.String(), "what is not the job's result"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

func TestMoreRequestsThanAnExecutorHasPlacesAreAskedToComeLater(t *testing.T) {
	e := newWorld(t, nil).executor("many", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	e.give(e.hello())
	a := await(t, asked)
	d, err := e.find(e.id)
	must(t, err)
	for _, c := range []struct {
		door   string
		places chan struct{}
		knock  func() int
		free   int
	}{
		{"the Secrets API", d.places, func() int {
			r, err := p.request(context.Background(), http.MethodGet, collection+"?fieldSelector="+p.selector())
			must(t, err)
			defer func() { _ = r.Body.Close() }()
			return r.StatusCode
		}, http.StatusOK},
		{"callbacks", d.calls, func() int { return p.post(plainURL(t, a.secret.Data["url"]), "x") }, http.StatusNoContent},
	} {
		t.Run(c.door, func(t *testing.T) {
			for range cap(c.places) { // a request that was answered may leave its place only now
				c.places <- struct{}{}
			}
			if got := c.knock(); got != http.StatusTooManyRequests {
				t.Errorf("answered %d with no place free", got)
			}
			for len(c.places) > 0 {
				<-c.places
			}
			if got := c.knock(); got != c.free { // the control
				t.Errorf("answered %d with a place free", got)
			}
		})
	}
}

func TestRule4AProofIsNotForgottenByACrash(t *testing.T) {
	w := newWorld(t, nil)
	e := w.executor("proven", msg.Daemon)
	p := newPython(e)
	before := e.hello()
	old := p.finish(before, p.ask())
	p.armed()
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	expect[msg.Delivered](e)
	p.deliver(old, before.result(1))
	expect[msg.NotStarted](e)

	w.crash()
	w.start()
	e.watch()
	p.armed() // its plugin waits for an event
	await(t, p.get(context.Background()))
	expect[msg.Delivered](e)
	if rec, _ := e.spool.Job(j.id); rec.HandOuts != 2 || rec.Unstarted {
		t.Errorf("handed out %d times, unstarted %v", rec.HandOuts, rec.Unstarted)
	}
}
