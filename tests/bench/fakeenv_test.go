package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors"
	"runnerd/actors/actorrt"
	"runnerd/infra/driver/fake"
	"runnerd/infra/masking"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// fakeEnv is the environment of a runner that consists of actors and spool, with the fake engine and fake plugins. Runners can be started
// in it repeatedly.
type fakeEnv struct {
	b          *testing.B
	identity   *seal.Identity
	config     msg.Config
	server     *fakes.Server
	engine     *fake.Driver
	pluginHost *fakes.PluginHost
	dir        string // of the spool
	ids        atomic.Int64
}

func newFakeEnv(b *testing.B, capacity int) *fakeEnv {
	b.Helper()
	s := &fakeEnv{b: b, engine: fake.New(), pluginHost: fakes.NewPluginHost(), dir: b.TempDir()}
	var err error
	s.identity, err = seal.NewIdentity()
	must(b, err)
	s.config = msg.Config{Revision: 1, Enabled: true, Capacity: capacity, Eviction: time.Hour}
	s.server = fakes.NewServer(s.identity.PublicKey(), s.config)
	s.engine.Load("plugin", fake.Image{Program: fakes.Plugin{}.Program(s.pluginHost)})
	b.Cleanup(func() {
		s.engine.Close()
		for _, violation := range append(s.server.Violations(), s.pluginHost.Violations()...) {
			b.Error(violation)
		}
	})
	return s
}

func (s *fakeEnv) openSpool() *spool.Spool {
	s.b.Helper()
	files, err := spool.Dir(s.dir)
	must(s.b, err)
	disk, err := spool.Open(files, spool.Options{Readers: 8})
	must(s.b, err)
	return disk
}

// runner is a running runner of a fakeEnv.
type runner struct {
	env     *fakeEnv
	disk    *spool.Spool
	gateway *fakes.Gateway
	system  *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
}

func (s *fakeEnv) start(release actors.Release) *runner {
	s.b.Helper()
	p := &runner{env: s, disk: s.openSpool(), system: actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})}
	p.gateway = fakes.OpenGateway(s.pluginHost, s.identity, p.disk)
	var err error
	p.root, err = actorrt.SpawnRoot(p.system, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: p.disk, Driver: s.engine, Gateway: p.gateway, Keyring: s.identity,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID:     func() msg.ExecutorID { return msg.ExecutorID(fmt.Sprintf("x%d", s.ids.Add(1))) },
			Limits: msg.ExecutorLimits{Pull: timeout, Start: timeout, PickUp: timeout, Run: time.Hour, Finish: timeout,
				Abort: timeout, Term: timeout, Quiet: time.Millisecond},
		},
		Release: release, Settings: noopConfigStore{}, Config: s.config,
	}))
	must(s.b, err)
	return p
}

// ready waits until the runner is ready.
func (p *runner) ready() {
	p.env.b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); <-tick.C {
		s, err := actorrt.Ask(context.Background(), p.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
		must(p.env.b, err)
		if len(s.NotReady) == 0 {
			return
		}
	}
	p.env.b.Fatal("the runner is not ready after ", timeout)
}

// stop ends the runner as the end of its process would: the executors keep running.
func (p *runner) stop() {
	p.env.b.Helper()
	p.gateway.Close()
	must(p.env.b, p.system.Stop(context.Background()))
	must(p.env.b, p.disk.Close())
}

// noopConfigStore stores nothing, because the benchmarks never load the configuration.
type noopConfigStore struct{}

func (noopConfigStore) SaveConfig(msg.Config) error { return nil }
func (noopConfigStore) RecordDeletion() error       { return nil }
