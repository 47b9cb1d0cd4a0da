package actors_test

import (
	"slices"
	"testing"
	"time"

	"runnerd/tests/fakes"
)

func TestAServerThatForgetsARunnerAsSoonAsItHasTakenItIsNotFlooded(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		w.server.Script(fakes.Finish, slices.Repeat([]fakes.Call{{Fails: refusal(403, 0)}}, 500)...)
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(10 * time.Minute)
		if n := len(w.server.Calls(fakes.Register)); n < 10 || n > 300 {
			t.Errorf("%d registrations in 10 min, want some a minute", n)
		}
		w.completes(id)
	})
}
