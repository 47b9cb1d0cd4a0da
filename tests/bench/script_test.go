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
	scriptExecutors = 4
	scriptsPerLoad  = 10
	taskSteps       = 3 // of 100 ms
)

// BenchmarkScript runs the same script on one runner under several loads. All executors are warm.
func BenchmarkScript(b *testing.B) {
	h := newHarness(b)
	s := &env{b: b}
	url := s.serve(h.typeDefinitions, api.Config{Revision: 1, Enabled: true, Capacity: scriptExecutors, EvictionSeconds: 3600}, nil)
	s.startRunner(h.runnerd, "--release-url", url, "--state-dir", filepath.Join(b.TempDir(), "state"))
	s.startLoad(h.image, scriptExecutors)() // starts all executors
	results := samples{}
	for range b.N {
		for _, load := range []struct {
			what  string
			tasks int // that run or wait all the time
		}{{"idle", 0}, {"busy", scriptExecutors - 1}, {"full", 2 * scriptExecutors}} {
			stop := s.startLoad(h.image, load.tasks)
			s.measureScripts(h.image, load.what, results)
			stop()
		}
	}
	for what := range results {
		b.ReportMetric(results.quantile(what, .5), what+"-p50-ms")
		b.ReportMetric(results.quantile(what, .99), what+"-p99-ms")
	}
	b.ReportMetric(results.quantile("busy", .5)/results.quantile("idle", .5), "busy/idle-p50")
	b.ReportMetric(results.quantile("busy", .99)/results.quantile("idle", .99), "busy/idle-p99")
	b.ReportMetric(0, "ns/op")
}

func (s *env) measureScripts(image, what string, results samples) {
	tick := time.NewTicker(jobInterval)
	defer tick.Stop()
	for range scriptsPerLoad {
		<-tick.C
		began := time.Now()
		s.runTask(devserver.TaskRequest{Image: image, TaskType: "sample.Lookup", Properties: map[string]any{"prefix": "A"}})
		results.add(what, time.Since(began))
	}
}

// startLoad keeps the given number of tasks at the server and returns once all executors that they can use are busy. stop returns when all
// tasks are finished.
func (s *env) startLoad(image string, tasks int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range tasks {
		workers.Go(func() {
			for ctx.Err() == nil {
				s.runTask(devserver.TaskRequest{Image: image, TaskType: "sample.Slow", Properties: map[string]any{"steps": taskSteps, "delayMillis": 100}})
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); s.running() < min(tasks, scriptExecutors); <-tick.C {
		if time.Now().After(deadline) {
			n := s.running()
			cancel()
			workers.Wait()
			s.b.Fatalf("only %d tasks ran at once", n)
		}
	}
	return func() { cancel(); workers.Wait() }
}

func (s *env) running() (n int) {
	for _, t := range s.server.Tasks() {
		if t.State == devserver.Running {
			n++
		}
	}
	return n
}

func (s *env) runTask(request devserver.TaskRequest) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
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
