package docker

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

func TestRunWaitsForItsEngineHoweverLongItTakesToComeUp(t *testing.T) {
	t.Parallel()
	d := shop.Door(t)
	w := shop.World(t, rig.Plan{Eviction: time.Second, Env: []string{d.Env()}, NoRunner: true})
	job := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})

	w.Start()
	waitsForEngine(w, d, job)
	d.Lift()
	w.Ready()
	w.Completed(job)
	w.NoMoreThan(4)

	// After a drain its network is gone too: with it the address at which the gateway listens.
	w.AllDie()
	w.Drain()
	d.Shut()
	again := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Start()
	waitsForEngine(w, d, again)
	d.Lift()
	w.Ready()
	w.Completed(again)
	w.AllDie()
	w.Drain()
	d.Shut()
}

// waitsForEngine: it says so, in its log and at /ready, and does nothing else.
func waitsForEngine(w *rig.World, d *rig.Door, job string) {
	w.T.Helper()
	w.Hears("waiting for the engine")
	var says string
	rig.Until(w.T, "/ready answers", func() bool {
		answer, err := http.Get("http://" + w.Runner.Health + "/ready")
		if err != nil {
			w.MustRun()
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		rig.Must(w.T, err)
		says = string(text)
		return answer.StatusCode == http.StatusServiceUnavailable
	})
	if !strings.Contains(says, d.Path) {
		w.T.Errorf("/ready says %s", says)
	}
	if got := rig.Fetch(w.T, "http://"+w.Runner.Health+"/live", http.StatusOK); got == "" {
		w.T.Error("/live says nothing")
	}
	view, err := w.Server.Task(job)
	rig.Must(w.T, err)
	if view.State != devserver.Queued {
		w.T.Errorf("without an engine the job is %s", view.State)
	}
}

func TestAServerThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Eviction: time.Second, NoServer: true, NoRunner: true})
	w.Start()
	w.Hears("not registered: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
	if got := rig.Fetch(t, "http://"+w.Runner.Health+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") ||
		!strings.Contains(got, w.Address) {
		t.Errorf("/ready says %s", got)
	}
	w.StartServer(rig.Token)
	w.Ready()
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
}

func TestATokenThatIsRefusedIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Eviction: time.Second, NoServer: true, NoRunner: true})
	w.StartServer("another token")
	w.Start()
	w.Hears("the server refuses the registration token: check --token (RELEASE_RUNNER_TOKEN)")
	if got := rig.Fetch(t, "http://"+w.Runner.Health+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") {
		t.Errorf("/ready says %s", got)
	}
	w.StopServer()
	w.StartServer(rig.Token)
	w.Ready()
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
}
