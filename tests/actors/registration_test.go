package actors_test

import (
	"slices"
	"testing"
	"time"

	"runnerd/tests/fakes"
)

func TestForgetfulServerIsNotFloodedWithRegistrations(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		e.server.Script(fakes.Finish, slices.Repeat([]fakes.Call{{Err: refusal(403, 0)}}, 500)...)
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(10 * time.Minute)
		if n := len(e.server.Calls(fakes.Register)); n < 10 || n > 300 {
			t.Errorf("%d registrations in 10 min, want 10 to 300", n)
		}
		e.awaitCompleted(id)
	})
}
