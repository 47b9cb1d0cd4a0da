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

// daemon has the parts of a runner.
type daemon struct {
	config          RunConfig
	log             zerolog.Logger
	spool           *spool.Spool
	identity        *seal.Identity
	client          *release.Client
	engine          engine
	gateway         *gateway.Gateway
	started         time.Time
	deleted         chan struct{} // closed when the server's deletion of this runner is complete
	deletionPending bool          // an earlier start did not finish the deletion

	writersRunning bool // something may still write to the spool after everything was told to stop

	sockets  map[string]net.Listener // from the service manager; nil: it passed none
	health   healthServer
	commands commandServer
	tree     atomic.Pointer[actorTree] // nil: not started yet
}

// runDaemon runs a runner until ctx ends, and then drains or detaches. A second signal ends the process at once. That is safe,
// because the next start rebuilds everything from the containers and the spool.
func runDaemon(ctx context.Context, config RunConfig, log zerolog.Logger) (err error) {
	d := &daemon{config: config, log: log, started: time.Now(), health: newHealthServer(), commands: newCommandServer(), deleted: make(chan struct{})}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, open := range []func(context.Context) error{d.createStateDir, d.checkDeletion, d.openSockets, d.openSpool, d.openIdentity, d.openClient, d.openHealth, d.openCommands, d.openEngine, d.openGateway, d.startActors} {
		if err := open(ctx); err != nil {
			d.undoStart(ctx)
			if ctx.Err() != nil { // told to stop during the start
				return nil
			}
			return err
		}
	}
	return d.serve(ctx)
}

// undoStart removes what a failed start created in the engine, unless an executor needs it, because there may be no next start.
func (d *daemon) undoStart(ctx context.Context) {
	if d.engine == nil || len(d.spool.Executors()) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := d.engine.TearDown(ctx); err != nil {
		d.log.Info().Err(err).Msg("could not undo the start; the runner's Docker network may remain")
	}
}

func (d *daemon) openSockets(context.Context) (err error) {
	d.sockets, err = systemd.Sockets()
	return err
}

// lockTimeout is how long a start waits for the end of a runner that was killed a moment ago, or is about to exit.
const lockTimeout = 5 * time.Second

func (d *daemon) openSpool(ctx context.Context) error {
	files, err := spool.Dir(d.spoolDir())
	if err != nil {
		return fmt.Errorf("open the state directory: %w", err)
	}
	lowWater := uint64(d.config.Self.LowWater)
	for start, logged := time.Now(), false; ; {
		d.spool, err = spool.Open(files, spool.Options{LowWater: lowWater, Reserve: lowWater / 4, Readers: 8})
		if err == nil {
			return nil
		}
		held, ok := errors.AsType[*spool.HeldError](err)
		if !ok || time.Since(start) > lockTimeout {
			return errors.Join(err, files.Close())
		}
		if !logged {
			d.log.Info().Str("holder", held.Holder).Str("dir", d.config.Self.StateDir).Dur("timeout", lockTimeout).Msg("waiting for another runner to release the state directory")
			logged = true
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(err, files.Close())
		}
	}
}

func (d *daemon) spoolDir() string { return filepath.Join(d.config.Self.StateDir, "spool") }

func (d *daemon) openIdentity(context.Context) error {
	defer d.logSpoolProblems()
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

// logSpoolProblems logs the records that could not be read, the identity included.
func (d *daemon) logSpoolProblems() {
	for _, p := range d.spool.Problems() {
		d.log.Error().Err(p.Err).Str("kind", p.What).Str("name", p.Name).Str("quarantined", p.Quarantined).Str("execution", string(p.Job)).Msg("could not read a spool record")
	}
}

func (d *daemon) openEngine(context.Context) (err error) {
	d.engine, err = openEngine(d.config.Executor, d.identity.UUID(), d.config.Self.StateDir)
	return err
}

// startActors wires and starts the tree of actors.
func (d *daemon) startActors(context.Context) error {
	settings := configStore{d.spool, d.tombstone()}
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
				Finish: limits.Finish, Abort: limits.AbortWait, Term: limits.TermWait, Quiet: time.Second},
			DiskLimit: int64(d.config.Executor.Disk),
			LogLimit:  int64(d.config.Executor.MaxLog),
			FilesOnly: d.engine.FilesOnly(),
		},
		Release:      d.client,
		Settings:     settings,
		Config:       settings.load(d.log),
		Capabilities: d.config.Release.Capabilities,
		IsDeleted:    d.deletionPending,
		Deleted:      func() { close(d.deleted) },
		ReadyChanged: d.health.update,
	}))
	if err != nil {
		return err
	}
	d.tree.Store(&actorTree{root, system})
	d.health.setNotReadyFunc(d.notReady)
	return nil
}

func newExecutorID() msg.ExecutorID {
	id := uuid.New()
	return msg.ExecutorID(fmt.Sprintf("%x", id[:6]))
}

// openClient creates the client of the Release server. It reads the certificates, so that a start with invalid ones fails before a later
// step creates anything in the engine.
func (d *daemon) openClient(context.Context) error {
	c := d.config.Release
	pem, err := readOptional(c.CA)
	if err != nil {
		return exitError{fmt.Errorf("--rest-client-ca: %w", err), exitUsage}
	}
	store, err := readOptional(c.Truststore)
	if err != nil {
		return exitError{fmt.Errorf("--rest-client-truststore: %w", err), exitUsage}
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
