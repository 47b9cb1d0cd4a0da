package contract_test

import (
	"testing"

	msg "runnerd/messages"
)

// BenchmarkWarmRound measures the time from one result of an executor to the next: callback, storing the result, event, GET, journaling and
// handing out the job. It includes the fsyncs of the disk with the test's directory.
func BenchmarkWarmRound(b *testing.B) {
	x := newEnv(b).newExecutor("bench", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	for b.Loop() {
		b.StopTimer()
		next := x.helloTask()
		b.StartTimer()
		c.postResult(a, j.result(0))
		x.expectEnded(j)
		w, stop := c.OpenWatch("")
		await(b, w)
		await(b, w)
		asked := c.poll()
		x.assign(next)
		a = await(b, asked)
		b.StopTimer()
		x.checkDelivered(a, next)
		stop()
		must(b, x.store.Remove(j.Execution))
		j = next
		b.StartTimer()
	}
}
