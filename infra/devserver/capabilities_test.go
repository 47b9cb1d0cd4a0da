package devserver_test

import (
	"testing"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func TestJobGoesToRunnerWithRequiredCapabilities(t *testing.T) {
	s := newServer(t, devserver.Options{})
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	plain := registerRunner(t, s, identity, "remote")
	submit := func(kind api.Kind, capabilities ...string) string {
		t.Helper()
		id, err := s.Submit(devserver.TaskRequest{TaskType: "a.B", Image: "i", Kind: kind, Capabilities: capabilities})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	gpu, script := submit(api.KindTask, "gpu"), submit(api.KindScript)
	if jobs := plain.reserve(5, "0s"); len(jobs) > 0 {
		t.Errorf("offered without the capability: %+v", jobs)
	}
	for id, want := range map[string]string{gpu: "for a runner with the capabilities gpu", script: "for a runner with the capabilities remote-script"} {
		if view, _ := s.Task(id); view.State != devserver.Queued || view.Waits != want {
			t.Errorf("%s is %s and waits %q", id, view.State, view.Waits)
		}
	}

	other, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	able := registerRunner(t, s, other, "gpu", "remote-script")
	if jobs := plain.reserve(5, "0s"); len(jobs) > 0 {
		t.Errorf("offered to the wrong one: %+v", jobs)
	}
	if jobs := able.reserve(5, "0s"); len(jobs) != 1 || jobs[0].JobID != gpu {
		t.Errorf("offered are %+v, want %s", jobs, gpu)
	}
	if view, _ := s.Task(script); view.State != devserver.Offered || view.Runner != able.RunnerID || view.Waits != "" {
		t.Errorf("the script is %+v", view)
	}

	// Configured capabilities replace the registered ones.
	if err := s.Configure(plain.RunnerID, func(c *api.Config) { c.Capabilities = []string{"gpu"} }); err != nil {
		t.Fatal(err)
	}
	again := submit(api.KindTask, "gpu")
	if jobs := plain.reserve(5, "0s"); len(jobs) != 1 || jobs[0].JobID != again {
		t.Errorf("offered are %+v, want %s", jobs, again)
	}

	for _, r := range s.Runners() {
		if err := s.Configure(r.ID, func(c *api.Config) { c.Enabled = false }); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{
		submit(api.KindTask):            "for a runner that is enabled",
		submit(api.KindTask, "gpu"):     "for a runner with the capabilities gpu that is enabled",
		submit(api.KindScript, "gpu"):   "for a runner with the capabilities gpu, remote-script that is enabled",
		submit(api.KindTask, "another"): "for a runner with the capabilities another",
	} {
		if view, _ := s.Task(id); view.Waits != want {
			t.Errorf("where all are disabled it waits %q, want %q", view.Waits, want)
		}
	}
}

func TestQueuedTaskSaysWhatItWaitsFor(t *testing.T) {
	s := newServer(t, devserver.Options{Config: api.Config{Enabled: true, Capacity: 1}})
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	r := registerRunner(t, s, identity, "remote")
	submit := func() string {
		t.Helper()
		id, err := s.Submit(devserver.TaskRequest{TaskType: "a.B", Image: "i"})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	expect := func(id, want string) {
		t.Helper()
		if view, _ := s.Task(id); view.Waits != want {
			t.Errorf("%s is %s and waits %q, want %q", id, view.State, view.Waits, want)
		}
	}
	first := submit()
	name := s.Runners()[0].Name
	expect(first, "for runner "+name+" to ask for jobs")
	if jobs := r.reserve(1, "0s"); len(jobs) != 1 {
		t.Fatalf("offered are %+v", jobs)
	}
	expect(first, "")
	expect(submit(), "for a free slot of runner "+name+": 1 of 1 are in use")
}
