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

func TestAJobIsDeliveredOnceItsLastByteIsAcknowledged(t *testing.T) {
	for _, size := range []int{200 << 10, 8 << 20} { // it fits into the sender's buffer, and it does not
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("stalled", msg.Daemon)
			c := gatewaytest.Python(t, x.access)
			get := c.Stall()
			request := expect[msg.SecretRequested](x).Request
			j := x.job()
			must(t, x.OpenURLs(x.id, j.url()))
			x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", size)})
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
	get := c.Stall()
	request := expect[msg.SecretRequested](x).Request
	j := x.job()
	must(t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", 8<<20)})
	body := get.Begin()
	x.ask(c) // nothing is told before
	if n, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the first one received all of its %d bytes after the second one had asked", n)
	}
	x.stop()
	for len(x.events) > 0 {
		if got, told := (<-x.events).(msg.Delivered); told {
			t.Errorf("it is told: %+v", got)
		}
	}
}

func TestAJobWhoseConnectionBreaksIsNotDelivered(t *testing.T) {
	x := newEnv(t, nil).executor("broken", msg.Daemon)
	get := gatewaytest.Python(t, x.access).Stall()
	request := expect[msg.SecretRequested](x).Request
	j := x.job()
	must(t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", 200<<10)})
	get.Begin()
	get.Break()
	x.stop() // waits for whoever waits for the acknowledgement
	for len(x.events) > 0 {
		if got, told := (<-x.events).(msg.Delivered); told {
			t.Errorf("it is told: %+v", got)
		}
	}
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
