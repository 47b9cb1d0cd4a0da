package contract_test

import (
	"testing"

	msg "runnerd/messages"
)

// BenchmarkWarmRound is what an executor needs from one result to the next: callback, result stored, event, GET, job journaled and handed
// out, with the fsyncs of the disk that the test's directory is on.
func BenchmarkWarmRound(b *testing.B) {
	x := newEnv(b).executor("bench", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	for b.Loop() {
		b.StopTimer()
		next := x.hello()
		b.StartTimer()
		c.deliver(a, j.result(0))
		x.expectOver(j)
		w, stop := c.OpenWatch("")
		await(b, w)
		await(b, w)
		asked := c.ask()
		x.assign(next)
		a = await(b, asked)
		b.StopTimer()
		x.check(a, next)
		stop()
		must(b, x.store.Remove(j.Execution))
		j = next
		b.StartTimer()
	}
}
