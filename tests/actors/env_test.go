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

// env is the environment of one runner: a server, an engine with images, and a disk. The runner can be started and stopped any number of
// times.
type env struct {
	t             testingT
	server        *fakes.Server
	engine        *fake.Driver
	pluginHost    *fakes.PluginHost
	identity      *seal.Identity
	limits        msg.ExecutorLimits
	filesOnly     bool
	lowWater      uint64
	logLimit      int64
	imageMappings map[string]string // image by the name that the server uses
	deleted       atomic.Bool
	notReady      atomic.Pointer[[]string] // the last reasons passed to ReadyChanged
	release       actors.Release           // the server that the runner uses
	driver        actors.Driver            // the driver that the runner uses
	maxStep       time.Duration            // maximum interval between two polls of until

	scheduler  actorrt.Scheduler
	ids        int // number of executor ids issued
	capacities []capacityChange
	log        *lockedBuffer

	// State of the current runner.
	disk    *memfs.FS
	spool   *spool.Spool
	gateway *fakes.Gateway
	sys     *actorrt.System
	root    actorrt.Ref[msg.ToRunner]
	config  *configStore
}

// testingT is the part of testing.T that env needs. A failureRecorder implements it, too.
type testingT interface {
	Helper()
	Log(args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

type capacityChange struct {
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
	Pull: 5 * time.Minute, Start: time.Minute, PickUp: 30 * time.Second, Run: time.Hour, Finish: 20 * time.Second,
	Abort: 10 * time.Second, Term: 5 * time.Second, Quiet: time.Second,
}

// daemonMode returns the configuration that most tests use.
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

// withEnv runs a test in a synctest bubble with a new env, checks the invariants at the end, and cleans up.
func withEnv(t *testing.T, config msg.Config, test func(*env)) {
	t.Helper()
	identity()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, config)
		defer e.close()
		test(e)
		e.checkInvariants()
	})
}

func newEnv(t testingT, config msg.Config) *env {
	e := &env{
		t: t, identity: identity(), engine: fake.New(), pluginHost: fakes.NewPluginHost(), disk: memfs.New(), limits: limits,
		maxStep: maxStep, scheduler: actorrt.Live(), config: &configStore{}, log: &lockedBuffer{},
	}
	e.server = fakes.NewServer(e.identity.PublicKey(), config)
	e.release, e.driver = e.server, e.engine
	e.capacities = []capacityChange{{time.Now(), config.Capacity}}
	e.image("plugin", fakes.Plugin{})
	return e
}

func (e *env) close() {
	e.stop()
	e.engine.Close()
	if e.t.Failed() {
		e.t.Log(e.log.text())
	}
}

func (e *env) image(ref string, p fakes.Plugin) {
	e.engine.Load(ref, fake.Image{Program: p.Program(e.pluginHost)})
}

// start starts the runner with the current content of its disk.
func (e *env) start() {
	e.t.Helper()
	var err error
	if e.spool, err = spool.Open(e.disk, spool.Options{LowWater: e.lowWater}); err != nil {
		e.t.Fatal(err)
	}
	e.gateway = fakes.OpenGateway(e.pluginHost, e.identity, e.spool)
	e.sys = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(e.log), Scheduler: e.scheduler})
	e.root, err = actorrt.SpawnRoot(e.sys, actors.Root(actors.Program{
		ExecutorDeps: actors.ExecutorDeps{
			Spool: e.spool, Driver: e.driver, Gateway: e.gateway, Keyring: e.identity, Limits: e.limits, FilesOnly: e.filesOnly, LogLimit: e.logLimit, DiskLimit: 1 << 20,
			NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
			NewID: func() msg.ExecutorID {
				e.ids++
				return msg.ExecutorID(fmt.Sprintf("x%d", e.ids))
			},
		},
		Release: e.release, Settings: e.config, Config: e.config.load(), Capabilities: []string{"remote", "remote-script"},
		IsDeleted:    e.config.isDeleted(),
		Deleted:      func() { e.deleted.Store(true) },
		ReadyChanged: func(reasons []string) { e.notReady.Store(&reasons) },
	}))
	if err != nil {
		e.t.Fatal(err)
	}
}

// stop simulates the end of the process: it notifies nobody, and the containers keep running.
func (e *env) stop() {
	if e.sys == nil {
		return
	}
	e.gateway.Close()
	if err := e.sys.Stop(context.Background()); err != nil {
		e.t.Error(err)
	}
	e.disk = e.disk.Crash(func() bool { return true })
	e.sys = nil
}

// losePower simulates a power loss of the machine: the disk loses everything that was not synced, and no executor runs.
func (e *env) losePower() {
	disk := e.disk
	remaining := disk.Crash(func() bool { return false })
	e.stop()
	e.engine.LosePower()
	e.disk = remaining
}

func (e *env) restart() {
	e.t.Helper()
	e.stop()
	e.start()
}

// restartAfterFatal restarts the runner if it has ended with a fatal error, as a service manager does.
func (e *env) restartAfterFatal() {
	if e.sys == nil {
		return
	}
	select {
	case <-e.sys.Fatal():
		e.restart()
	default:
	}
}

// The poll interval of until grows from minStep to maxStep, because each poll wakes the whole bubble: a test that lets hours pass would
// spend its time on polling.
const (
	minStep = 10 * time.Millisecond
	maxStep = time.Second
)

// until waits for the condition. It fails the test if the condition does not hold within the time; what describes the condition.
func (e *env) until(what string, within time.Duration, condition func() bool) {
	e.t.Helper()
	step := minStep
	for end := time.Now().Add(within); ; step = min(2*step, e.maxStep) {
		synctest.Wait()
		e.restartAfterFatal()
		if condition() {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("condition not met within %v: %s\n%s", within, what, e.describe())
		}
		time.Sleep(step)
	}
}

// describe returns the state of the runner, for failure messages.
func (e *env) describe() string {
	if e.sys == nil {
		return "no runner"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pool: %+v\ntree: %v\nalive %v, %d endpoints, unfinished %v", e.pool(), e.actorStates(), e.alive(), e.gateway.EndpointCount(), e.server.UnfinishedJobs())
	for _, job := range e.spool.Jobs() {
		fmt.Fprintf(&b, "\njob %s %s in %q, log %+v, ending %+v", job.Execution, job.Stage, job.Executor, job.Log, job.Ending)
	}
	for _, x := range e.spool.Executors() {
		fmt.Fprintf(&b, "\nexecutor %s job %q retired %q", x.ID, x.Job, x.Retired)
	}
	return b.String()
}

func (e *env) actorStates() (states []string) {
	var walk func([]actorrt.NodeStatus)
	walk = func(nodes []actorrt.NodeStatus) {
		for _, n := range nodes {
			states = append(states, fmt.Sprintf("%s %s tasks %v", n.Path, n.State, n.Tasks))
			walk(n.Children)
		}
	}
	walk(e.sys.Tree())
	return states
}

// advance lets the time d pass, and restarts the runner whenever it ends with a fatal error.
func (e *env) advance(d time.Duration) {
	for end := time.Now().Add(d); ; {
		select {
		case <-time.After(time.Until(end)):
			synctest.Wait()
			return
		case <-e.fatal():
			time.Sleep(min(minStep, time.Until(end))) // otherwise a runner that fails at once would stop the clock
			e.restart()
		}
	}
}

// fatal returns the channel that gets the runner's fatal error.
func (e *env) fatal() <-chan error {
	if e.sys == nil {
		return nil
	}
	return e.sys.Fatal()
}

// configure sends a new configuration in an event.
func (e *env) configure(c msg.Config) {
	c.Revision++
	e.capacities = append(e.capacities, capacityChange{time.Now(), c.Capacity})
	e.server.Reconfigure(c)
	synctest.Wait()
}

func (e *env) isFinished(id msg.JobID) func() bool {
	return func() bool { _, ok := e.server.FinishOf(id); return ok }
}

// awaitFinish waits for a job's finish and returns it.
func (e *env) awaitFinish(id msg.JobID) fakes.Finished {
	e.t.Helper()
	e.until(fmt.Sprintf("%s is finished", id), 3*time.Hour, e.isFinished(id))
	f, _ := e.server.FinishOf(id)
	return f
}

func (e *env) awaitCompleted(id msg.JobID) fakes.Finished {
	e.t.Helper()
	f := e.awaitFinish(id)
	if f.Outcome != msg.Completed {
		e.t.Errorf("%s is %s (%s), want completed", id, f.Outcome, f.Message)
	}
	return f
}

// awaitOutcome waits for a job's finish, and checks its outcome and that its message contains the text.
func (e *env) awaitOutcome(id msg.JobID, outcome msg.Outcome, message string) fakes.Finished {
	e.t.Helper()
	f := e.awaitFinish(id)
	if f.Outcome != outcome || !strings.Contains(f.Message, message) {
		e.t.Errorf("%s is %s with %q, want %s with %q", id, f.Outcome, f.Message, outcome, message)
	}
	return f
}

// awaitRun waits until a plugin runs the job, and returns its executor.
func (e *env) awaitRun(id msg.JobID) msg.ExecutorID {
	e.t.Helper()
	e.until(fmt.Sprintf("%s runs", id), time.Hour, func() bool { return e.executorOf(id) != "" })
	return e.executorOf(id)
}

func (e *env) executorOf(id msg.JobID) msg.ExecutorID {
	for _, r := range e.pluginHost.Runs() {
		if r.Execution == e.server.ExecutionOf(id) {
			return r.Executor
		}
	}
	return ""
}

// pool returns the dispatcher's state, or a zero Pool if there is no dispatcher.
func (e *env) pool() (p msg.Pool) {
	if e.sys == nil {
		return p
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p, err := actorrt.Ask(ctx, e.root, func(reply func(msg.Pool)) msg.ToRunner { return msg.PoolRequested{Reply: reply} })
	if err != nil && !errors.Is(err, actorrt.ErrCrashed) && !errors.Is(err, context.DeadlineExceeded) {
		e.t.Error(err)
	}
	return p
}

// logOf returns the job's log at the server, without the SDK's own lines and the runner's timestamps, and whether its total is known.
func (e *env) logOf(id msg.JobID) (string, bool) {
	log, ended := e.server.LogOf(id)
	output, _ := fakes.JobOutput(log)
	return output, ended
}

func (e *env) awaitIdle(x msg.ExecutorID) {
	e.t.Helper()
	e.until(fmt.Sprintf("%s is idle", x), time.Minute, func() bool { return e.executorState(x) == "idle" })
}

func (e *env) executorState(x msg.ExecutorID) string {
	for _, v := range e.pool().Executors {
		if v.ID == x {
			return v.State
		}
	}
	return ""
}

// alive returns the executors whose containers run.
func (e *env) alive() (ids []msg.ExecutorID) {
	for _, c := range e.engine.Containers() {
		if c.State != msg.ContainerExited {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func (e *env) isAlive(x msg.ExecutorID) bool { return slices.Contains(e.alive(), x) }

// eventTime returns the time of the executor's first engine event of a kind, and whether there is one.
func (e *env) eventTime(kind fake.EventKind, x msg.ExecutorID) (time.Time, bool) {
	for _, ev := range e.engine.Events() {
		if ev.Kind == kind && ev.Executor == x {
			return ev.At, true
		}
	}
	return time.Time{}, false
}

func (e *env) createdCount() (n int) {
	for _, ev := range e.engine.Events() {
		if ev.Kind == fake.Created {
			n++
		}
	}
	return n
}
