package docker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

// proxyAnswers are responses of proxies that do not reach the engine or do not know the path. Only the engine's own "No such
// container" proves absence (law 5).
var proxyAnswers = map[string]fakeAnswer{
	"404 without a body":   {status: 404},
	"404 of a web server":  {status: 404, kind: "text/plain", body: "404 page not found"},
	"404 with JSON":        {status: 404, kind: "application/json", body: `{"message":"page not found"}`},
	"404 with empty JSON":  {status: 404, kind: "application/json", body: `{}`},
	"404 about another":    {status: 404, kind: "application/json", body: `{"message":"No such container: another"}`},
	"200 with an empty {}": {status: 200, kind: "application/json", body: `{}`},
	"200 with an empty []": {status: 200, kind: "application/json", body: `[]`},
}

// methods are the driver's methods, each with the engine's operation that it depends on.
var methods = []struct {
	name, op string
	call     func(context.Context, *docker.Driver, msg.ExecutorID) error
}{
	{"inspect", "json", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error {
		_, err := d.Inspect(ctx, id)
		return err
	}},
	{"wait", "wait", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error {
		_, err := d.Wait(ctx, id)
		return err
	}},
	{"logs", "logs", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error {
		return d.Logs(ctx, id, msg.Position{}, func([]msg.LogEntry) error { return nil })
	}},
	{"count processes", "top", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error {
		_, err := d.Processes(ctx, id)
		return err
	}},
	{"measure disk", "json", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error {
		_, err := d.Disk(ctx, id)
		return err
	}},
	{"remove", "remove", func(ctx context.Context, d *docker.Driver, id msg.ExecutorID) error { return d.Remove(ctx, id) }},
}

func TestProxyAnswerIsNotErrNoExecutor(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	p := newProxy(t, e.engine.DaemonHost(), nil)
	for name, answer := range proxyAnswers {
		for _, method := range methods {
			for _, op := range []string{"", method.op} { // the fake answer is for all operations, or only for this one
				for _, cached := range []bool{true, false} { // false: as after a start of runnerd
					d := driverAt(t, p.host, e.runner)
					if cached {
						_, err := d.Inspect(t.Context(), id)
						check(t, err)
					}
					answer.op = op
					p.fake.Store(&answer)
					if err := method.call(t.Context(), d, id); err == nil || errors.Is(err, msg.ErrNoExecutor) {
						t.Errorf("%s, to %q: %s returns %v", name, op, method.name, err)
					}
					p.fake.Store(nil)
				}
			}
		}
	}
	if c, err := e.driver.Inspect(t.Context(), id); err != nil || c.State != msg.ContainerRunning {
		t.Errorf("the container is %v, error %v", c, err)
	}
}

func TestListAcceptsOnlyEngineAnswers(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	p := newProxy(t, e.engine.DaemonHost(), nil)
	d := driverAt(t, p.host, e.runner)
	for name, answer := range proxyAnswers {
		for _, op := range []string{"list", "json"} {
			answer.op = op
			p.fake.Store(&answer)
			list, err := d.List(t.Context())
			if empty := op == "list" && answer.body == "[]"; err == nil != empty || errors.Is(err, msg.ErrNoExecutor) || len(list) > 0 {
				t.Errorf("%s, to %s: list returns %v, %v", name, op, list, err)
			}
		}
	}
	empty := proxyAnswers["200 with an empty []"]
	empty.op = "list"
	p.fake.Store(&empty) // Inspect then asks for the container by its name
	if c, err := driverAt(t, p.host, e.runner).Inspect(t.Context(), id); err != nil || c.State != msg.ContainerRunning {
		t.Errorf("missing in the list: inspect returns %v, %v", c, err)
	}
}

func TestRenamedExecutorIsFound(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, cached := range []bool{true, false} { // the driver that created it, or one of a later runnerd
		t.Run(fmt.Sprintf("cached=%v", cached), func(t *testing.T) {
			t.Parallel()
			d := e.driver
			if !cached {
				d = driverAt(t, e.engine.DaemonHost(), e.runner)
			}
			spec := e.spec(t, "waits", "")
			id := e.run(t, spec)
			e.firstLine(t, id)
			check(t, e.engine.ContainerRename(t.Context(), e.container(id), "renamed-"+string(id)))
			if c, err := d.Inspect(t.Context(), id); err != nil || c.State != msg.ContainerRunning {
				t.Errorf("inspect returns %v, %v", c, err)
			}
			check(t, d.Start(t.Context(), id))
			check(t, d.Signal(t.Context(), id, msg.SIGTERM))
			if exit, err := d.Wait(t.Context(), id); err != nil || exit.Code != 143 {
				t.Errorf("wait returns %+v, %v", exit, err)
			}
			check(t, d.Logs(t.Context(), id, msg.Position{}, func([]msg.LogEntry) error { return nil }))
			check(t, d.Remove(t.Context(), id))
			if _, err := e.engine.ContainerInspect(t.Context(), "renamed-"+string(id)); err == nil {
				t.Error("the container still exists after its removal")
			}
		})
	}
}

func TestForeignContainerWithExecutorNameIsKept(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "waits", "")
	id := e.run(t, spec)
	check(t, e.engine.ContainerRename(t.Context(), e.container(id), "renamed-"+string(id)))
	foreignContainer := e.foreignContainer(t, e.container(id))
	later := driverAt(t, e.engine.DaemonHost(), e.runner)
	check(t, later.Create(t.Context(), spec)) // its name is taken: it is found by its label
	check(t, later.Remove(t.Context(), id))
	if _, err := e.engine.ContainerInspect(t.Context(), "renamed-"+string(id)); err == nil {
		t.Error("the executor is still there")
	}
	if err := driverAt(t, e.engine.DaemonHost(), e.runner).Remove(t.Context(), id); err == nil {
		t.Error("remove does not report the foreign container")
	}
	if _, err := e.engine.ContainerInspect(t.Context(), foreignContainer); err != nil {
		t.Errorf("the foreign container: %v", err)
	}
}
