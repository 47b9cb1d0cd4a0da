package bench

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

const (
	executorsOfScripts = 4
	scriptsPerLoad     = 10
	taskSteps          = 3 // of 100 ms
)

// BenchmarkScript asks for the same script of one runner under several loads. All its executors are warm.
func BenchmarkScript(b *testing.B) {
	shop := openShop(b)
	s := &site{b: b}
	url := s.serve(shop.types, api.Config{Revision: 1, Enabled: true, Capacity: executorsOfScripts, EvictionSeconds: 3600}, nil)
	s.run(shop.runnerd, "--release-url", url, "--state-dir", filepath.Join(b.TempDir(), "state"))
	s.load(shop.image, executorsOfScripts)() // now there are as many executors
	taken := samples{}
	for range b.N {
		for _, load := range []struct {
			what  string
			tasks int // that run or wait, all the time
		}{{"idle", 0}, {"busy", executorsOfScripts - 1}, {"full", 2 * executorsOfScripts}} {
			stop := s.load(shop.image, load.tasks)
			s.scripts(shop.image, load.what, taken)
			stop()
		}
	}
	for what := range taken {
		b.ReportMetric(taken.of(what, .5), what+"-p50-ms")
		b.ReportMetric(taken.of(what, .99), what+"-p99-ms")
	}
	b.ReportMetric(taken.of("busy", .5)/taken.of("idle", .5), "busy/idle-p50")
	b.ReportMetric(taken.of("busy", .99)/taken.of("idle", .99), "busy/idle-p99")
	b.ReportMetric(0, "ns/op")
}

func (s *site) scripts(image, what string, taken samples) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range scriptsPerLoad {
		<-tick.C
		began := time.Now()
		s.completes(devserver.TaskRequest{Image: image, TaskType: "sample.Lookup", Properties: map[string]any{"prefix": "A"}})
		taken.add(what, time.Since(began))
	}
}

// load keeps so many tasks at the server, and returns once as many as there are executors for are at work. stop returns when none
// is left.
func (s *site) load(image string, tasks int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var under sync.WaitGroup
	for range tasks {
		under.Go(func() {
			for ctx.Err() == nil {
				s.completes(devserver.TaskRequest{Image: image, TaskType: "sample.Slow", Properties: map[string]any{"steps": taskSteps, "delayMillis": 100}})
			}
		})
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); s.running() < min(tasks, executorsOfScripts); <-look.C {
		if time.Now().After(deadline) {
			n := s.running()
			cancel()
			under.Wait()
			s.b.Fatalf("only %d tasks ran at once", n)
		}
	}
	return func() { cancel(); under.Wait() }
}

func (s *site) running() (n int) {
	for _, t := range s.server.Tasks() {
		if t.State == devserver.Running {
			n++
		}
	}
	return n
}

func (s *site) completes(request devserver.TaskRequest) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id, err := s.server.Submit(request)
	if err != nil {
		s.b.Error(err)
		return
	}
	if view, err := s.server.Wait(ctx, id); err != nil || view.State != devserver.Completed {
		s.b.Errorf("%s is %s: %s %v", request.TaskType, view.State, view.Message, err)
	}
}
