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

// stage is everything around a runner of actors and spool, with the fake engine and plugins. A runner can be started on it
// again and again.
type stage struct {
	b        *testing.B
	identity *seal.Identity
	config   msg.Config
	server   *fakes.Server
	engine   *fake.Driver
	site     *fakes.Site
	dir      string // of the spool
	ids      atomic.Int64
}

func openStage(b *testing.B, capacity int) *stage {
	b.Helper()
	s := &stage{b: b, engine: fake.New(), site: fakes.NewSite(), dir: b.TempDir()}
	var err error
	s.identity, err = seal.NewIdentity()
	must(b, err)
	s.config = msg.Config{Revision: 1, Enabled: true, Capacity: capacity, Eviction: time.Hour}
	s.server = fakes.NewServer(s.identity.PublicKey(), s.config)
	s.engine.Load("plugin", fake.Image{Program: fakes.Plugin{}.Program(s.site)})
	b.Cleanup(func() {
		s.engine.Close()
		for _, breach := range append(s.server.Breaches(), s.site.Breaches()...) {
			b.Error(breach)
		}
	})
	return s
}

func (s *stage) openSpool() *spool.Spool {
	s.b.Helper()
	files, err := spool.Dir(s.dir)
	must(s.b, err)
	disk, err := spool.Open(files, spool.Options{Readers: 8})
	must(s.b, err)
	return disk
}

// player is a runner.
type player struct {
	stage   *stage
	disk    *spool.Spool
	gateway *fakes.Gateway
	system  *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
}

func (s *stage) start(release actors.Release) *player {
	s.b.Helper()
	p := &player{stage: s, disk: s.openSpool(), system: actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})}
	p.gateway = fakes.OpenGateway(s.site, s.identity, p.disk)
	var err error
	p.root, err = actorrt.SpawnRoot(p.system, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: p.disk, Driver: s.engine, Gateway: p.gateway, Keyring: s.identity,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID:     func() msg.ExecutorID { return msg.ExecutorID(fmt.Sprintf("x%d", s.ids.Add(1))) },
			Limits: msg.ExecutorLimits{Pull: patience, Start: patience, PickUp: patience, Run: time.Hour, Settle: patience,
				Abort: patience, Term: patience, Quiet: time.Millisecond},
		},
		Release: release, Settings: forgetful{}, Config: s.config,
	}))
	must(s.b, err)
	return p
}

// ready waits until the runner says that it is.
func (p *player) ready() {
	p.stage.b.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-look.C {
		s, err := actorrt.Ask(context.Background(), p.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
		must(p.stage.b, err)
		if len(s.NotReady) == 0 {
			return
		}
	}
	p.stage.b.Fatal("the runner is not ready after ", patience)
}

// stop ends it as the end of its process does: the executors live on.
func (p *player) stop() {
	p.stage.b.Helper()
	p.gateway.Close()
	must(p.stage.b, p.system.Stop(context.Background()))
	must(p.stage.b, p.disk.Close())
}

// forgetful settings are not needed again.
type forgetful struct{}

func (forgetful) SaveConfig(msg.Config) error { return nil }
func (forgetful) RecordDeletion() error       { return nil }
