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
	"runnerd/tests/harness"
)

var shortGraces = []string{"--abort-wait=1s", "--term-wait=1s"}

// checkAborted aborts a job and checks that its message matches wantMessage. A number of seconds in the message must be at least seconds.
func checkAborted(env *harness.Env, id, wantMessage string, seconds float64) (view devserver.TaskView, log string) {
	env.T.Helper()
	harness.Must(env.T, env.Server.Abort(id, "enough"))
	view, log = env.WaitDone(id)
	match := regexp.MustCompile("^" + wantMessage + "$").FindStringSubmatch(view.Message)
	if view.State != devserver.Aborted || match == nil {
		env.T.Errorf("the job is %s with %q, want %q\n%s", view.State, view.Message, wantMessage, log)
	} else if len(match) > 1 {
		if elapsed, err := strconv.ParseFloat(match[1], 64); err != nil || elapsed < seconds {
			env.T.Errorf("%q: the waits alone are %v s", view.Message, seconds)
		}
	}
	return view, log
}

const afterSeconds = `after (\d+\.\d)s`

func TestRunningJobIsAbortedWithEscalatingSignals(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Eviction: time.Minute, Flags: shortGraces})
	for name, c := range map[string]struct {
		taskType    string
		set         map[string]any
		wantMessage string
		seconds     float64
		signals     string
		code        int
		wantLog     string
	}{
		"abort command": {"sample.Slow", map[string]any{"steps": 6000, "delayMillis": 100},
			"Aborted: enough. The plugin answered SIGABRT with its result " + afterSeconds, 0, "6 9", 134, "aborted after "},
		"no abort command": {"sample.Misbehave", misbehaving("hang"),
			"Aborted: enough. The plugin answered SIGABRT with its result " + afterSeconds, 0, "6 9", 134, "without abort command"},
		"ignores SIGABRT":     {"sample.Misbehave", misbehaving("hang-ignoring-abort"), "Aborted: enough. The plugin exited on SIGTERM " + afterSeconds, 1, "6 15", 0, ""},
		"ignores all signals": {"sample.Misbehave", misbehaving("hang-ignoring-signals"), "Aborted: enough. The plugin was killed \\(SIGKILL\\) " + afterSeconds, 2, "6 15 9", 0, ""},
	} {
		id := env.Submit(shared.Blue, c.taskType, c.set)
		env.WaitTaskLog(id, map[string]string{"sample.Slow": "step 2 of ", "sample.Misbehave": "misbehaving: "}[c.taskType])
		view, log := checkAborted(env, id, c.wantMessage, c.seconds)
		if *view.ExitCode != c.code || !strings.Contains(log, c.wantLog) {
			t.Errorf("%s: the exit code is %d, want %d, or %q is not in the log:\n%s", name, *view.ExitCode, c.code, c.wantLog, log)
		}
		harness.WaitUntil(t, "the runner logs the stop", func() bool { return len(env.LogLinesOf(id, "job stopped")) > 0 }) // the finish may overtake it
		stops := env.LogLinesOf(id, "job stopped")
		if text := strings.TrimPrefix(view.Message, "Aborted: "); len(stops) != 1 || !strings.HasSuffix(stops[0].Reason, text) {
			t.Fatalf("%s: the runner's log has the stops %v, want one with %q", name, stops, text)
		}
		executor := stops[0].Executor
		harness.WaitUntil(t, "its executor has died", func() bool { return !env.Executors().Died[executor].IsZero() })
		if got := strings.Join(env.Signals(executor), " "); got != c.signals {
			t.Errorf("%s: the executor was sent the signals %s, want %s", name, got, c.signals)
		}
	}
}

func TestAbortedScriptReportsAbort(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Flags: shortGraces})
	running := env.Submit(shared.Blue, "sample.Lookup", map[string]any{"delayMillis": 600_000})
	harness.WaitUntil(t, "the job runs", func() bool {
		return strings.Contains(env.GrepLog(`"message":"input delivered"`), env.ExecutionOf(running))
	})
	waiting := env.Submit(shared.Blue, "sample.Lookup", nil)
	env.WaitRunnerLog(env.ExecutionOf(waiting))
	if view, _ := checkAborted(env, waiting, "Aborted while it waited for an executor: enough", 0); view.OutputProperties != nil {
		t.Errorf("the waiting job has outputs: %v", view.OutputProperties)
	}
	if view, _ := checkAborted(env, running, "Aborted: enough. The plugin answered SIGABRT with its result "+afterSeconds, 0); *view.ExitCode != 134 {
		t.Errorf("the exit code of its result is %d", *view.ExitCode)
	}
}

func TestJobIsAbortedDuringPull(t *testing.T) {
	t.Parallel()
	proxy := shared.NewEngineProxy(t)
	pulling := make(chan struct{})
	pullStarted := sync.OnceFunc(func() { close(pulling) })
	proxy.Intercept = func(_ string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			pullStarted()
			<-r.Context().Done()
			return
		}
		next(out, r)
	}
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Environ: []string{proxy.Environ()}})
	job := env.SubmitTask(devserver.TaskRequest{Image: "127.0.0.1:1/stalls:1.0", TaskType: "sample.Hello", ImagePullPolicy: api.PullAlways})
	<-pulling
	checkAborted(env, job, "Aborted while its image was being pulled: enough", 0)
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})) // the slot is free
}

func TestJobIsAbortedDuringExecutorStart(t *testing.T) {
	t.Parallel()
	proxy := shared.NewEngineProxy(t)
	starting, release := make(chan struct{}), make(chan struct{})
	startRequested, releaseStart := sync.OnceFunc(func() { close(starting) }), sync.OnceFunc(func() { close(release) })
	t.Cleanup(releaseStart)
	proxy.Intercept = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "start" {
			startRequested()
			<-release
		}
		next(out, r)
	}
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Environ: []string{proxy.Environ()}})
	job := env.SubmitSlow(shared.Blue, 10)
	<-starting
	checkAborted(env, job, "Aborted while its executor was being started: enough", 0)
	releaseStart()
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
	if n := len(env.Executors().Created); n != 2 {
		t.Errorf("%d executors were created, want 2: the aborted job's executor must not be reused", n)
	}
}

func TestJobIsAbortedBeforeItsPluginPolls(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	job := env.Submit(neverPolls, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.WaitTaskLog(job, "this is not a plugin")
	checkAborted(env, job, "Aborted before its plugin asked for it: enough", 0)
	env.WaitNoExecutors()
}

func TestAbortSurvivesKill(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Eviction: time.Minute, Flags: []string{"--abort-wait=5m"}})
	job := env.Submit(shared.Blue, "sample.Slow", map[string]any{"steps": 6000, "delayMillis": 100, "abortMillis": 15_000})
	env.WaitTaskLog(job, "step 2 of ")
	harness.Must(t, env.Server.Abort(job, "enough"))
	env.WaitTaskLog(job, "cleaning up")
	env.Kill()
	env.Start()
	env.WaitReady()
	view, log := checkAborted(env, job, "Aborted: enough. The plugin answered SIGABRT with its result "+afterSeconds, 15)
	if *view.ExitCode != 134 || strings.Count(log, "aborted after ") != 1 {
		t.Errorf("the job's exit code is %d, and its log:\n%s", *view.ExitCode, log)
	}
	env.CheckFinishedOnce(job)
}
