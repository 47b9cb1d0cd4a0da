package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors"
	"runnerd/actors/actorrt"
	"runnerd/infra/driver/fake"
	"runnerd/infra/masking"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// env is the environment of one runner: the fakes, the disk and the faults. It starts and ends the runner's processes, one after another.
type env struct {
	*scheduler
	rng               *rand.Rand
	checker           *checker
	conditions        conditions
	otherFaults       *fake.Faults // of calls to the settings store
	server            *fakes.Server
	engine            *fake.Driver
	host              *fakes.PluginHost
	disk              *memfs.FS
	savedConfig       msg.Config // the server's last configuration, as saved on disk
	deletionRecorded  bool       // on disk: the server has deleted the runner
	wiped             bool       // only the record of the deletion is left on disk
	serverConfig      msg.Config // the server's present configuration
	serverConfigSince time.Time  // its last change
	executorCount     int
	log               *logTail

	submitting    bool
	faultsStopped bool // no fault is injected any more
	shuttingDown  bool // the runner is not started again

	// of the running process; sys is nil while none is running
	process *process
	spool   *spool.Spool
	gateway *fakes.Gateway
	sys     *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
	end     *processEnd
}

// processEnd is the imminent end of the runner's process.
type processEnd struct {
	reason    string
	powerLoss bool          // of the machine, at the same time
	afterOps  int           // disk operations left until the end; 0: now
	downtime  time.Duration // until the next start
}

var limits = msg.ExecutorLimits{
	Pull: time.Minute, Start: time.Minute, PickUp: 30 * time.Second, Run: 10 * time.Minute, Finish: 20 * time.Second,
	Abort: 10 * time.Second, Term: 5 * time.Second, Quiet: time.Second,
}

var identity = sync.OnceValue(func() *seal.Identity {
	id, err := seal.NewIdentity()
	if err != nil {
		panic(err)
	}
	return id
})

func newEnv(rng *rand.Rand, tr *trace) *env {
	e := &env{scheduler: newScheduler(rng, tr), rng: rng, disk: memfs.New(), log: &logTail{limit: tr.limit, began: time.Now()}}
	e.checker = newChecker(e)
	e.serverConfig = msg.Config{Revision: 1, Enabled: true, Capacity: 1 + rng.IntN(4), Eviction: []time.Duration{0, 20 * time.Second, time.Minute, time.Minute}[rng.IntN(4)],
		Capabilities: []string{"remote-script"}}
	e.otherFaults = fake.NewFaults(e.scheduler, e.decideOtherCall)
	e.server = fakes.NewServerWith(fake.NewFaults(e.scheduler, e.decideServerCall), identity().PublicKey(), e.serverConfig)
	e.engine = fake.NewWithFaults(fake.NewFaults(e.scheduler, e.decideEngineCall))
	e.engine.LogDelay = e.randomLogDelay
	e.host = fakes.NewPluginHostWith(e.scheduler)
	e.host.DecideCall, e.host.InjectFault, e.host.Observer = e.decideOtherCall, e.injectPluginFault, e.checker
	e.scheduler.afterStep = e.check
	return e
}

// boot starts the runner with the present disk. If the start fails, it tries again, like a service manager.
func (e *env) boot() {
	if e.wiped {
		e.refuseBoot()
		return
	}
	e.trace.recordf("boot")
	e.end = nil
	e.disk.Before = e.decideDiskOp
	opened, err := spool.Open(e.disk, spool.Options{LowWater: lowWater})
	if err == nil {
		e.checker.spoolOpened(opened)
		e.spool = opened
		e.gateway = fakes.OpenGateway(e.host, identity(), opened)
	}
	if e.end != nil && e.end.afterOps == 0 {
		err = errors.Join(err, errProcessEnded)
	}
	if err != nil {
		e.trace.recordf("boot: %v", err)
		e.releaseDisk(e.end != nil && e.end.powerLoss)
		e.schedule(e.randomDuration(time.Second, 5*time.Second), "boot", e.boot)
		return
	}
	e.checker.processStarted()
	e.process = e.newProcess(e.maybePanic)
	e.sys = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(e.log), Scheduler: e.process, Context: e.process.ctx, OnCrash: e.crashed})
	store := scheduledSpool{opened, e.scheduler, e.checker}
	e.root, err = actorrt.SpawnRoot(e.sys, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: store, Driver: e.engine, Gateway: e.gateway, Keyring: identity(), Limits: limits,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID: func() msg.ExecutorID {
				e.executorCount++
				id := msg.ExecutorID(fmt.Sprintf("x%d", e.executorCount))
				e.checker.executorDecided(id)
				return id
			},
		},
		Release: e.server, Settings: settingsStore{e}, Config: e.savedConfig, IsDeleted: e.deletionRecorded, Deleted: e.onDeleted,
	}))
	if err != nil {
		panic(err)
	}
	e.checker.disturb()
}

// endProcess ends the process: at once, or after some disk operations.
func (e *env) endProcess(reason string, powerLoss bool, afterOps int) {
	if e.sys == nil || e.end != nil || e.faultsStopped && reason != "exit 0" {
		return
	}
	e.end = &processEnd{reason: reason, powerLoss: powerLoss, afterOps: afterOps, downtime: e.randomDuration(100*time.Millisecond, 40*time.Second)}
	e.checker.disturb()
	if afterOps == 0 {
		e.halted = true
		return
	}
	end := e.end
	e.schedule(10*time.Second, "end without further disk operations", func() {
		if e.end == end {
			e.end.afterOps, e.halted = 0, true
		}
	})
}

// processEnded cleans up after the end of the process, and schedules the next start.
func (e *env) processEnded() {
	e.trace.recordf("END %s", e.end.reason)
	e.process.kill()
	e.sys, e.process = nil, nil
	downtime := e.end.downtime
	e.releaseDisk(e.end.powerLoss)
	e.end = nil
	e.checker.disturb()
	if !e.shuttingDown {
		e.schedule(downtime, "boot", e.boot)
	}
}

// releaseDisk closes the disk, so that the next process can open it. With powerLoss the machine loses power at the same time.
func (e *env) releaseDisk(powerLoss bool) {
	if e.gateway != nil {
		e.gateway.Close()
		e.gateway = nil
	}
	if e.disk.Before = nil; !powerLoss {
		_ = e.disk.Close()
		return
	}
	odds := []float64{0, 0.5, 0.9, 1}[e.rng.IntN(4)]
	survives := func() bool { return e.rng.Float64() < odds }
	e.disk = e.disk.Crash(survives)
	e.host.LosePower(survives)
	e.engine.LosePower()
	e.checker.powerLost()
}

var errProcessEnded = errors.New("the process has ended")

// decideDiskOp decides the outcome of a disk operation.
func (e *env) decideDiskOp(op memfs.Op) error {
	if e.end != nil {
		if e.end.afterOps > 0 {
			e.end.afterOps--
			e.halted = e.end.afterOps == 0
		}
		if e.end.afterOps == 0 {
			return errProcessEnded
		}
	}
	if e.conditions.diskFull && op.Kind != "remove" && op.Kind != "rename" && op.Kind != "truncate" && op.Kind != "sync" && op.Kind != "syncdir" && e.faultOccurs(0.7) {
		return syscall.ENOSPC
	}
	if e.faultOccurs(e.conditions.disk) {
		e.trace.recordf("disk %s %s fails", op.Kind, op.Name)
		return &memfs.Fault{Written: e.rng.IntN(100), Err: syscall.EIO}
	}
	return nil
}

// check is called after every step. It ends the process if its actor system has given up, and checks the invariants.
func (e *env) check() {
	if e.sys != nil {
		select {
		case err := <-e.sys.Fatal():
			e.trace.recordf("the runner gives up: %v", err)
			e.end = &processEnd{reason: "gave up", downtime: time.Second}
			e.halted = true
		default:
		}
	}
	e.checker.check()
	if e.checker.failed() {
		e.halted = true
	}
}

// runUntil runs actions until that time, even if the process ends and starts again. It returns early if the checker has failed.
func (e *env) runUntil(until time.Time) {
	for !e.checker.failed() && time.Now().Before(until) {
		e.run(until)
		if e.end != nil && e.end.afterOps == 0 && e.sys != nil {
			e.processEnded()
		}
	}
}

func (e *env) crashed(*actorrt.Crash) { e.checker.disturb() }

func (e *env) chance(p float64) bool { return e.rng.Float64() < p }

// randomDuration returns a random duration between from and to. It is not rounded, so that no two are likely to be equal.
func (e *env) randomDuration(from, to time.Duration) time.Duration {
	return from + time.Duration(e.rng.Int64N(int64(to-from)))
}

// logTail stores the last lines of the runner's log, and passes each line to onLine.
type logTail struct {
	limit  int
	began  time.Time
	lines  []string
	onLine func(line []byte)
}

func (l *logTail) Write(p []byte) (int, error) {
	if l.onLine != nil {
		l.onLine(p)
	}
	if l.limit > 0 {
		if len(l.lines) > 2*l.limit {
			l.lines = append(l.lines[:0], l.lines[l.limit:]...)
		}
		l.lines = append(l.lines, fmt.Sprintf("%.6f %s", time.Since(l.began).Seconds(), bytes.TrimSpace(p)))
	}
	return len(p), nil
}
