package docker

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/rig"
)

// Aborts, at every state of a job.

var quickly = []string{"--abort-wait=1s", "--term-wait=1s"}

// aborted asks for the end of a job, and checks what becomes of it. The message must match says; a number of seconds in it is no
// less than those that must have passed.
func aborted(w *rig.World, id, says string, seconds float64) (view devserver.TaskView, log string) {
	w.T.Helper()
	rig.Must(w.T, w.Server.Abort(id, "enough"))
	view, log = w.Done(id)
	match := regexp.MustCompile("^" + says + "$").FindStringSubmatch(view.Message)
	if view.State != devserver.Aborted || match == nil {
		w.T.Errorf("it is %s with %q, want %q\n%s", view.State, view.Message, says, log)
	} else if len(match) > 1 {
		if took, err := strconv.ParseFloat(match[1], 64); err != nil || took < seconds {
			w.T.Errorf("%q: the waits alone are %v s", view.Message, seconds)
		}
	}
	return view, log
}

const after = `after (\d+\.\d)s`

func TestAJobThatRunsIsAbortedInTheOneWayThatItsPluginLeaves(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Eviction: time.Minute, Flags: quickly})
	for name, c := range map[string]struct {
		taskType string
		set      map[string]any
		says     string
		seconds  float64
		signals  string
		code     int
		prints   string
	}{
		"the abort command runs": {"sample.Slow", map[string]any{"steps": 6000, "delayMillis": 100},
			"Aborted: enough. The plugin answered SIGABRT with its result " + after, 0, "6 9", 134, "aborted after "},
		"it has no abort command": {"sample.Misbehave", misbehaving("hang"),
			"Aborted: enough. The plugin answered SIGABRT with its result " + after, 0, "6 9", 134, "without abort command"},
		"it ignores SIGABRT": {"sample.Misbehave", misbehaving("hang-ignoring-abort"), "Aborted: enough. It ended on SIGTERM " + after, 1, "6 15", 0, ""},
		"it ignores all":     {"sample.Misbehave", misbehaving("hang-ignoring-signals"), "Aborted: enough. It took SIGKILL, " + after, 2, "6 15 9", 0, ""},
	} {
		id := w.Submit(shop.Blue, c.taskType, c.set)
		w.Says(id, map[string]string{"sample.Slow": "step 2 of ", "sample.Misbehave": "misbehaving: "}[c.taskType])
		view, log := aborted(w, id, c.says, c.seconds)
		if *view.ExitCode != c.code || !strings.Contains(log, c.prints) {
			t.Errorf("%s: its exit code is %d, want %d, and %q is in its log:\n%s", name, *view.ExitCode, c.code, c.prints, log)
		}
		said := w.LinesOf(id, "job stopped")
		if text := strings.TrimPrefix(view.Message, "Aborted: "); len(said) != 1 || !strings.HasSuffix(said[0].Reason, text) {
			t.Fatalf("%s: the runner's log says %v, want once %s", name, said, text)
		}
		executor := said[0].Executor
		rig.Until(t, "its executor has died", func() bool { return !w.Lives().Died[executor].IsZero() })
		if got := strings.Join(w.Signals(executor), " "); got != c.signals {
			t.Errorf("%s: it was sent the signals %s, want %s", name, got, c.signals)
		}
	}
}

func TestAnAbortedScriptSaysSo(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Flags: quickly})
	runs := w.Submit(shop.Blue, "sample.Lookup", map[string]any{"delayMillis": 600_000})
	rig.Until(t, "it runs", func() bool { return strings.Contains(w.Heard(`"message":"input delivered"`), w.ExecutionOf(runs)) })
	waits := w.Submit(shop.Blue, "sample.Lookup", nil)
	w.Hears(w.ExecutionOf(waits))
	if view, _ := aborted(w, waits, "Aborted while it waited for an executor: enough", 0); view.OutputProperties != nil {
		t.Errorf("it has outputs: %v", view.OutputProperties)
	}
	if view, _ := aborted(w, runs, "Aborted: enough. The plugin answered SIGABRT with its result "+after, 0); *view.ExitCode != 134 {
		t.Errorf("the exit code of its result is %d", *view.ExitCode)
	}
}

func TestAJobIsAbortedWhileItsImageIsPulled(t *testing.T) {
	t.Parallel()
	d := shop.Door(t)
	pulls := make(chan struct{})
	pulled := sync.OnceFunc(func() { close(pulls) })
	d.Front = func(_ string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			pulled()
			<-r.Context().Done()
			return
		}
		next(out, r)
	}
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Env: []string{d.Env()}})
	job := w.SubmitTask(devserver.TaskRequest{Image: "127.0.0.1:1/stalls:1.0", TaskType: "sample.Hello", ImagePullPolicy: api.PullAlways})
	<-pulls
	aborted(w, job, "Aborted while its image was pulled: enough", 0)
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})) // the place is free
}

func TestAJobIsAbortedWhileItsExecutorIsStarted(t *testing.T) {
	t.Parallel()
	d := shop.Door(t)
	starts, release := make(chan struct{}), make(chan struct{})
	begun, letGo := sync.OnceFunc(func() { close(starts) }), sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	d.Front = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "start" {
			begun()
			<-release
		}
		next(out, r)
	}
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Env: []string{d.Env()}})
	job := w.Slow(shop.Blue, 10)
	<-starts
	aborted(w, job, "Aborted while its executor was started: enough", 0)
	letGo()
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
	if n := len(w.Lives().Created); n != 2 {
		t.Errorf("%d executors were made: the one that was late was used", n)
	}
}

func TestAJobIsAbortedBeforeItsPluginAsksForIt(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	job := w.Submit(deaf, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Says(job, "this is no plugin")
	aborted(w, job, "Aborted before its plugin asked for it: enough", 0)
	w.AllDie()
}

func TestAnAbortOutlivesKillMinusNine(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Eviction: time.Minute, Flags: []string{"--abort-wait=5m"}})
	job := w.Submit(shop.Blue, "sample.Slow", map[string]any{"steps": 6000, "delayMillis": 100, "abortMillis": 15_000})
	w.Says(job, "step 2 of ")
	rig.Must(t, w.Server.Abort(job, "enough"))
	w.Says(job, "cleaning up")
	w.Kill()
	w.Start()
	w.Ready()
	view, log := aborted(w, job, "Aborted: enough. The plugin answered SIGABRT with its result "+after, 15)
	if *view.ExitCode != 134 || strings.Count(log, "aborted after ") != 1 {
		t.Errorf("its exit code is %d, and its log:\n%s", *view.ExitCode, log)
	}
	w.FinishedOnce(job)
}
