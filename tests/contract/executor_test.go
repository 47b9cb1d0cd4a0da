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

// executor is one executor's actor, what it tells, and the container that it has.
type executor struct {
	*env
	id      msg.ExecutorID
	mode    msg.Mode
	system  *actorrt.System
	actor   actorrt.Ref[msg.ToExecutor]
	seq     uint64
	told    chan msg.ToDispatcher
	reports chan msg.ToReporter
	started chan *fake.World // the processes that its container had
	exit    chan int         // ends the process
	access  msg.Access
}

// receiver is anybody who is told something.
type receiver[M any] func(M)

func (r receiver[M]) Tell(m M) { r(m) }

// executor is a new one. Its container runs until it is told to exit, or is killed.
func (e *env) executor(id msg.ExecutorID, mode msg.Mode) *executor {
	e.t.Helper()
	exit := make(chan int, 1)
	x := e.executorOf(id, mode, func(ctx context.Context, w *fake.World) int {
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

// executorOf is one whose container runs a program.
func (e *env) executorOf(id msg.ExecutorID, mode msg.Mode, run func(context.Context, *fake.World) int) *executor {
	e.t.Helper()
	x := &executor{env: e, id: id, mode: mode, told: make(chan msg.ToDispatcher, 10000), reports: make(chan msg.ToReporter, 10000), started: make(chan *fake.World, 10)}
	e.engine.Load(string(id), fake.Image{Program: fake.Program{IgnoresStop: true, Run: func(ctx context.Context, w *fake.World) int {
		x.started <- w
		return run(ctx, w)
	}}})
	e.executors = append(e.executors, x)
	x.spawn(false)
	return x
}

// spawn starts the actor; returned: the runner was away.
func (x *executor) spawn(returned bool) {
	x.t.Helper()
	rec := x.store.recordOf(x.id)
	if rec.ID == "" {
		rec = msg.ExecutorRecord{ID: x.id, Key: msg.Key{Image: string(x.id)}, Mode: x.mode, Created: time.Now()}
	}
	x.system = actorrt.NewSystem(actorrt.Options{Log: zerolog.New(x.log)})
	var err error
	x.actor, err = actorrt.SpawnRoot(x.system, actors.Executor(x.shop, rec, x.seq, returned,
		receiver[msg.ToDispatcher](func(m msg.ToDispatcher) { x.told <- m }), receiver[msg.ToReporter](func(m msg.ToReporter) { x.reports <- m })))
	must(x.t, err)
}

func (x *executor) stopActor() {
	ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Timeout)
	defer cancel()
	must(x.t, x.system.Stop(ctx))
}

// respawn is what the dispatcher does when the actor has panicked.
func (x *executor) respawn() {
	x.t.Helper()
	await(x.t, x.system.Fatal())
	x.stopActor()
	x.spawn(false)
}

// assign gives it a job.
func (x *executor) assign(j task) {
	x.seq++
	x.actor.Tell(msg.Assign{Job: j.Job, Seq: x.seq})
}

// launch assigns its first job, and returns when its container runs.
func (x *executor) launch(j task) {
	x.t.Helper()
	x.assign(j)
	x.running()
}

func (x *executor) running() {
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

// expect returns what the dispatcher is told next, which must be a V. What it is told of the engine is passed over.
func expect[V msg.ToDispatcher](x *executor) V {
	x.t.Helper()
	return expectBeside[V, msg.ProcessesCounted](x)
}

// expectBeside is expect, and passes over another message.
func expectBeside[V, Other msg.ToDispatcher](x *executor) V {
	x.t.Helper()
	for {
		switch got := await(x.t, x.told).(type) {
		case V:
			return got
		case Other, msg.Attached, msg.ImageFound, msg.NotPolling:
		default:
			x.t.Fatalf("the dispatcher is told %T%+v, want %T", got, got, *new(V))
		}
	}
}

// eventually waits until the dispatcher is told a V, whatever comes before.
func eventually[V msg.ToDispatcher](x *executor) {
	x.t.Helper()
	for {
		if _, is := await(x.t, x.told).(V); is {
			return
		}
	}
}

// expectOver is the end of a job.
func (x *executor) expectOver(j task) msg.JobRecord {
	x.t.Helper()
	if got := expect[msg.JobOver](x); got.Execution != j.Execution {
		x.t.Errorf("over: %+v, want %s", got, j.Execution)
	}
	return x.record(j)
}

// expectFailed is the end of a job without a result, for that reason.
func (x *executor) expectFailed(j task, why ...string) {
	x.t.Helper()
	rec := x.expectOver(j)
	if rec.HasResult || rec.Ending.Outcome != msg.Failed {
		x.t.Errorf("it ended %+v", rec.Ending)
	}
	for _, part := range why {
		if !strings.Contains(rec.Ending.Message, part) {
			x.t.Errorf("it ended with %q, which does not say %q", rec.Ending.Message, part)
		}
	}
}

func (x *executor) python() *client   { return &client{gatewaytest.Python(x.t, x.access), x} }
func (x *executor) informer() *client { return &client{gatewaytest.Informer(x.t, x.access), x} }

// out is a file in the result directory.
func (x *executor) out(name string) string {
	return filepath.Join(x.store.ExecutorDir(x.id), "out", name)
}

func (x *executor) resultFile() string { return x.out("result") }

func (x *executor) writeResult(text string) {
	x.t.Helper()
	must(x.t, os.WriteFile(x.resultFile(), []byte(text), 0o644))
}

// client is the executor's plugin, request by request.
type client struct {
	*gatewaytest.Client
	x *executor
}

type (
	answer = gatewaytest.Answer
	event  = gatewaytest.Event
)

// first launches an executor with its first job, and returns when that is delivered.
func (x *executor) first(j task) (*client, answer) {
	x.t.Helper()
	x.launch(j)
	c := x.python()
	return c, c.receive(j)
}

// firstOf is first with an informer.
func (x *executor) firstOf(j task) (*client, answer) {
	x.t.Helper()
	x.launch(j)
	c := x.informer()
	return c, c.receive(j)
}

// warm is a new executor that has had a job and is told to ask for another. bogus delivers a result under the key of the first.
func (e *env) warm(id msg.ExecutorID) (x *executor, c *client, bogus func()) {
	e.t.Helper()
	x = e.executor(id, msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	c.finish(a, j)
	c.notified()
	return x, c, func() { c.deliver(a, j.result(1)) }
}

// receive is a GET that gets the job that is assigned.
func (c *client) receive(j task) answer {
	c.x.t.Helper()
	a := await(c.x.t, c.Get(context.Background()))
	c.x.check(a, j)
	return a
}

// check is what a plugin needs of its job.
func (x *executor) check(a answer, j task) {
	x.t.Helper()
	must(x.t, a.Err)
	if a.Status != http.StatusOK || string(a.Secret.Data[contract.KeyExecutionID]) != string(j.Execution) {
		x.t.Fatalf("the GET is answered %d with job %q, want %q", a.Status, a.Secret.Data[contract.KeyExecutionID], j.Execution)
	}
	x.untilDelivered(j)
}

// ask is a GET that waits for a job.
func (c *client) ask() <-chan answer {
	c.x.t.Helper()
	asked := c.Get(context.Background())
	expect[msg.Idle](c.x)
	return asked
}

// loses is a GET that waits for a job, and is given up.
func (c *client) loses() {
	c.x.t.Helper()
	ctx, lose := context.WithCancel(context.Background())
	asked := c.Get(ctx)
	expect[msg.Idle](c.x)
	lose()
	await(c.x.t, asked)
	expect[msg.NotIdle](c.x)
}

// next takes the executor's GET through the hand-out of a job.
func (c *client) next(j task) answer {
	c.x.t.Helper()
	asked := c.ask()
	c.x.assign(j)
	a := await(c.x.t, asked)
	c.x.check(a, j)
	return a
}

// deliver is the callback of a result that is taken.
func (c *client) deliver(a answer, body string) {
	c.x.t.Helper()
	if status := c.Post(a.CallbackURL(c.x.t), body); status != http.StatusNoContent {
		c.x.t.Fatalf("the callback is answered %d", status)
	}
}

// finish delivers a result and waits for the end of the job.
func (c *client) finish(a answer, j task) {
	c.x.t.Helper()
	c.deliver(a, j.result(0))
	if rec := c.x.expectOver(j); !rec.HasResult || rec.Ending.Outcome != msg.Completed {
		c.x.t.Errorf("it ended %+v", rec.Ending)
	}
}

// round is a whole job of an executor that has had one.
func (c *client) round(j task) {
	c.x.t.Helper()
	c.finish(c.next(j), j)
}

// notified opens Python's watch after a job, and returns the event that makes it ask, after the baseline.
func (c *client) notified() (baseline, now event) {
	c.x.t.Helper()
	w := c.Watch("")
	return await(c.x.t, w), await(c.x.t, w)
}

// quiet fails if the watch has got something since. A LIST is answered after all that was sent before.
func (c *client) quiet(w <-chan event) {
	c.x.t.Helper()
	c.List()
	select {
	case e := <-w:
		c.x.t.Fatalf("a watch gets %s %s", e.Type, e.Object.ResourceVersion)
	default:
	}
}

// never fails if one of the messages was told.
func never[V msg.ToDispatcher](t testing.TB, x *executor) {
	t.Helper()
	for {
		select {
		case got := <-x.told:
			if v, is := got.(V); is {
				t.Errorf("the dispatcher is told %T%+v", v, v)
			}
		default:
			return
		}
	}
}
