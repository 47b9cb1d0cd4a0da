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

// world is everything around one runner, and the runner's lives.
type world struct {
	*stepper
	rng    *rand.Rand
	oracle *oracle
	mood   mood
	faults *fake.Faults // of what has none of its own
	server *fakes.Server
	engine *fake.Driver
	site   *fakes.Site
	disk   *memfs.FS
	config msg.Config // the last one from the server, as the disk keeps it
	note   bool       // on the disk too: the server has deleted the runner
	wiped  bool       // nothing of it but the note is there
	wanted msg.Config // as the server has it
	said   time.Time  // when that changed
	ids    int
	log    *logTail

	submits  bool
	peaceful bool // nothing befalls anybody any more
	retired  bool // it is not started again

	// of the runner that lives now; sys is nil while none does
	life    *life
	spool   *spool.Spool
	gateway *fakes.Gateway
	sys     *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
	end     *end
}

// end is the end of the runner's process, which is near.
type end struct {
	how   string
	power bool // the machine loses its power with it
	inOps int  // after so many operations on the disk; zero: it has come
	dark  time.Duration
}

var limits = msg.ExecutorLimits{
	Pull: time.Minute, Start: time.Minute, PickUp: 30 * time.Second, Run: 10 * time.Minute, Settle: 20 * time.Second,
	Abort: 10 * time.Second, Term: 5 * time.Second, Quiet: time.Second,
}

var identity = sync.OnceValue(func() *seal.Identity {
	id, err := seal.NewIdentity()
	if err != nil {
		panic(err)
	}
	return id
})

func newWorld(rng *rand.Rand, tr *trace) *world {
	w := &world{stepper: newStepper(rng, tr), rng: rng, disk: memfs.New(), log: &logTail{keep: tr.keep, began: time.Now()}}
	w.oracle = newOracle(w)
	w.wanted = msg.Config{Revision: 1, Enabled: true, Capacity: 1 + rng.IntN(4), Eviction: []time.Duration{0, 20 * time.Second, time.Minute, time.Minute}[rng.IntN(4)],
		Capabilities: []string{"remote-script"}}
	w.faults = fake.On(w.stepper, w.fateOfOthers)
	w.server = fakes.NewServerOn(fake.On(w.stepper, w.fateOfServer), identity().PublicKey(), w.wanted)
	w.engine = fake.NewOn(fake.On(w.stepper, w.fateOfEngine))
	w.engine.Lag = w.lag
	w.site = fakes.NewSiteOn(w.stepper)
	w.site.Fate, w.site.Chance, w.site.Witness = w.fateOfOthers, w.happensToPlugins, w.oracle
	w.stepper.after = w.check
	return w
}

// boot starts the runner on what is on its disk; what refuses to start is started again by the service manager.
func (w *world) boot() {
	if w.wiped {
		w.refuses()
		return
	}
	w.trace.note("boot")
	w.end = nil
	w.disk.Before = w.beforeDisk
	opened, err := spool.Open(w.disk, spool.Options{LowWater: lowWater})
	if err == nil {
		w.oracle.opened(opened)
		w.spool = opened
		w.gateway = fakes.OpenGateway(w.site, identity(), opened)
	}
	if w.end != nil && w.end.inOps == 0 {
		err = errors.Join(err, errDead)
	}
	if err != nil {
		w.trace.note("boot: %v", err)
		w.retreat(w.end != nil && w.end.power)
		w.in(w.between(time.Second, 5*time.Second), "boot", w.boot)
		return
	}
	w.oracle.boots()
	w.life = w.newLife(w.point)
	w.sys = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(w.log), Scheduler: w.life, Context: w.life.ctx, OnCrash: w.crashed})
	store := deeds{opened, w.stepper, w.oracle}
	w.root, err = actorrt.SpawnRoot(w.sys, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: store, Driver: w.engine, Gateway: w.gateway, Keyring: identity(), Limits: limits,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID: func() msg.ExecutorID {
				w.ids++
				id := msg.ExecutorID(fmt.Sprintf("x%d", w.ids))
				w.oracle.decided(id)
				return id
			},
		},
		Release: w.server, Settings: settings{w}, Config: w.config, IsDeleted: w.note, Deleted: w.deleted,
	}))
	if err != nil {
		panic(err)
	}
	w.oracle.trouble()
}

// dies lets the process end: at once, or at one of its next operations on the disk.
func (w *world) dies(how string, power bool, inOps int) {
	if w.sys == nil || w.end != nil || w.peaceful && how != "exit 0" {
		return
	}
	w.end = &end{how: how, power: power, inOps: inOps, dark: w.between(100*time.Millisecond, 40*time.Second)}
	w.oracle.trouble()
	if inOps == 0 {
		w.halted = true
		return
	}
	doomed := w.end
	w.in(10*time.Second, "the end comes anyway", func() {
		if w.end == doomed {
			w.end.inOps, w.halted = 0, true
		}
	})
}

// bury is what is left to do when the process has ended.
func (w *world) bury() {
	w.trace.note("END %s", w.end.how)
	w.life.kill()
	w.sys, w.life = nil, nil
	power, dark := w.end.power, w.end.dark
	w.retreat(power)
	w.end = nil
	w.oracle.trouble()
	if !w.retired {
		w.in(dark, "boot", w.boot)
	}
}

// retreat leaves the disk to the next life.
func (w *world) retreat(power bool) {
	if w.gateway != nil {
		w.gateway.Close()
		w.gateway = nil
	}
	if w.disk.Before = nil; !power {
		_ = w.disk.Close()
		return
	}
	odds := []float64{0, 0.5, 0.9, 1}[w.rng.IntN(4)]
	survives := func() bool { return w.rng.Float64() < odds }
	w.disk = w.disk.Crash(survives)
	w.site.LosePower(survives)
	w.engine.LosePower()
	w.oracle.powerLost()
}

var errDead = errors.New("the process has ended")

// beforeDisk decides what becomes of an operation on the disk.
func (w *world) beforeDisk(op memfs.Op) error {
	if w.end != nil {
		if w.end.inOps > 0 {
			w.end.inOps--
			w.halted = w.end.inOps == 0
		}
		if w.end.inOps == 0 {
			return errDead
		}
	}
	if w.mood.diskFull && op.Verb != "remove" && op.Verb != "rename" && op.Verb != "truncate" && op.Verb != "sync" && op.Verb != "syncdir" && w.strikes(0.7) {
		return syscall.ENOSPC
	}
	if w.strikes(w.mood.disk) {
		w.trace.note("disk %s %s fails", op.Verb, op.Name)
		return &memfs.Fault{Written: w.rng.IntN(100), Err: syscall.EIO}
	}
	return nil
}

// check comes after every step.
func (w *world) check() {
	if w.sys != nil {
		select {
		case err := <-w.sys.Fatal():
			w.trace.note("the runner gives up: %v", err)
			w.end = &end{how: "gave up", dark: time.Second}
			w.halted = true
		default:
		}
	}
	w.oracle.check()
	if w.oracle.wrong() {
		w.halted = true
	}
}

// lasts runs until that time, over all ends of the process, unless something is wrong.
func (w *world) lasts(until time.Time) {
	for !w.oracle.wrong() && time.Now().Before(until) {
		w.run(until)
		if w.end != nil && w.end.inOps == 0 && w.sys != nil {
			w.bury()
		}
	}
}

func (w *world) crashed(*actorrt.Crash) { w.oracle.trouble() }

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// between has nanoseconds: no two things take equally long.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

// logTail keeps the last lines of the runner's own log.
type logTail struct {
	keep  int
	began time.Time
	lines []string
	hears func(line []byte)
}

func (l *logTail) Write(p []byte) (int, error) {
	if l.hears != nil {
		l.hears(p)
	}
	if l.keep > 0 {
		if len(l.lines) > 2*l.keep {
			l.lines = append(l.lines[:0], l.lines[l.keep:]...)
		}
		l.lines = append(l.lines, fmt.Sprintf("%.6f %s", time.Since(l.began).Seconds(), bytes.TrimSpace(p)))
	}
	return len(p), nil
}
