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

// silentServer is a server that registers runners and never answers their reports.
type silentServer struct{ *fakes.Server }

func (silentServer) Finish(ctx context.Context, _ msg.Job, _ msg.Ending, _ []byte) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (silentServer) AppendLog(ctx context.Context, _ msg.JobID, _ int64, _ []byte, _ int64) (int64, error) {
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// BenchmarkStart measures a start after a long outage: the time until the spool is read, the time until the runner is ready, and the
// memory that the waiting results need.
func BenchmarkStart(b *testing.B) {
	for _, results := range []int{0, 10_000} {
		b.Run(fmt.Sprint(results), func(b *testing.B) {
			s := newFakeEnv(b, 1)
			s.addResults(results)
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
				p := s.start(silentServer{s.server})
				p.ready()
				b.StopTimer()
				heap = max(heap, heapInUse())
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

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// addResults adds the given number of results of 2 kB, each with a small log, to the spool.
func (s *fakeEnv) addResults(results int) {
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
		must(s.b, disk.CloseLog(o.Execution))
	}
	must(s.b, disk.Close())
}

// BenchmarkRecovery measures a restart with a hundred busy executors: the time until all of them are recovered.
func BenchmarkRecovery(b *testing.B) {
	const executors = 100
	s := newFakeEnv(b, executors)
	for range executors {
		s.server.Submit(fakes.Task{Image: "plugin", Type: taskType, Behavior: fakes.Behavior{Duration: time.Hour}})
	}
	p := s.start(s.server)
	for tick := time.Tick(10 * time.Millisecond); len(s.pluginHost.Runs()) < executors; {
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
