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
	"runnerd/tests/rig"
)

func TestAScriptOfTheSamplePluginAnswersFromTheExecutorOfItsTasks(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	warm := w.Only()
	script := w.Submit(shop.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	view, _ := w.Completed(script)
	want := []any{map[string]any{"label": "Ada", "value": "ada"}, map[string]any{"label": "Alan", "value": "alan"}}
	if got := view.OutputProperties["commandResponse"]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("it answers %v, want %v", got, want)
	}
	if got := w.ExecutorOf(script); got != warm {
		t.Errorf("it ran in executor %s, and %s was idle", got, warm)
	}
	w.LoggedByScript(script, "Successfully")
	w.NoMoreThan(1)
}

func TestAnItemThatHasNoIDAndNoPropertiesYetReachesAScript(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	script := w.Submit(shop.Green, "sample.Lookup", map[string]any{"prefix": "Gr", "_parameters": map[string]any{}})
	view, _ := w.Completed(script)
	if got := fmt.Sprint(view.OutputProperties["commandResponse"]); got != "[map[label:Grace value:grace]]" {
		t.Errorf("it answers %s", got)
	}
	w.LoggedByScript(script, `looking up with parameters {\"type\":\"udm.Parameters\"}`)
}

func TestAConnectionTestAnswersWhetherTheServerDoesAndItsPasswordIsInNoLog(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	const password = "correct horse"
	listener, err := net.Listen("tcp", net.JoinHostPort(w.Bridge(), "0"))
	rig.Must(t, err)
	server := &http.Server{ReadHeaderTimeout: rig.Patience, Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); user != "admin" || given != password {
			out.WriteHeader(http.StatusUnauthorized)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { rig.Must(t, server.Close()) })
	url := "http://" + listener.Addr().String()
	for _, row := range []struct{ url, password, want string }{
		{url, password, "map[output:" + url + " answers success:true]"},
		{url, "battery staple", "map[output:" + url + " answers 401 Unauthorized success:false]"},
		{"http://127.0.0.1:9", password, "connection refused success:false]"},
	} {
		script := w.Submit(shop.Green, "sample.TestConnection", map[string]any{
			"server": map[string]any{"url": row.url, "username": "admin", "password": row.password}})
		view, _ := w.Completed(script)
		if got := fmt.Sprint(view.OutputProperties["commandResponse"]); !strings.HasSuffix(got, row.want) {
			t.Errorf("%s with password %q: it answers %s, want %s", row.url, row.password, got, row.want)
		}
		w.LoggedByScript(script, "as admin with ********")
		if w.Heard(row.password) != "" {
			t.Error("the password is in the runner's log")
		}
	}
}

func TestTheServerPausesAndReconfiguresARunnerThatIsAtWork(t *testing.T) {
	t.Parallel()
	const steps = 40
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour})
	runner := w.Server.Runners()[0].ID
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 3 of ")
	rig.Must(t, w.Server.Configure(runner, func(c *api.Config) { c.Enabled = false }))
	w.Hears(`"enabled":false`)
	later := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, steps)
	if view, err := w.Server.Task(later); err != nil || view.State != devserver.Queued {
		t.Errorf("the job that came after the disable is %s, %v", view.State, err)
	}
	rig.Must(t, w.Server.Configure(runner, func(c *api.Config) { c.Enabled, c.Capacity = true, 1 }))
	w.Completed(later)
	rig.Until(t, "one executor is left", func() bool { return len(shop.Containers(t, w.UUID)) == 1 })
	rig.Must(t, w.Server.Configure(runner, func(c *api.Config) { c.EvictionSeconds = 0 }))
	rig.Until(t, "none is left", func() bool { return len(shop.Containers(t, w.UUID)) == 0 })
}

func TestARunnerThatTheServerDeletesLeavesNothingAndDoesNotComeBackByItself(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	job := w.Slow(shop.Blue, 1000)
	w.Says(job, "step 3 of ")
	rig.Must(t, w.Server.Delete(w.Server.Runners()[0].ID))
	if state := w.Ends(); !state.Success() {
		t.Errorf("it ended with %v", state)
	}
	if view, _ := w.Done(job); view.State != devserver.Aborted || !strings.Contains(view.Message, "the server has deleted the runner") {
		t.Errorf("its job is %s: %s", view.State, view.Message)
	}
	checkDeleted(t, w)

	w.Start()
	if code := w.Ends().ExitCode(); code != 2 {
		t.Errorf("started again it ends with code %d, want 2", code)
	}
	if w.Heard("the server deleted this runner at ") == "" {
		t.Error("it does not say why")
	}
	rig.Must(t, os.Remove(filepath.Join(w.State, "deleted")))
	w.Start()
	w.Ready()
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
}

func TestADeletionThatIsKilledGoesOnWithTheNextStart(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	job := w.Submit(shop.Blue, "sample.Misbehave", map[string]any{"how": "hang-ignoring-signals"})
	w.Says(job, "misbehaving: ")
	rig.Must(t, w.Server.Delete(w.Server.Runners()[0].ID))
	w.Hears("the server deletes this runner")
	rig.Until(t, "that is noted", func() bool { _, err := os.Stat(filepath.Join(w.State, "deleted")); return err == nil })
	w.Kill()
	w.Start()
	if state := w.Ends(); !state.Success() {
		t.Errorf("it ended with %v", state)
	}
	checkLeft(t, w)
	w.Untold = append(w.Untold, job) // a deleted runner does not register again, so nobody can tell
	ops := countOps(w)
	if ops["register"] != 1 || ops["unregister"] > 0 {
		t.Errorf("the server has of each: %v", ops)
	}
}

func TestADeletedRunnerThatIsKilledAsItUnregistersDoesNotRegisterAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		killed string
		told   int // times, the server
	}{{"when the server has answered", 1}, {"before the server knows", 0}} {
		t.Run(row.killed, func(t *testing.T) {
			t.Parallel()
			said := make(chan struct{})
			var once sync.Once
			w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Hour, Front: func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if op == "unregister" {
					once.Do(func() {
						if row.told > 0 {
							next(httptest.NewRecorder(), r)
						}
						close(said)
						<-r.Context().Done() // by the kill
						panic(http.ErrAbortHandler)
					})
				}
				next(out, r)
			}})
			w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
			rig.Must(t, w.Server.Delete(w.Server.Runners()[0].ID))
			select {
			case <-said:
			case <-time.After(rig.Patience):
				t.Fatal("it does not unregister")
			}
			w.Kill()
			w.Start()
			if state := w.Ends(); !state.Success() {
				t.Errorf("it ended with %v", state)
			}
			checkLeft(t, w)
			ops := countOps(w)
			if ops["register"] != 1 || ops["unregister"] != row.told {
				t.Errorf("the server has of each: %v", ops)
			}
		})
	}
}

func checkDeleted(t *testing.T, w *rig.World) {
	t.Helper()
	if n := len(w.Server.Runners()); n != 0 {
		t.Errorf("the server still has %d runners", n)
	}
	checkLeft(t, w)
}

// checkLeft: nothing is left of the runner on the machine but the note.
func checkLeft(t *testing.T, w *rig.World) {
	t.Helper()
	w.CheckEngine()
	left, err := os.ReadDir(w.State)
	rig.Must(t, err)
	if len(left) != 1 || left[0].Name() != "deleted" {
		t.Errorf("left are %v", left)
	}
}

func countOps(w *rig.World) map[string]int {
	ops := map[string]int{}
	for _, entry := range w.Server.Ledger().Entries() {
		ops[entry.Op]++
	}
	return ops
}
