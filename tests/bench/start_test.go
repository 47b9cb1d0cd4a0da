package bench

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// silent is a server that registers runners and takes nothing from them.
type silent struct{ *fakes.Server }

func (silent) Finish(ctx context.Context, _ msg.Job, _ msg.Ending, _ []byte) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (silent) AppendLog(ctx context.Context, _ msg.JobID, _ int64, _ []byte, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// BenchmarkStart is what a start costs after a long outage: until the spool is read, and until the runner is ready; and what memory
// all that waits takes.
func BenchmarkStart(b *testing.B) {
	for _, results := range []int{0, 10_000} {
		b.Run(fmt.Sprint(results), func(b *testing.B) {
			s := openStage(b, 1)
			s.owes(results)
			b.ResetTimer()
			var opened time.Duration
			var heap uint64
			for range b.N {
				began := time.Now()
				disk := s.openSpool()
				opened += time.Since(began)
				b.StopTimer()
				must(b, disk.Close())
				b.StartTimer()
				p := s.start(silent{s.server})
				p.ready()
				b.StopTimer()
				heap = max(heap, inUse())
				p.stop()
				b.StartTimer()
			}
			b.StopTimer()
			b.ReportMetric(float64(opened.Milliseconds())/float64(b.N), "open-ms")
			b.ReportMetric(float64((b.Elapsed()-opened).Milliseconds())/float64(b.N), "ready-ms")
			b.ReportMetric(float64(heap)/1e6, "heap-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// owes puts so many results of two kilobytes, each with a little log, into the spool.
func (s *stage) owes(results int) {
	s.b.Helper()
	if results == 0 {
		return
	}
	disk := s.openSpool()
	for range results {
		s.server.Submit(fakes.Task{Image: "plugin", Type: taskType})
	}
	offers, err := s.server.Reserve(context.Background(), results, 0)
	must(s.b, err)
	for _, o := range offers {
		must(s.b, disk.Add(o))
		must(s.b, s.server.Confirm(context.Background(), o.ID, o.Execution))
		must(s.b, disk.Confirm(o.Execution))
		must(s.b, disk.AppendLog(o.Execution, make([]byte, 500), msg.Position{Time: time.Now(), Count: 1}))
		_, err := disk.StoreResult(o.Execution, msg.Result{Body: []byte(seal.Encrypt(seal.NewKey(), make([]byte, 1500)))})
		must(s.b, err)
		must(s.b, disk.EndLog(o.Execution))
	}
	must(s.b, disk.Close())
}

// BenchmarkRecovery is a restart with a hundred executors at work: until all of them are found again.
func BenchmarkRecovery(b *testing.B) {
	const executors = 100
	s := openStage(b, executors)
	for range executors {
		s.server.Submit(fakes.Task{Image: "plugin", Type: taskType, Errand: fakes.Errand{Works: time.Hour}})
	}
	p := s.start(s.server)
	for tick := time.Tick(10 * time.Millisecond); len(s.site.Runs()) < executors; {
		<-tick
	}
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		p.stop()
		b.StartTimer()
		p = s.start(s.server)
		p.ready()
	}
	b.StopTimer()
	p.stop()
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ready-ms")
	b.ReportMetric(0, "ns/op")
}
