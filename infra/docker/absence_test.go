package docker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

// Only the engine's own "No such container" is absence (law 5): here something between it and the driver answers instead.

// answers are what proxies say that do not reach the engine, or do not know the path.
var answers = map[string]lie{
	"404 without a body":   {status: 404},
	"404 of a web server":  {status: 404, kind: "text/plain", body: "404 page not found"},
	"404 with JSON":        {status: 404, kind: "application/json", body: `{"message":"page not found"}`},
	"404 with empty JSON":  {status: 404, kind: "application/json", body: `{}`},
	"404 about another":    {status: 404, kind: "application/json", body: `{"message":"No such container: another"}`},
	"200 with an empty {}": {status: 200, kind: "application/json", body: `{}`},
	"200 with an empty []": {status: 200, kind: "application/json", body: `[]`},
}

// verbs are the driver's, each with the operation of the engine that it is about.
var verbs = []struct {
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

func TestAProxysAnswerIsNoAbsence(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "lives", ""))
	e.firstLine(t, id)
	f := newFront(t, e.engine.DaemonHost(), nil)
	for name, answer := range answers {
		for _, verb := range verbs {
			for _, op := range []string{"", verb.op} { // everything is answered so, or only this
				for _, knows := range []bool{true, false} { // as after a start of runnerd
					d := driverAt(t, f.host, e.runner)
					if knows {
						_, err := d.Inspect(t.Context(), id)
						check(t, err)
					}
					answer.op = op
					f.lies.Store(&answer)
					if err := verb.call(t.Context(), d, id); err == nil || errors.Is(err, msg.ErrNoExecutor) {
						t.Errorf("%s, to %q: %s returns %v", name, op, verb.name, err)
					}
					f.lies.Store(nil)
				}
			}
		}
	}
	if c, err := e.driver.Inspect(t.Context(), id); err != nil || c.State != msg.ContainerRunning {
		t.Errorf("it is %v, %v", c, err)
	}
}

func TestAListIsWhatTheEngineSays(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "lives", ""))
	f := newFront(t, e.engine.DaemonHost(), nil)
	d := driverAt(t, f.host, e.runner)
	for name, answer := range answers {
		for _, op := range []string{"list", "json"} {
			answer.op = op
			f.lies.Store(&answer)
			list, err := d.List(t.Context())
			if empty := op == "list" && answer.body == "[]"; err == nil != empty || errors.Is(err, msg.ErrNoExecutor) || len(list) > 0 {
				t.Errorf("%s, to %s: list returns %v, %v", name, op, list, err)
			}
		}
	}
	empty := answers["200 with an empty []"]
	empty.op = "list"
	f.lies.Store(&empty) // whoever misses one asks for it
	if c, err := driverAt(t, f.host, e.runner).Inspect(t.Context(), id); err != nil || c.State != msg.ContainerRunning {
		t.Errorf("not in the list, and inspect returns %v, %v", c, err)
	}
}

func TestARenamedExecutorIsTheSame(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, knows := range []bool{true, false} { // the driver that made it, or one of a runnerd that was started later
		t.Run(fmt.Sprintf("known=%v", knows), func(t *testing.T) {
			t.Parallel()
			d := e.driver
			if !knows {
				d = driverAt(t, e.engine.DaemonHost(), e.runner)
			}
			spec := e.spec(t, "lives", "")
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
				t.Error("it is removed, and still there")
			}
		})
	}
}

func TestAStrangerWithAnExecutorsNameIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "lives", "")
	id := e.run(t, spec)
	check(t, e.engine.ContainerRename(t.Context(), e.container(id), "renamed-"+string(id)))
	stranger := e.stranger(t, e.container(id))
	later := driverAt(t, e.engine.DaemonHost(), e.runner)
	check(t, later.Create(t.Context(), spec)) // whose name is taken: it is found by its label
	check(t, later.Remove(t.Context(), id))
	if _, err := e.engine.ContainerInspect(t.Context(), "renamed-"+string(id)); err == nil {
		t.Error("the executor is still there")
	}
	if err := driverAt(t, e.engine.DaemonHost(), e.runner).Remove(t.Context(), id); err == nil {
		t.Error("nothing is said of the stranger")
	}
	if _, err := e.engine.ContainerInspect(t.Context(), stranger); err != nil {
		t.Errorf("the stranger: %v", err)
	}
}
