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

// stallJob sends a GET and answers it with a job whose input has this size. The client does not read the answer yet.
func (x *executor) stallJob(c *gatewaytest.Client, size int) (job, *gatewaytest.Stalled) {
	x.t.Helper()
	get := c.Stall()
	request := expect[msg.SecretRequested](x).Request
	j := x.job()
	must(x.t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", size)})
	return j, get
}

// expectNoDelivery stops the gateway, which ends all tracking of deliveries, and checks that none was reported.
func (x *executor) expectNoDelivery() {
	x.t.Helper()
	x.stop()
	for len(x.events) > 0 {
		if got, ok := (<-x.events).(msg.Delivered); ok {
			x.t.Errorf("reported %+v", got)
		}
	}
}

func TestJobIsDeliveredWhenLastByteIsAcknowledged(t *testing.T) {
	for _, size := range []int{200 << 10, 8 << 20} { // fits into the sender's buffer, and does not
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("stalled", msg.Daemon)
			c := gatewaytest.Python(t, x.access)
			j, get := x.stallJob(c, size)
			body := get.ReadHeader()
			for range 10 { // nothing is reported during these round trips on other connections
				c.Status(http.MethodPost, c.SecretPath())
			}
			_, err := io.Copy(io.Discard, body)
			must(t, err)
			if got := expect[msg.Delivered](x); got.Execution != j.id {
				t.Errorf("delivered: %+v", got)
			}
		})
	}
}

// The new GET may come from another process: what the first process has not received by then must never arrive.
func TestNewGETResetsUnacknowledgedAnswer(t *testing.T) {
	x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("stalled", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	_, get := x.stallJob(c, 8<<20)
	body := get.ReadHeader()
	x.sendGet(c) // no event comes before
	if n, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the first client received all %d bytes after the second GET", n)
	}
	x.expectNoDelivery()
}

func TestBrokenConnectionMeansNotDelivered(t *testing.T) {
	x := newEnv(t, nil).executor("broken", msg.Daemon)
	_, get := x.stallJob(gatewaytest.Python(t, x.access), 200<<10)
	get.ReadHeader()
	get.Reset()
	x.expectNoDelivery()
}

func TestOnlyCurrentJobIsMarkedDelivered(t *testing.T) {
	e := newIdleEnv(t, nil)
	_, err := e.Admit(msg.ExecutorRecord{ID: "older", Job: "current"})
	must(t, err)
	endpoint := e.findEndpoint("older")
	endpoint.markDelivered("previous")
	endpoint.markDelivered("current")
	if len(endpoint.queue.events) != 1 || endpoint.queue.events[0] != msg.SessionEvent(msg.Delivered{Execution: "current"}) {
		t.Errorf("reported %v", endpoint.queue.events)
	}
	e.close()
}
