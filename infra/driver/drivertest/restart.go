package drivertest

import (
	"strings"

	msg "runnerd/messages"
)

// needsRestart skips the test if executors cannot be restarted.
func (b *fixture) needsRestart() {
	b.Helper()
	if b.harness.Restart == nil {
		b.Skip("executors of this driver cannot be restarted")
	}
}

// restart restarts an executor externally.
func (b *fixture) restart(id msg.ExecutorID) {
	b.Helper()
	b.harness.Restart(b.T, b.Driver, id)
}

func (b *fixture) inspect(id msg.ExecutorID) msg.Container {
	b.Helper()
	c, err := b.Inspect(b.ctx, id)
	b.ok(err)
	return c
}

func restarted(b *fixture) {
	b.needsRestart()
	id := b.start(Waits)
	starts := []msg.Container{b.inspect(id)}
	for _, ends := range []bool{false, true} { // while it runs, and when it has ended
		if ends {
			b.expect(id, msg.SIGTERM, 143)
		}
		b.restart(id)
		last, now := starts[len(starts)-1], b.inspect(id)
		if now.State != msg.ContainerRunning || !now.StartedAt.After(last.StartedAt) {
			b.Errorf("the executor was %v before the restart and is %v after it", last, now)
		}
		if list := b.containersOf(id); len(list) != 1 || !same(list[0], now) {
			b.Errorf("listed as %v, want %v", list, now)
		}
		starts = append(starts, now)
		b.awaitText(id, strings.Repeat("ready\n", len(starts)))
	}
}

func waitsForNewProcess(b *fixture) {
	b.needsRestart()
	id := b.start(Waits)
	b.restart(id)
	b.awaitText(id, "ready\nready\n")
	b.expect(id, msg.SIGTERM, 143)
}

func logContinues(b *fixture) {
	b.needsRestart()
	id := b.start(Waits)
	done := make(chan string, 1)
	go func() { done <- textOf(b.log(id, msg.Position{})) }()
	b.restart(id)
	b.awaitText(id, "ready\nready\n")
	b.ok(b.Signal(b.ctx, id, msg.SIGKILL))
	<-done // may have returned between the two processes
	if got := textOf(b.log(id, msg.Position{})); got != "ready\nready\n" {
		b.Errorf("the executor's log is %q", got)
	}
}
