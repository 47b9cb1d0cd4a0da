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

// BenchmarkExecutors measures the cost of a job in the runner while all executors are busy. The executors are fake, so they cost nothing.
// The relevant number is the CPU time in the program; the CPU time in the kernel is the cost of the disk.
func BenchmarkExecutors(b *testing.B) {
	for _, executors := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(executors), func(b *testing.B) { benchExecutors(b, executors) })
	}
}

func benchExecutors(b *testing.B, executors int) {
	starting := 2 * executors // jobs until all executors exist
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

// startRunner starts a runner with the given number of jobs. The channel gets a value for each finished job.
func startRunner(b *testing.B, executors, jobs int) (finished <-chan struct{}) {
	b.Helper()
	s := newFakeEnv(b, executors)
	server := countingServer{s.server, make(chan struct{}, jobs)}
	for range jobs {
		server.Submit(fakes.Task{Image: "plugin", Type: taskType})
	}
	p := s.start(server)
	b.Cleanup(p.stop)
	return server.finished
}

// countingServer signals every finish.
type countingServer struct {
	*fakes.Server
	finished chan struct{}
}

func (s countingServer) Finish(ctx context.Context, job msg.Job, ending msg.Ending, result []byte) error {
	err := s.Server.Finish(ctx, job, ending, result)
	if err == nil {
		s.finished <- struct{}{}
	}
	return err
}

// processorTime returns the CPU time that this process has used.
func processorTime(b *testing.B) (program, kernel time.Duration) {
	b.Helper()
	var used unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano()), time.Duration(used.Stime.Nano())
}
