package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"runnerd/actors"
	"runnerd/actors/shell"
	"runnerd/infra/driver/fake"
	"runnerd/infra/masking"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// BenchmarkExecutors is what a job costs the runner where executors cost nothing, with as many jobs as there are executors at
// work all the time. What counts is the processor's time in the program: that in the kernel is the disk's.
func BenchmarkExecutors(b *testing.B) {
	for _, executors := range []int{10, 100} {
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
	identity, err := seal.NewIdentity()
	must(b, err)
	config := msg.Config{Revision: 1, Enabled: true, Capacity: executors, Eviction: time.Hour}
	server := countingServer{fakes.NewServer(identity.PublicKey(), config), make(chan struct{}, jobs)}
	for range jobs {
		server.Submit(fakes.Task{Image: "plugin", Type: taskType})
	}
	engine, site := fake.New(), fakes.NewSite()
	engine.Load("plugin", fake.Image{Program: fakes.Plugin{}.Program(site)})
	files, err := spool.Dir(b.TempDir())
	must(b, err)
	disk, err := spool.Open(files, spool.Options{})
	must(b, err)
	gateway, err := fakes.OpenGateway(site, identity, disk)
	must(b, err)
	system := shell.NewSystem(shell.Options{Log: zerolog.Nop()})
	var ids atomic.Int64
	_, err = shell.SpawnRoot(system, actors.Root(actors.Program{
		Shop: actors.Shop{
			Spool: disk, Driver: engine, Gateway: gateway, Vault: identity,
			NewFilter: func(s []msg.Secret) actors.Filter { return masking.NewFilter(s) },
			NewID:     func() msg.ExecutorID { return msg.ExecutorID(fmt.Sprintf("x%d", ids.Add(1))) },
			Limits: msg.ExecutorLimits{Pull: patience, Start: patience, PickUp: patience, Run: patience, Settle: patience,
				Abort: patience, Term: patience, Quiet: time.Millisecond},
		},
		Release: server, Settings: forgetful{}, Config: config,
	}))
	must(b, err)
	b.Cleanup(func() {
		gateway.Close()
		must(b, system.Stop(context.Background()))
		engine.Close()
		must(b, disk.Close())
		for _, breach := range append(server.Breaches(), site.Breaches()...) {
			b.Error(breach)
		}
	})
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

// forgetful settings are not needed again.
type forgetful struct{}

func (forgetful) SaveConfig(msg.Config) error { return nil }

// processorTime is what this process has used.
func processorTime(b *testing.B) (program, kernel time.Duration) {
	b.Helper()
	var used unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano()), time.Duration(used.Stime.Nano())
}
