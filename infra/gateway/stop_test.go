package gateway

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

func TestRule6PlannedStopAnswers503AndEndsWatches(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Second, time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			x := newEnv(t, func(o *Options) { o.RetryAfter = after }).executor("planned", msg.Daemon)
			c := gatewaytest.Python(t, x.access)
			answers, request := x.sendGet(c)
			events := c.Watch(gatewaytest.InformerParams("1"))
			watch := expect[msg.WatchOpened](x)
			x.stop()
			a := await(t, answers)
			if seconds, _ := strconv.Atoi(a.RetryAfter); a.Status != http.StatusServiceUnavailable || seconds != int(after.Seconds()) {
				t.Errorf("status %d, Retry-After %q", a.Status, a.RetryAfter)
			}
			if _, more := <-events; more {
				t.Error("the watch is still open")
			}
			ended := map[msg.RequestID]bool{expect[msg.RequestEnded](x).Request: true, expect[msg.RequestEnded](x).Request: true}
			if !ended[request] || !ended[watch.Request] {
				t.Errorf("ended: %v", ended)
			}
		})
	}
}

func TestRule6CallbackIsAnsweredDuringPlannedStop(t *testing.T) {
	e := newEnv(t, nil)
	x, other := e.executor("late", msg.Daemon), e.executor("idle", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	url := x.give(c, j).CallbackURL(t)
	posted := c.PostAsync(url, j.result(0))
	callback := expect[msg.CallbackReceived](x)
	unavailable, _ := other.sendGet(gatewaytest.Python(t, other.access))
	stopped := make(chan struct{})
	go func() { defer close(stopped); e.stop() }()
	await(t, unavailable) // the stop has begun
	x.subscribe()
	expect[msg.Delivered](x)
	if again := expect[msg.CallbackReceived](x); again.Request != callback.Request {
		t.Errorf("second event is %+v", again)
	}
	x.Answer(x.id, callback.Request, msg.Accept{})
	if status := await(t, posted); status != http.StatusNoContent {
		t.Errorf("callback: status %d", status)
	}
	await(t, stopped)
}
