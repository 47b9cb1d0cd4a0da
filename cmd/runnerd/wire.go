package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"runnerd/actors"
	"runnerd/actors/actorrt"
	"runnerd/infra/gateway"
	"runnerd/infra/masking"
	"runnerd/infra/release"
	"runnerd/infra/seal"
	"runnerd/infra/systemd"
	msg "runnerd/messages"
	"runnerd/spool"
)

// daemon is everything a runner is made of.
type daemon struct {
	config    RunConfig
	log       zerolog.Logger
	spool     *spool.Spool
	identity  *seal.Identity
	client    *release.Client
	engine    engine
	gateway   *gateway.Gateway
	started   time.Time
	deleted   chan struct{} // closed when the server has deleted this runner
	condemned bool          // it has begun to, before this start

	stillWrites bool // something may write to the spool after all was asked to end

	sockets  map[string]net.Listener // of the service manager; nil: it keeps none
	health   healthDoor
	commands commandDoor
	tree     atomic.Pointer[planted] // nil: not yet
}

// runDaemon is a runner until ctx ends; it then drains or detaches. A second signal ends the process and leaves the executors for
// the next start, which is safe: containers and the spool are the truth.
func runDaemon(ctx context.Context, config RunConfig, log zerolog.Logger) (err error) {
	d := &daemon{config: config, log: log, started: time.Now(), health: newHealthDoor(), commands: newCommandDoor(), deleted: make(chan struct{})}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, open := range []func(context.Context) error{d.meetDeleted, d.openSockets, d.openSpool, d.openIdentity, d.openClient, d.openHealth, d.openCommands, d.openEngine, d.openGateway, d.plant} {
		if err := open(ctx); err != nil {
			d.undoStart(ctx)
			if ctx.Err() != nil { // asked to stop before it had begun
				return nil
			}
			return err
		}
	}
	return d.serve(ctx)
}

// undoStart takes back what a start that comes to nothing has made in the engine, where there is no executor that needs it: there
// may be no next start.
func (d *daemon) undoStart(ctx context.Context) {
	if d.engine == nil || len(d.spool.Executors()) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := d.engine.TearDown(ctx); err != nil {
		d.log.Info().Err(err).Msg("what this start has made in the engine may be left there")
	}
}

func (d *daemon) openSockets(context.Context) (err error) {
	d.sockets, err = systemd.Sockets()
	return err
}

func (d *daemon) openSpool(context.Context) error {
	files, err := spool.Dir(d.spoolDir())
	if err != nil {
		return fmt.Errorf("open the state directory: %w", err)
	}
	lowWater := uint64(d.config.Self.LowWater)
	if d.spool, err = spool.Open(files, spool.Options{LowWater: lowWater, Reserve: lowWater / 4, Readers: 8}); err != nil {
		return errors.Join(err, files.Close())
	}
	return nil
}

func (d *daemon) spoolDir() string { return filepath.Join(d.config.Self.StateDir, "spool") }

func (d *daemon) openIdentity(context.Context) error {
	defer d.sayProblems()
	text, err := d.spool.LoadIdentity(func() ([]byte, error) {
		fresh, err := seal.NewIdentity()
		if err != nil {
			return nil, err
		}
		return fresh.Marshal()
	})
	if err != nil {
		return err
	}
	d.identity, err = seal.ParseIdentity(text)
	return err
}

// sayProblems says what could not be read in the spool, the identity included.
func (d *daemon) sayProblems() {
	for _, p := range d.spool.Problems() {
		d.log.Error().Err(p.Err).Str("what", p.What).Str("name", p.Name).Str("kept", p.Kept).Str("job", string(p.Job)).Msg("a record in the spool cannot be read")
	}
}

func (d *daemon) openEngine(context.Context) (err error) {
	d.engine, err = openEngine(d.config.Executor, d.identity.UUID(), d.config.Self.StateDir)
	return err
}

// plant builds the tree of actors. This is the whole program: what is not named here is not in it.
func (d *daemon) plant(context.Context) error {
	settings := configStore{d.spool, d.note()}
	limits := d.config.Time
	system := actorrt.NewSystem(actorrt.Options{Log: d.log})
	root, err := actorrt.SpawnRoot(system, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool:     d.spool,
			Driver:    d.engine,
			Gateway:   d.gateway,
			Keyring:   d.identity,
			NewFilter: func(secrets []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(secrets, midline) },
			NewID:     newExecutorID,
			Limits: msg.ExecutorLimits{Pull: limits.Pull, Start: limits.Start, PickUp: limits.PickUp, Run: limits.Run,
				Settle: limits.Settle, Abort: limits.AbortWait, Term: limits.TermWait, Quiet: time.Second},
			DiskLimit: int64(d.config.Executor.Disk),
			LogLimit:  int64(d.config.Executor.MaxLog),
			FilesOnly: d.engine.FilesOnly(),
		},
		Release:      d.client,
		Settings:     settings,
		Config:       settings.load(d.log),
		Capabilities: d.config.Release.Capabilities,
		IsDeleted:    d.condemned,
		Deleted:      func() { close(d.deleted) },
		ReadyChanged: d.health.note,
	}))
	if err != nil {
		return err
	}
	d.tree.Store(&planted{root, system})
	d.health.ask(d.notReady)
	return nil
}

func newExecutorID() msg.ExecutorID {
	id := uuid.New()
	return msg.ExecutorID(fmt.Sprintf("%x", id[:6]))
}

// openClient reads what the server is trusted by before anything is made for a runner that could not work.
func (d *daemon) openClient(context.Context) error {
	c := d.config.Release
	pem, err := readOptional(c.CA)
	if err != nil {
		return exitError{fmt.Errorf("read the CA file: %w", err), exitUsage}
	}
	store, err := readOptional(c.Truststore)
	if err != nil {
		return exitError{fmt.Errorf("read the trust store: %w", err), exitUsage}
	}
	roots, err := release.Roots(pem, store, string(c.TruststorePassword))
	if err != nil {
		return exitError{err, exitUsage}
	}
	d.client, err = release.New(release.Options{
		URL: c.URL, Token: c.Token, Name: c.Name, UUID: d.identity.UUID(), Version: thisBuild().Version,
		PublicKey: d.identity.PublicKey(), Capabilities: c.Capabilities,
		Metadata: map[string]string{"clusterName": c.ClusterName, "environment": c.Environment, "dataCenter": c.DataCenter},
		RootCAs:  roots, Log: d.log.With().Str("part", "release").Logger(),
	})
	if err != nil {
		return exitError{err, exitUsage}
	}
	return nil
}

func readOptional(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}
