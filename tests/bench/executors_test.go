package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// BenchmarkExecutors is what a job costs the runner where executors cost nothing, with as many jobs as there are executors at
// work all the time. What counts is the processor's time in the program: that in the kernel is the disk's.
func BenchmarkExecutors(b *testing.B) {
	for _, executors := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(executors), func(b *testing.B) { benchExecutors(b, executors) })
	}
}

func benchExecutors(b *testing.B, executors int) {
	starting := 2 * executors // jobs until all executors are there
	finished := startRunner(b, executors, starting+b.N)
	for range starting {
		<-finished
	}
	program, kernel := processorTime(b)
	b.ResetTimer()
	for range b.N {
		<-finished
	}
	b.StopTimer()
	program2, kernel2 := processorTime(b)
	b.ReportMetric(float64((program2-program).Microseconds())/float64(b.N), "program-µs/job")
	b.ReportMetric(float64((kernel2-kernel).Microseconds())/float64(b.N), "kernel-µs/job")
}

// startRunner gives a runner so many jobs, and says when each is finished.
func startRunner(b *testing.B, executors, jobs int) (finished <-chan struct{}) {
	b.Helper()
	s := openStage(b, executors)
	server := countingServer{s.server, make(chan struct{}, jobs)}
	for range jobs {
		server.Submit(fakes.Task{Image: "plugin", Type: taskType})
	}
	p := s.start(server)
	b.Cleanup(p.stop)
	return server.finished
}

// countingServer tells of every finish.
type countingServer struct {
	*fakes.Server
	finished chan struct{}
}

func (s countingServer) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	err := s.Server.Finish(ctx, of, ending, result)
	if err == nil {
		s.finished <- struct{}{}
	}
	return err
}

// processorTime is what this process has used.
func processorTime(b *testing.B) (program, kernel time.Duration) {
	b.Helper()
	var used unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano()), time.Duration(used.Stime.Nano())
}
