package docker

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

func TestRunWaitsForEngineToComeUp(t *testing.T) {
	t.Parallel()
	proxy := shared.NewEngineProxy(t)
	env := shared.NewEnv(t, harness.Options{Eviction: time.Second, Environ: []string{proxy.Environ()}, NoRunner: true})
	job := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})

	env.Start()
	checkWaitingForEngine(env, proxy, job)
	proxy.Listen()
	env.WaitReady()
	env.WaitCompleted(job)
	env.CheckCapacity(4)

	// A drain also removes the network, and with it the address at which the gateway listens.
	env.WaitNoExecutors()
	env.Drain()
	proxy.StopListening()
	again := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.Start()
	checkWaitingForEngine(env, proxy, again)
	proxy.Listen()
	env.WaitReady()
	env.WaitCompleted(again)
	env.WaitNoExecutors()
	env.Drain()
	proxy.StopListening()
}

// checkWaitingForEngine checks that the runner reports in its log and at /ready that it waits for the engine, and takes no job.
func checkWaitingForEngine(env *harness.Env, proxy *harness.EngineProxy, job string) {
	env.T.Helper()
	env.WaitRunnerLog("waiting for the engine")
	var body string
	harness.WaitUntil(env.T, "/ready answers", func() bool {
		answer, err := http.Get("http://" + env.Runner.HealthAddress + "/ready")
		if err != nil {
			env.CheckRunning()
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		harness.Must(env.T, err)
		body = string(text)
		return answer.StatusCode == http.StatusServiceUnavailable
	})
	if !strings.Contains(body, proxy.Path) {
		env.T.Errorf("the body of /ready is %s", body)
	}
	if got := harness.Fetch(env.T, "http://"+env.Runner.HealthAddress+"/live", http.StatusOK); got == "" {
		env.T.Error("the body of /live is empty")
	}
	view, err := env.Server.Task(job)
	harness.Must(env.T, err)
	if view.State != devserver.Queued {
		env.T.Errorf("without an engine the job is %s", view.State)
	}
}

func TestStartWaitsForServer(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Eviction: time.Second, NoServer: true, NoRunner: true})
	env.Start()
	env.WaitRunnerLog("registration failed: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
	if got := harness.Fetch(t, "http://"+env.Runner.HealthAddress+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") ||
		!strings.Contains(got, env.ServerAddress) {
		t.Errorf("the body of /ready is %s", got)
	}
	env.StartServer(harness.Token)
	env.WaitReady()
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
}

func TestRejectedTokenIsLoggedAndRetried(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Eviction: time.Second, NoServer: true, NoRunner: true})
	env.StartServer("another token")
	env.Start()
	env.WaitRunnerLog("server refused the registration token: check --token (RELEASE_RUNNER_TOKEN)")
	if got := harness.Fetch(t, "http://"+env.Runner.HealthAddress+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") {
		t.Errorf("the body of /ready is %s", got)
	}
	env.StopServer()
	env.StartServer(harness.Token)
	env.WaitReady()
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
}
