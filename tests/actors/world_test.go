package actors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything around one runner: a server, an engine with images, a disk. The runner itself can be started and
// ended any number of times.
type world struct {
	t        judge
	server   *fakes.Server
	engine   *fake.Driver
	site     *fakes.Site
	identity *seal.Identity
	limits   msg.ExecutorLimits
	files    bool
	lowWater uint64
	logLimit int64
	mapped   map[string]string // images, by the server's mappings
	deleted  atomic.Bool
	notReady atomic.Pointer[[]string] // as the program was told
	release  actors.Release           // what the runner takes for the server
	driver   actors.Driver            // what it takes for the engine
	maxStep  time.Duration            // between two polls of until

	scheduler actorrt.Scheduler
	ids       int
	caps      []capacityFrom
	log       *lockedBuffer

	// of the runner that lives now
	disk    *memfs.FS
	spool   *spool.Spool
	gateway *fakes.Gateway
	sys     *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
	config  *settings
}

// judge is whom a world tells what is wrong: a test, or one attempt of a search.
type judge interface {
	Helper()
	Log(args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

type capacityFrom struct {
	at time.Time
	n  int
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Buffer.WriteString(time.Now().UTC().Format("04:05.000 "))
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

var limits = msg.ExecutorLimits{
	Pull: 5 * time.Minute, Start: time.Minute, PickUp: 30 * time.Second, Run: time.Hour, Settle: 20 * time.Second,
	Abort: 10 * time.Second, Term: 5 * time.Second, Quiet: time.Second,
}

// daemonMode is the configuration that most tests use.
func daemonMode(capacity int) msg.Config {
	return msg.Config{Revision: 1, Enabled: true, Capacity: capacity, Eviction: time.Minute}
}

var identity = sync.OnceValue(func() *seal.Identity {
	id, err := seal.NewIdentity()
	if err != nil {
		panic(err)
	}
	return id
})

// inWorld runs a test in a bubble, checks the invariants at its end, and leaves nothing behind.
func inWorld(t *testing.T, config msg.Config, test func(*world)) {
	t.Helper()
	identity()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, config)
		defer w.close()
		test(w)
		w.checkInvariants()
	})
}

func newWorld(t judge, config msg.Config) *world {
	w := &world{
		t: t, identity: identity(), engine: fake.New(), site: fakes.NewSite(), disk: memfs.New(), limits: limits,
		maxStep: maxStep, scheduler: actorrt.Live(), config: &settings{}, log: &lockedBuffer{},
	}
	w.server = fakes.NewServer(w.identity.PublicKey(), config)
	w.release, w.driver = w.server, w.engine
	w.caps = []capacityFrom{{time.Now(), config.Capacity}}
	w.image("plugin", fakes.Plugin{})
	return w
}

func (w *world) close() {
	w.stop()
	w.engine.Close()
	if w.t.Failed() {
		w.t.Log(w.log.text())
	}
}

func (w *world) image(ref string, p fakes.Plugin) {
	w.engine.Load(ref, fake.Image{Program: p.Program(w.site)})
}

// start starts the runner on what is on its disk.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.spool, err = spool.Open(w.disk, spool.Options{LowWater: w.lowWater}); err != nil {
		w.t.Fatal(err)
	}
	w.gateway = fakes.OpenGateway(w.site, w.identity, w.spool)
	w.sys = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(w.log), Scheduler: w.scheduler})
	w.root, err = actorrt.SpawnRoot(w.sys, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: w.spool, Driver: w.driver, Gateway: w.gateway, Keyring: w.identity, Limits: w.limits, FilesOnly: w.files, LogLimit: w.logLimit, DiskLimit: 1 << 20,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID: func() msg.ExecutorID {
				w.ids++
				return msg.ExecutorID(fmt.Sprintf("x%d", w.ids))
			},
		},
		Release: w.release, Settings: w.config, Config: w.config.load(), Capabilities: []string{"remote", "remote-script"},
		IsDeleted:    w.config.isDeleted(),
		Deleted:      func() { w.deleted.Store(true) },
		ReadyChanged: func(against []string) { w.notReady.Store(&against) },
	}))
	if err != nil {
		w.t.Fatal(err)
	}
}

// stop is the end of the process: nobody is told anything, and the containers live on.
func (w *world) stop() {
	if w.sys == nil {
		return
	}
	w.gateway.Close()
	if err := w.sys.Stop(context.Background()); err != nil {
		w.t.Error(err)
	}
	w.disk = w.disk.Crash(func() bool { return true })
	w.sys = nil
}

// losePower is the end of the machine: nothing that was not synced is left, and no executor runs.
func (w *world) losePower() {
	disk := w.disk
	left := disk.Crash(func() bool { return false })
	w.stop()
	w.engine.LosePower()
	w.disk = left
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

// serviceManager starts the runner again when it has given up.
func (w *world) serviceManager() {
	if w.sys == nil {
		return
	}
	select {
	case <-w.sys.Fatal():
		w.restart()
	default:
	}
}

// Until polls at growing intervals, because each poll wakes the whole bubble: a test that lets hours pass would spend its
// time on polling.
const (
	minStep = 10 * time.Millisecond
	maxStep = time.Second
)

// until waits for a condition.
func (w *world) until(what string, within time.Duration, so func() bool) {
	w.t.Helper()
	step := minStep
	for end := time.Now().Add(within); ; step = min(2*step, w.maxStep) {
		synctest.Wait()
		w.serviceManager()
		if so() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("after %v it is not so: %s\n%s", within, what, w.picture())
		}
		time.Sleep(step)
	}
}

// picture is how things stand.
func (w *world) picture() string {
	if w.sys == nil {
		return "no runner"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pool: %+v\ntree: %v\nalive %v, %d doors, unfinished %v", w.pool(), w.busyActors(), w.alive(), w.gateway.Doors(), w.server.Unfinished())
	for _, job := range w.spool.Jobs() {
		fmt.Fprintf(&b, "\njob %s %s in %q, log %+v, ending %+v", job.Execution, job.Stage, job.Executor, job.Log, job.Ending)
	}
	for _, x := range w.spool.Executors() {
		fmt.Fprintf(&b, "\nexecutor %s job %q retired %q", x.ID, x.Job, x.Retired)
	}
	return b.String()
}

func (w *world) busyActors() (busy []string) {
	var walk func([]actorrt.NodeStatus)
	walk = func(nodes []actorrt.NodeStatus) {
		for _, n := range nodes {
			busy = append(busy, fmt.Sprintf("%s %s tasks %v", n.Path, n.State, n.Tasks))
			walk(n.Children)
		}
	}
	walk(w.sys.Tree())
	return busy
}

// passes lets time go by in which the invariants hold, and starts a runner that gives up again.
func (w *world) passes(d time.Duration) {
	for end := time.Now().Add(d); ; {
		select {
		case <-time.After(time.Until(end)):
			synctest.Wait()
			return
		case <-w.fatal():
			time.Sleep(min(minStep, time.Until(end))) // or one that gives up at once would stop the clock
			w.restart()
		}
	}
}

// fatal says when the runner gives up.
func (w *world) fatal() <-chan error {
	if w.sys == nil {
		return nil
	}
	return w.sys.Fatal()
}

// configure brings a new configuration, by an event.
func (w *world) configure(c msg.Config) {
	c.Revision++
	w.caps = append(w.caps, capacityFrom{time.Now(), c.Capacity})
	w.server.Reconfigure(c)
	synctest.Wait()
}

func (w *world) finished(id msg.JobID) func() bool {
	return func() bool { _, ok := w.server.FinishOf(id); return ok }
}

// ends waits for a job's finish.
func (w *world) ends(id msg.JobID) fakes.Finished {
	w.t.Helper()
	w.until(fmt.Sprintf("%s is finished", id), 3*time.Hour, w.finished(id))
	f, _ := w.server.FinishOf(id)
	return f
}

func (w *world) completes(id msg.JobID) fakes.Finished {
	w.t.Helper()
	f := w.ends(id)
	if f.Outcome != msg.Completed {
		w.t.Errorf("%s is %s (%s), want completed", id, f.Outcome, f.Message)
	}
	return f
}

// fails waits for a job's finish without a result, and checks what the user is told.
func (w *world) fails(id msg.JobID, outcome msg.Outcome, says string) fakes.Finished {
	w.t.Helper()
	f := w.ends(id)
	if f.Outcome != outcome || !strings.Contains(f.Message, says) {
		w.t.Errorf("%s is %s with %q, want %s with %q", id, f.Outcome, f.Message, outcome, says)
	}
	return f
}

// begins waits until a plugin runs the job, and returns the executor.
func (w *world) begins(id msg.JobID) msg.ExecutorID {
	w.t.Helper()
	w.until(fmt.Sprintf("%s runs", id), time.Hour, func() bool { return w.ranIn(id) != "" })
	return w.ranIn(id)
}

func (w *world) ranIn(id msg.JobID) msg.ExecutorID {
	for _, r := range w.site.Runs() {
		if r.Execution == w.server.ExecutionOf(id) {
			return r.Executor
		}
	}
	return ""
}

// pool asks the dispatcher, if it is there, how the executors fare.
func (w *world) pool() (p msg.Pool) {
	if w.sys == nil {
		return p
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p, err := actorrt.Ask(ctx, w.root, func(reply func(msg.Pool)) msg.ToRunner { return msg.PoolRequested{Reply: reply} })
	if err != nil && !errors.Is(err, actorrt.ErrCrashed) && !errors.Is(err, context.DeadlineExceeded) {
		w.t.Error(err)
	}
	return p
}

// logOf returns what the server has of a job's log, without the SDK's own words and the runner's times, and whether its total is known.
func (w *world) logOf(id msg.JobID) (string, bool) {
	log, ended := w.server.LogOf(id)
	said, _ := fakes.Said(log)
	return said, ended
}

func (w *world) becomesIdle(x msg.ExecutorID) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s is idle", x), time.Minute, func() bool { return w.state(x) == "idle" })
}

func (w *world) state(x msg.ExecutorID) string {
	for _, v := range w.pool().Executors {
		if v.ID == x {
			return v.State
		}
	}
	return ""
}

// alive lists the executors that the engine runs.
func (w *world) alive() (ids []msg.ExecutorID) {
	for _, c := range w.engine.Containers() {
		if c.State != msg.ContainerExited {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (w *world) isAlive(x msg.ExecutorID) bool { return slices.Contains(w.alive(), x) }

// event returns when something happened to an executor.
func (w *world) event(kind fake.EventKind, x msg.ExecutorID) (time.Time, bool) {
	for _, e := range w.engine.Events() {
		if e.Kind == kind && e.Executor == x {
			return e.At, true
		}
	}
	return time.Time{}, false
}

func (w *world) created() (n int) {
	for _, e := range w.engine.Events() {
		if e.Kind == fake.Created {
			n++
		}
	}
	return n
}
