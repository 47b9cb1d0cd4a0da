package contract_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors"
	"runnerd/actors/actorrt"
	"runnerd/infra/contract"
	"runnerd/infra/driver/fake"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

// executor is an executor's actor with its messages and its container.
type executor struct {
	*env
	id       msg.ExecutorID
	mode     msg.Mode
	system   *actorrt.System
	actor    actorrt.Ref[msg.ToExecutor]
	seq      uint64
	messages chan msg.ToDispatcher
	reports  chan msg.ToReporter
	started  chan *fake.Process // the processes of its container
	exit     chan int           // ends the process with this code
	access   msg.Access
}

// receiver is a function as the target of an actor's messages.
type receiver[M any] func(M)

func (r receiver[M]) Tell(m M) { r(m) }

// newExecutor starts an executor whose container runs until it gets an exit code or is killed.
func (e *env) newExecutor(id msg.ExecutorID, mode msg.Mode) *executor {
	e.t.Helper()
	exit := make(chan int, 1)
	x := e.newExecutorRunning(id, mode, func(ctx context.Context, w *fake.Process) int {
		select {
		case code := <-exit:
			return code
		case <-ctx.Done():
			return 137
		}
	})
	x.exit = exit
	return x
}

// newExecutorRunning starts an executor whose container runs the function.
func (e *env) newExecutorRunning(id msg.ExecutorID, mode msg.Mode, run func(context.Context, *fake.Process) int) *executor {
	e.t.Helper()
	x := &executor{env: e, id: id, mode: mode, messages: make(chan msg.ToDispatcher, 10000), reports: make(chan msg.ToReporter, 10000), started: make(chan *fake.Process, 10)}
	e.engine.Load(string(id), fake.Image{Program: fake.Program{IgnoresStop: true, Run: func(ctx context.Context, w *fake.Process) int {
		x.started <- w
		return run(ctx, w)
	}}})
	e.executors = append(e.executors, x)
	x.spawn(false)
	return x
}

// spawn starts the actor. afterRestart says that the runner was restarted.
func (x *executor) spawn(afterRestart bool) {
	x.t.Helper()
	rec := x.store.executorRecord(x.id)
	if rec.ID == "" {
		rec = msg.ExecutorRecord{ID: x.id, Key: msg.Key{Image: string(x.id)}, Mode: x.mode, Created: time.Now()}
	}
	x.system = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(x.log)})
	var err error
	x.actor, err = actorrt.SpawnRoot(x.system, actors.Executor(x.deps, rec, x.seq, afterRestart,
		receiver[msg.ToDispatcher](func(m msg.ToDispatcher) { x.messages <- m }), receiver[msg.ToReporter](func(m msg.ToReporter) { x.reports <- m })))
	must(x.t, err)
}

func (x *executor) stopActor() {
	ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Timeout)
	defer cancel()
	must(x.t, x.system.Stop(ctx))
}

// restartActor restarts the actor after a panic, as the dispatcher does.
func (x *executor) restartActor() {
	x.t.Helper()
	await(x.t, x.system.Fatal())
	x.stopActor()
	x.spawn(false)
}

// assign assigns a job to the executor.
func (x *executor) assign(j task) {
	x.seq++
	x.actor.Tell(msg.Assign{Job: j.Job, Seq: x.seq})
}

// launch assigns the executor's first job and waits until its container runs.
func (x *executor) launch(j task) {
	x.t.Helper()
	x.assign(j)
	x.awaitContainer()
}

func (x *executor) awaitContainer() {
	x.t.Helper()
	w := await(x.t, x.started)
	dir := x.store.ExecutorDir(x.id)
	x.access = msg.Access{Env: w.Spec.Env, Files: map[string][]byte{}, Mounts: w.Spec.Mounts}
	for _, name := range []string{contract.CAFile, contract.TokenFile} {
		text, err := os.ReadFile(filepath.Join(dir, "sa", name))
		must(x.t, err)
		x.access.Files["sa/"+name] = text
	}
}

// expect returns the next message to the dispatcher, which must be a V. It skips the messages that no test here depends on.
func expect[V msg.ToDispatcher](x *executor) V {
	x.t.Helper()
	return expectIgnoring[V, msg.ProcessesCounted](x)
}

// expectIgnoring is like expect, but also skips messages of type Other.
func expectIgnoring[V, Other msg.ToDispatcher](x *executor) V {
	x.t.Helper()
	for {
		switch got := await(x.t, x.messages).(type) {
		case V:
			return got
		case Other, msg.Attached, msg.ImageFound, msg.NotPolling:
		default:
			x.t.Fatalf("message to the dispatcher: %T%+v, want %T", got, got, *new(V))
		}
	}
}

// awaitMessage waits for a V to the dispatcher and skips all other messages.
func awaitMessage[V msg.ToDispatcher](x *executor) {
	x.t.Helper()
	for {
		if _, is := await(x.t, x.messages).(V); is {
			return
		}
	}
}

// expectEnded expects the end of a job and returns the job's record.
func (x *executor) expectEnded(j task) msg.JobRecord {
	x.t.Helper()
	if got := expect[msg.JobDone](x); got.Execution != j.Execution {
		x.t.Errorf("ended: %+v, want %s", got, j.Execution)
	}
	return x.record(j)
}

// expectFailed expects that a job fails without a result, with a message that contains all parts of why.
func (x *executor) expectFailed(j task, why ...string) {
	x.t.Helper()
	rec := x.expectEnded(j)
	if rec.HasResult || rec.Ending.Outcome != msg.Failed {
		x.t.Errorf("ending: %+v", rec.Ending)
	}
	for _, part := range why {
		if !strings.Contains(rec.Ending.Message, part) {
			x.t.Errorf("ending message: %q, want it to contain %q", rec.Ending.Message, part)
		}
	}
}

func (x *executor) python() *client   { return &client{gatewaytest.Python(x.t, x.access), x} }
func (x *executor) informer() *client { return &client{gatewaytest.Informer(x.t, x.access), x} }

// out returns the path of a file in the result directory.
func (x *executor) out(name string) string {
	return filepath.Join(x.store.ExecutorDir(x.id), "out", name)
}

func (x *executor) resultFile() string { return x.out("result") }

func (x *executor) writeResult(text string) {
	x.t.Helper()
	must(x.t, os.WriteFile(x.resultFile(), []byte(text), 0o644))
}

// client sends the requests of the executor's plugin.
type client struct {
	*gatewaytest.Client
	x *executor
}

type (
	answer = gatewaytest.Answer
	event  = gatewaytest.Event
)

// deliverFirst launches an executor with its first job and waits until the job is delivered.
func (x *executor) deliverFirst(j task) (*client, answer) {
	x.t.Helper()
	x.launch(j)
	c := x.python()
	return c, c.receive(j)
}

// deliverFirstToInformer is like deliverFirst, but its client is an informer.
func (x *executor) deliverFirstToInformer(j task) (*client, answer) {
	x.t.Helper()
	x.launch(j)
	c := x.informer()
	return c, c.receive(j)
}

// warm starts an executor, runs a job in it, and waits until the plugin is notified to send its next GET. bogus posts another result of
// that job.
func (e *env) warm(id msg.ExecutorID) (x *executor, c *client, bogus func()) {
	e.t.Helper()
	x = e.newExecutor(id, msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	c.finish(a, j)
	c.awaitNotify()
	return x, c, func() { c.postResult(a, j.result(1)) }
}

// receive sends a GET, which must return the assigned job.
func (c *client) receive(j task) answer {
	c.x.t.Helper()
	a := await(c.x.t, c.Get(context.Background()))
	c.x.checkDelivered(a, j)
	return a
}

// checkDelivered checks that the answer has the job, and waits until the job is delivered.
func (x *executor) checkDelivered(a answer, j task) {
	x.t.Helper()
	must(x.t, a.Err)
	if a.Status != http.StatusOK || string(a.Secret.Data[contract.KeyExecutionID]) != string(j.Execution) {
		x.t.Fatalf("answer to the GET: status %d, job %q, want job %q", a.Status, a.Secret.Data[contract.KeyExecutionID], j.Execution)
	}
	x.untilDelivered(j)
}

// poll sends a GET and waits until the executor is idle.
func (c *client) poll() <-chan answer {
	c.x.t.Helper()
	asked := c.Get(context.Background())
	expect[msg.Idle](c.x)
	return asked
}

// losePoll sends a GET and cancels it while it waits for a job.
func (c *client) losePoll() {
	c.x.t.Helper()
	ctx, lose := context.WithCancel(context.Background())
	asked := c.Get(ctx)
	expect[msg.Idle](c.x)
	lose()
	await(c.x.t, asked)
	expect[msg.NotIdle](c.x)
}

// nextJob sends a GET, assigns the job, and returns the answer.
func (c *client) nextJob(j task) answer {
	c.x.t.Helper()
	asked := c.poll()
	c.x.assign(j)
	a := await(c.x.t, asked)
	c.x.checkDelivered(a, j)
	return a
}

// postResult posts a result to the callback, which must accept it.
func (c *client) postResult(a answer, body string) {
	c.x.t.Helper()
	if status := c.Post(a.CallbackURL(c.x.t), body); status != http.StatusNoContent {
		c.x.t.Fatalf("answer to the callback: status %d", status)
	}
}

// finish posts a result and waits for the end of the job.
func (c *client) finish(a answer, j task) {
	c.x.t.Helper()
	c.postResult(a, j.result(0))
	if rec := c.x.expectEnded(j); !rec.HasResult || rec.Ending.Outcome != msg.Completed {
		c.x.t.Errorf("ending: %+v", rec.Ending)
	}
}

// round runs a whole job in an executor that has completed one.
func (c *client) round(j task) {
	c.x.t.Helper()
	c.finish(c.nextJob(j), j)
}

// awaitNotify opens the Python SDK's watch after a job. It returns the baseline event and the event that notifies the plugin.
func (c *client) awaitNotify() (baseline, now event) {
	c.x.t.Helper()
	w := c.Watch("")
	return await(c.x.t, w), await(c.x.t, w)
}

// expectNoEvent fails if the watch has received an event. A LIST is answered after all events that were sent before it.
func (c *client) expectNoEvent(w <-chan event) {
	c.x.t.Helper()
	c.List()
	select {
	case e := <-w:
		c.x.t.Fatalf("unexpected watch event: %s %s", e.Type, e.Object.ResourceVersion)
	default:
	}
}

// expectNone fails if a V is among the pending messages.
func expectNone[V msg.ToDispatcher](t testing.TB, x *executor) {
	t.Helper()
	for {
		select {
		case got := <-x.messages:
			if v, is := got.(V); is {
				t.Errorf("unexpected message to the dispatcher: %T%+v", v, v)
			}
		default:
			return
		}
	}
}
