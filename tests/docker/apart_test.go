package docker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"runnerd/tests/rig"
)

func TestAnExecutorReachesNeitherOthersNorTheirDoors(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute})
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
	own := w.Only() // idle: the jobs that knock run there
	work := w.Slow(shop.Green, 600)
	w.Says(work, "step 2 of ")
	listens := w.Submit(listener, "sample.Hello", nil)
	var other, address string
	rig.Until(t, "all three run", func() bool {
		other, address = "", ""
		for executor, c := range shop.Containers(t, w.UUID) {
			switch {
			case executor == own:
			case c.Labels["runnerd.image"] == shop.Green:
				other = executor
			default:
				for _, n := range c.NetworkSettings.Networks {
					address = n.IPAddress
				}
			}
		}
		return other != "" && address != ""
	})
	listener := net.JoinHostPort(address, "8080")
	rig.Until(t, "the machine itself reaches what listens", func() bool {
		c, err := net.DialTimeout("tcp", listener, time.Second)
		return err == nil && c.Close() == nil
	})

	secrets := "/api/v1/namespaces/runnerd/secrets"
	for _, row := range []struct{ knocks, target, answer string }{
		{"at its own Secret", secrets + "/input-" + own, "200 OK"},
		{"at its own Secret, in a list", secrets + "?fieldSelector=metadata.name%3Dinput-" + own, "200 OK"},
		{"at the Secret of another", secrets + "/input-" + other, "403 Forbidden"},
		{"at the Secret of another, in a list", secrets + "?fieldSelector=metadata.name%3Dinput-" + other, "403 Forbidden"},
		{"at all Secrets", secrets, "403 Forbidden"},
		{"at the Secrets of another namespace", "/api/v1/namespaces/default/secrets/input-" + own, "403 Forbidden"},
		{"at the Secret of another by a detour", secrets + "/input-" + own + "/../input-" + other, "403 Forbidden"},
		{"at another executor", listener, "i/o timeout"},
	} {
		job := w.Submit(shop.Blue, "sample.Knock", map[string]any{"target": row.target})
		view, _ := w.Completed(job)
		if got := fmt.Sprint(view.OutputProperties["answer"]); !strings.Contains(got, row.answer) {
			t.Errorf("who knocks %s is answered %q, want %q", row.knocks, got, row.answer)
		}
		if got := w.ExecutorOf(job); got != own {
			t.Fatalf("the job ran in %s, and not in %s: nothing is proven", got, own)
		}
	}
	for _, id := range []string{work, listens} {
		rig.Must(t, w.Server.Abort(id, "all is seen"))
	}
	w.Done(work)
	w.Done(listens)
}
