package bench

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// BenchmarkFlood measures a warm job alone, next to another container that floods its log, and next to an executor that floods its log:
// while all of that log is stored, and after it was truncated. The other container is not an executor, so it shows what a flood costs the
// machine and the engine; what an executor's flood costs beyond that is the cost of the runner.
func BenchmarkFlood(b *testing.B) {
	h := newHarness(b)
	results := samples{}
	quiet := newEnv(b, h, api.Config{Revision: 1, Enabled: true, Capacity: 2, EvictionSeconds: 3600}, "--max-log", "1GiB")
	cut := newEnv(b, h, api.Config{Revision: 1, Enabled: true, Capacity: 2, EvictionSeconds: 3600}, "--max-log", "1MiB")
	quiet.runJob(h.image)
	cut.runJob(h.image)
	measure := func(s *env, beside string) {
		tick := time.NewTicker(jobInterval)
		defer tick.Stop()
		for range b.N {
			<-tick.C
			sample := samples{}
			s.measureWarm(h.image, sample)
			for _, what := range []string{"warm", "overhead"} {
				results.add(what+"-beside-"+beside, sample[what][0])
			}
		}
	}
	measure(quiet, "nothing")
	h.withFlood(func() { measure(quiet, "another") })
	quiet.withJobFlood(h.hostile, func() { measure(quiet, "flood") })
	cut.withJobFlood(h.hostile, func() { measure(cut, "cut-flood") })
	for what := range results {
		b.ReportMetric(results.quantile(what, .5), what+"-p50-ms")
		b.ReportMetric(results.quantile(what, .99), what+"-p99-ms")
	}
	for _, beside := range []string{"another", "flood", "cut-flood"} {
		for _, what := range []string{"warm", "overhead"} {
			b.ReportMetric(results.quantile(what+"-beside-"+beside, .5)/results.quantile(what+"-beside-nothing", .5), what+"-"+beside+"/nothing")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// withFlood calls do while a container that is not an executor floods its log. Its log options are those of an executor.
func (s *harness) withFlood(do func()) {
	ctx := context.Background()
	created, err := s.engine.ContainerCreate(ctx, &container.Config{Image: s.hostile, Cmd: []string{"flood"}}, &container.HostConfig{
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "32m", "max-file": "4"}},
		Resources: container.Resources{CPUPeriod: 100_000, CPUQuota: 100_000},
	}, nil, nil, "")
	must(s.b, err)
	remove := sync.OnceValue(func() error {
		return s.engine.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true})
	})
	s.b.Cleanup(func() { must(s.b, remove()) })
	must(s.b, s.engine.ContainerStart(ctx, created.ID, container.StartOptions{}))
	s.waitForFlood(ctx, created.ID)
	do()
	must(s.b, remove())
}

// waitForFlood waits until a container has written 1 MiB to its log.
func (s *harness) waitForFlood(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	log, err := s.engine.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	must(s.b, err)
	_, err = io.CopyN(io.Discard, log, 1<<20)
	must(s.b, errors.Join(err, log.Close()))
}

// withJobFlood calls do while a job floods its log.
func (s *env) withJobFlood(image string, do func()) {
	s.b.Helper()
	id, err := s.server.Submit(devserver.TaskRequest{Image: image, TaskType: "hostile.Try", Properties: map[string]any{"what": "flood", "size": 1 << 30}})
	must(s.b, err)
	flowing := func() bool {
		view, err := s.server.Task(id)
		must(s.b, err)
		return view.LogSize > 1<<20
	}
	for deadline := time.Now().Add(timeout); !flowing(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.b.Fatal("the job does not flood its log")
		}
	}
	do()
	must(s.b, s.server.Abort(id, "measurement done"))
	select {
	case <-s.done:
	case <-time.After(timeout):
		s.b.Fatal("the aborted job does not end")
	}
}
