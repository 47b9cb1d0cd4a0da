package docker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAnExecutorReachesNeitherOthersNorTheirDoors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{capacity: 3, eviction: time.Minute})
	w.completed(w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker}))
	own := w.only() // idle: the jobs that knock run there
	work := w.slow(shop.green, 600)
	w.says(work, "step 2 of ")
	listens := w.submit(shop.listener, "sample.Hello", nil)
	var other, address string
	until(t, "all three run", func() bool {
		other, address = "", ""
		for executor, c := range containers(t, w.uuid) {
			switch {
			case executor == own:
			case c.Labels["runnerd.image"] == shop.green:
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
	until(t, "the machine itself reaches what listens", func() bool {
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
		job := w.submit(shop.blue, "sample.Knock", map[string]any{"target": row.target})
		view, _ := w.completed(job)
		if got := fmt.Sprint(view.OutputProperties["answer"]); !strings.Contains(got, row.answer) {
			t.Errorf("who knocks %s is answered %q, want %q", row.knocks, got, row.answer)
		}
		if got := w.executorOf(job); got != own {
			t.Fatalf("the job ran in %s, and not in %s: nothing is proven", got, own)
		}
	}
	for _, id := range []string{work, listens} {
		must(t, w.server.Abort(id, "all is seen"))
	}
	w.done(work)
	w.done(listens)
}
