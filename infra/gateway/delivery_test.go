package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

// stalls is a GET that is answered with a job of so many bytes, which the client has not begun to read.
func (x *executor) stalls(c *gatewaytest.Client, size int) (job, *gatewaytest.Stalled) {
	x.t.Helper()
	get := c.Stall()
	request := expect[msg.SecretRequested](x).Request
	j := x.job()
	must(x.t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", size)})
	return j, get
}

// noDelivery ends the gateway, which waits for whoever waits for an acknowledgement, and looks at what was told.
func (x *executor) noDelivery() {
	x.t.Helper()
	x.stop()
	for len(x.events) > 0 {
		if got, told := (<-x.events).(msg.Delivered); told {
			x.t.Errorf("it is told: %+v", got)
		}
	}
}

func TestAJobIsDeliveredOnceItsLastByteIsAcknowledged(t *testing.T) {
	for _, size := range []int{200 << 10, 8 << 20} { // it fits into the sender's buffer, and it does not
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("stalled", msg.Daemon)
			c := gatewaytest.Python(t, x.access)
			j, get := x.stalls(c, size)
			body := get.Begin()
			for range 10 { // round trips on other connections, and nothing is told
				c.Status(http.MethodPost, c.Own())
			}
			_, err := io.Copy(io.Discard, body)
			must(t, err)
			if got := expect[msg.Delivered](x); got.Execution != j.id {
				t.Errorf("delivered: %+v", got)
			}
		})
	}
}

// Whoever asks may be another process: what the first one has not received by then must never arrive.
func TestAnAnswerThatIsNotAcknowledgedEndsWhenTheJobIsAskedForAgain(t *testing.T) {
	x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("stalled", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	_, get := x.stalls(c, 8<<20)
	body := get.Begin()
	x.ask(c) // nothing is told before
	if n, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the first one received all of its %d bytes after the second one had asked", n)
	}
	x.noDelivery()
}

func TestAJobWhoseConnectionBreaksIsNotDelivered(t *testing.T) {
	x := newEnv(t, nil).executor("broken", msg.Daemon)
	_, get := x.stalls(gatewaytest.Python(t, x.access), 200<<10)
	get.Begin()
	get.Break()
	x.noDelivery()
}

// The job that the plugin was given last counts: an older one is over.
func TestAnOlderJobIsNotDelivered(t *testing.T) {
	e := newSilentEnv(t, nil)
	_, err := e.Admit(msg.ExecutorRecord{ID: "older", Job: "current"})
	must(t, err)
	at := e.find("older")
	at.isDelivered("before")
	at.isDelivered("current")
	if len(at.queue.events) != 1 || at.queue.events[0] != msg.SessionEvent(msg.Delivered{Execution: "current"}) {
		t.Errorf("told %v", at.queue.events)
	}
	e.close()
}
