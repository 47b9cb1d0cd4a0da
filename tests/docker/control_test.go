package docker

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/harness"
)

func TestScriptRunsInWarmExecutorOfTasks(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	warm := env.OnlyExecutor()
	script := env.Submit(shared.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	view, _ := env.WaitCompleted(script)
	want := []any{map[string]any{"label": "Ada", "value": "ada"}, map[string]any{"label": "Alan", "value": "alan"}}
	if got := view.OutputProperties["commandResponse"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the script answers %v, want %v", got, want)
	}
	if got := env.ExecutorOf(script); got != warm {
		t.Errorf("the script ran in executor %s instead of the idle %s", got, warm)
	}
	env.WaitScriptLog(script, "Successfully")
	env.CheckCapacity(1)
}

func TestScriptGetsItemWithoutIDOrProperties(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	script := env.Submit(shared.Green, "sample.Lookup", map[string]any{"prefix": "Gr", "_parameters": map[string]any{}})
	view, _ := env.WaitCompleted(script)
	if got := fmt.Sprint(view.OutputProperties["commandResponse"]); got != "[map[label:Grace value:grace]]" {
		t.Errorf("the script answers %s", got)
	}
	env.WaitScriptLog(script, `looking up with parameters {\"type\":\"udm.Parameters\"}`)
}

func TestConnectionTestReportsServerAndHidesPassword(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	const password = "correct horse"
	listener, err := net.Listen("tcp", net.JoinHostPort(env.BridgeAddress(), "0"))
	harness.Must(t, err)
	server := &http.Server{ReadHeaderTimeout: harness.Timeout, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); user != "admin" || given != password {
			out.WriteHeader(http.StatusUnauthorized)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { harness.Must(t, server.Close()) })
	url := "http://" + listener.Addr().String()
	for _, row := range []struct{ url, password, want string }{
		{url, password, "map[output:" + url + " answers success:true]"},
		{url, "battery staple", "map[output:" + url + " answers 401 Unauthorized success:false]"},
		{"http://127.0.0.1:9", password, "connection refused success:false]"},
	} {
		script := env.Submit(shared.Green, "sample.TestConnection", map[string]any{
			"server": map[string]any{"url": row.url, "username": "admin", "password": row.password}})
		view, _ := env.WaitCompleted(script)
		if got := fmt.Sprint(view.OutputProperties["commandResponse"]); !strings.HasSuffix(got, row.want) {
			t.Errorf("%s with password %q: it answers %s, want %s", row.url, row.password, got, row.want)
		}
		env.WaitScriptLog(script, "as admin with ********")
		if env.GrepLog(row.password) != "" {
			t.Error("the password is in the runner's log")
		}
	}
}

func TestServerReconfiguresBusyRunner(t *testing.T) {
	t.Parallel()
	const steps = 40
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour})
	runner := env.Server.Runners()[0].ID
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 3 of ")
	harness.Must(t, env.Server.Configure(runner, func(c *api.Config) { c.Enabled = false }))
	env.WaitRunnerLog(`"enabled":false`)
	later := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, steps)
	if view, err := env.Server.Task(later); err != nil || view.State != devserver.Queued {
		t.Errorf("the job that was submitted to the disabled runner is %s, %v", view.State, err)
	}
	harness.Must(t, env.Server.Configure(runner, func(c *api.Config) { c.Enabled, c.Capacity = true, 1 }))
	env.WaitCompleted(later)
	harness.WaitUntil(t, "one executor is left", func() bool { return len(shared.Containers(t, env.UUID)) == 1 })
	harness.Must(t, env.Server.Configure(runner, func(c *api.Config) { c.EvictionSeconds = 0 }))
	harness.WaitUntil(t, "none is left", func() bool { return len(shared.Containers(t, env.UUID)) == 0 })
}

func TestDeletedRunnerLeavesNothingAndStaysDeleted(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	job := env.SubmitSlow(shared.Blue, 1000)
	env.WaitTaskLog(job, "step 3 of ")
	harness.Must(t, env.Server.Delete(env.Server.Runners()[0].ID))
	if state := env.WaitExit(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if view, _ := env.WaitDone(job); view.State != devserver.Aborted || !strings.Contains(view.Message, "the server has deleted the runner") {
		t.Errorf("the deleted runner's job is %s: %s", view.State, view.Message)
	}
	checkDeleted(t, env)

	env.Start()
	if code := env.WaitExit().ExitCode(); code != 2 {
		t.Errorf("the runner was started again and exited with code %d, want 2", code)
	}
	if env.GrepLog("removed all data of this runner, which the server deleted") == "" {
		t.Error("the log does not give the reason")
	}
	harness.Must(t, os.Remove(filepath.Join(env.StateDir, "deleted")))
	env.Start()
	env.WaitReady()
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
}

func TestKilledDeletionContinuesAtNextStart(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	job := env.Submit(shared.Blue, "sample.Misbehave", map[string]any{"how": "hang-ignoring-signals"})
	env.WaitTaskLog(job, "misbehaving: ")
	harness.Must(t, env.Server.Delete(env.Server.Runners()[0].ID))
	env.WaitRunnerLog("server deleted this runner")
	harness.WaitUntil(t, "the deletion is recorded", func() bool { _, err := os.Stat(filepath.Join(env.StateDir, "deleted")); return err == nil })
	env.Kill()
	env.Start()
	if state := env.WaitExit(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	checkNothingLeft(t, env)
	env.Unreported = append(env.Unreported, job) // a deleted runner does not register again, so it cannot be reported
	ops := countOps(env)
	if ops["register"] != 1 || ops["unregister"] > 0 {
		t.Errorf("operations at the server: %v", ops)
	}
}

func TestKillDuringUnregisterDoesNotRegisterAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		killed   string
		answered int // how often the server answered
	}{{"killed after server answered", 1}, {"killed before request was sent", 0}} {
		t.Run(row.killed, func(t *testing.T) {
			t.Parallel()
			unregistering := make(chan struct{})
			var once sync.Once
			env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Hour, Intercept: func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if op == "unregister" {
					once.Do(func() {
						if row.answered > 0 {
							next(httptest.NewRecorder(), r)
						}
						close(unregistering)
						<-r.Context().Done() // until the kill
						panic(http.ErrAbortHandler)
					})
				}
				next(out, r)
			}})
			env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
			harness.Must(t, env.Server.Delete(env.Server.Runners()[0].ID))
			select {
			case <-unregistering:
			case <-time.After(harness.Timeout):
				t.Fatal("the runner does not unregister")
			}
			env.Kill()
			env.Start()
			if state := env.WaitExit(); !state.Success() {
				t.Errorf("the runner ended with %v", state)
			}
			checkNothingLeft(t, env)
			ops := countOps(env)
			if ops["register"] != 1 || ops["unregister"] != row.answered {
				t.Errorf("operations at the server: %v", ops)
			}
		})
	}
}

func checkDeleted(t *testing.T, env *harness.Env) {
	t.Helper()
	if n := len(env.Server.Runners()); n != 0 {
		t.Errorf("the server still has %d runners", n)
	}
	checkNothingLeft(t, env)
}

// checkNothingLeft checks that the deletion record is all that is left of the runner on the machine.
func checkNothingLeft(t *testing.T, env *harness.Env) {
	t.Helper()
	env.CheckEngineEmpty()
	left, err := os.ReadDir(env.StateDir)
	harness.Must(t, err)
	if len(left) != 1 || left[0].Name() != "deleted" {
		t.Errorf("remaining: %v", left)
	}
}

func countOps(env *harness.Env) map[string]int {
	ops := map[string]int{}
	for _, entry := range env.Server.Ledger().Entries() {
		ops[entry.Op]++
	}
	return ops
}
