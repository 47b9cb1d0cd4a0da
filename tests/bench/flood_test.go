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

// BenchmarkFlood does a warm job beside nothing, beside a container of nobody's that writes to its log as fast as it can, and beside an
// executor that does: as long as all of that log is kept, and when it has been cut. What the second costs is the machine's and the
// engine's; what the others cost more is the runner's.
func BenchmarkFlood(b *testing.B) {
	shop := openShop(b)
	taken := samples{}
	quiet := open(b, shop, api.Config{Revision: 1, Enabled: true, Capacity: 2, EvictionSeconds: 3600}, "--max-log", "1GiB")
	cut := open(b, shop, api.Config{Revision: 1, Enabled: true, Capacity: 2, EvictionSeconds: 3600}, "--max-log", "1MiB")
	quiet.job(shop.image)
	cut.job(shop.image)
	measure := func(s *site, beside string) {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for range b.N {
			<-tick.C
			of := samples{}
			s.warm(shop.image, of)
			for _, what := range []string{"warm", "overhead"} {
				taken.add(what+"-beside-"+beside, of[what][0])
			}
		}
	}
	measure(quiet, "nothing")
	shop.floods(func() { measure(quiet, "another") })
	quiet.floods(shop.hostile, func() { measure(quiet, "flood") })
	cut.floods(shop.hostile, func() { measure(cut, "cut-flood") })
	for what := range taken {
		b.ReportMetric(taken.of(what, .5), what+"-p50-ms")
		b.ReportMetric(taken.of(what, .99), what+"-p99-ms")
	}
	for _, beside := range []string{"another", "flood", "cut-flood"} {
		for _, what := range []string{"warm", "overhead"} {
			b.ReportMetric(taken.of(what+"-beside-"+beside, .5)/taken.of(what+"-beside-nothing", .5), what+"-"+beside+"/nothing")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// floods lets a container that is nobody's executor flood its log meanwhile; the log is kept as an executor's is.
func (s *workshop) floods(do func()) {
	ctx := context.Background()
	made, err := s.engine.ContainerCreate(ctx, &container.Config{Image: s.hostile, Cmd: []string{"flood"}}, &container.HostConfig{
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "32m", "max-file": "4"}},
		Resources: container.Resources{CPUPeriod: 100_000, CPUQuota: 100_000},
	}, nil, nil, "")
	must(s.b, err)
	remove := sync.OnceValue(func() error {
		return s.engine.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true})
	})
	s.b.Cleanup(func() { must(s.b, remove()) })
	must(s.b, s.engine.ContainerStart(ctx, made.ID, container.StartOptions{}))
	s.waitForFlood(ctx, made.ID)
	do()
	must(s.b, remove())
}

// waitForFlood returns once a container has written a MiB to its log.
func (s *workshop) waitForFlood(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	log, err := s.engine.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	must(s.b, err)
	_, err = io.CopyN(io.Discard, log, 1<<20)
	must(s.b, errors.Join(err, log.Close()))
}

// floods lets a job flood its log meanwhile.
func (s *site) floods(image string, do func()) {
	s.b.Helper()
	id, err := s.server.Submit(devserver.TaskRequest{Image: image, TaskType: "hostile.Try", Properties: map[string]any{"what": "flood", "size": 1 << 30}})
	must(s.b, err)
	flowing := func() bool {
		view, err := s.server.Task(id)
		must(s.b, err)
		return view.LogSize > 1<<20
	}
	for deadline := time.Now().Add(patience); !flowing(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.b.Fatal("no flood comes")
		}
	}
	do()
	must(s.b, s.server.Abort(id, "all is measured"))
	select {
	case <-s.done:
	case <-time.After(patience):
		s.b.Fatal("the flood does not end")
	}
}
