package hostile

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"runnerd/tests/rig"
)

const (
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	listens        = "8080" // the port at which the plugin does
)

// neighbours are two executors of the hostile plugin. In one of them a job lasts, until its gate opens; the other is idle.
type neighbours struct {
	*rig.World
	victim  string // an executor
	job     string // its task
	result  string // the URL of its result
	address string // of the victim in the runner's network
	own     string // the executor that attempts something
	gate    *gate
}

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	n := &neighbours{World: shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute})}
	n.gate = newGate(n.World)
	listen := attempt{what: "listen", target: "tcp::" + listens}
	n.Completed(listen.submit(n.World)) // with its log: the executor is idle then
	n.victim = n.Only()
	n.job = attempt{what: "wait", gate: n.gate}.submit(n.World)
	n.Says(n.job, "my result belongs to <")
	n.result = regexp.MustCompile(`<(http://.*)>`).FindStringSubmatch(n.Log(n.job))[1]
	for _, network := range shop.Containers(t, n.UUID)[n.victim].NetworkSettings.Networks {
		n.address = network.IPAddress
	}
	task := listen.submit(n.World)
	got(n.World, task)
	if n.own = n.ExecutorOf(task); n.own == n.victim {
		t.Fatal("both jobs run in one executor: nothing can be proven")
	}
	return n
}

// try lets the idle executor try.
func (n *neighbours) try(a attempt) string {
	n.T.Helper()
	task := a.submit(n.World)
	said := got(n.World, task)
	if ran := n.ExecutorOf(task); ran != n.own {
		n.T.Fatalf("the job ran in %s, and not in %s: nothing is proven", ran, n.own)
	}
	return said
}

// unharmed: the victim's job ends as it would have, with its own result.
func (n *neighbours) unharmed() {
	n.T.Helper()
	if view, err := n.Server.Task(n.job); err != nil || view.State.Done() {
		n.T.Errorf("the other's job has ended before its time: %+v, %v", view, err)
	}
	n.gate.open()
	if said := got(n.World, n.job); said != "nothing" {
		n.T.Errorf("the result of the other's job is %q", said)
	}
	n.FinishedOnce(n.job)
}

func (n *neighbours) token(executor string) string {
	n.T.Helper()
	text, err := os.ReadFile(filepath.Join(n.Spool(), "executors", executor, "sa", "token"))
	rig.Must(n.T, err)
	return string(text)
}

func TestAnExecutorReachesNeitherOthersNorTheirDoors(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	rig.Until(t, "the machine itself reaches the other executor", func() bool {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(n.address, listens), time.Second)
		return err == nil && c.Close() == nil
	})
	const secrets, selected = "/api/v1/namespaces/runnerd/secrets", "/api/v1/namespaces/runnerd/secrets?fieldSelector=metadata.name%3Dinput-"
	own, other := secrets+"/input-"+n.own, secrets+"/input-"+n.victim
	ownToken, otherToken := n.token(n.own), n.token(n.victim)
	othersDir := filepath.Join(n.Spool(), "executors", n.victim)
	const taken, refused, missing = "200 OK", "403 Forbidden", "no such file"

	for _, row := range []struct {
		attempt, control string
		what             string
		target, with     string
		got              string
	}{
		{control: "its own Secret in a list", what: "ask", target: selected + n.own, got: taken},
		{attempt: "the Secret of another", what: "ask", target: other, got: refused},
		{attempt: "the Secret of another in a list", what: "ask", target: selected + n.victim, got: refused},
		{attempt: "the Secret of another, watched", what: "ask", target: selected + n.victim + "&watch=true", got: refused},
		{attempt: "all Secrets", what: "ask", target: secrets, got: refused},
		{attempt: "its own Secret in another namespace", what: "ask", target: "/api/v1/namespaces/default/secrets/input-" + n.own, got: refused},
		{attempt: "the Secret of another by a detour", what: "ask", target: own + "/../input-" + n.victim, got: refused},
		{attempt: "the same, encoded", what: "ask", target: own + "%2F..%2Finput-" + n.victim, got: refused},
		{attempt: "a Secret with NUL in its name", what: "ask", target: own + "%00", got: refused},
		{attempt: "a Secret with a name of 10 KB", what: "ask", target: secrets + "/input-" + strings.Repeat("x", 10_000), got: refused},

		{control: "its own Secret in a list, its token given", what: "ask", target: selected + n.own, with: ownToken, got: taken},
		{control: "that the other token opens something", what: "ask", target: selected + n.victim, with: otherToken, got: taken},
		{attempt: "its own Secret with the token of another", what: "ask", target: own, with: otherToken, got: refused},
		{attempt: "the other's Secret with its own token under the other's name", what: "ask", target: other, with: n.victim + ownToken[len(n.own):], got: refused},
		{attempt: "its own Secret with a token that is cut", what: "ask", target: own, with: ownToken[:len(ownToken)-1], got: refused},

		{control: "an address of the runner's machine", what: "dial", target: "tcp:" + n.gate.address, got: "connected"},
		{control: "its own address", what: "dial", target: "tcp:127.0.0.1:" + listens, got: "connected"},
		{attempt: "the other executor", what: "dial", target: "tcp:" + n.address + ":" + listens, got: "i/o timeout"},

		{control: "to listen at a socket", what: "listen", target: "unix:/tmp/own.sock", got: "listening"},
		{control: "its own socket", what: "dial", target: "unix:/tmp/own.sock", got: "connected"},
		{attempt: "the engine's socket", what: "dial", target: "unix:/var/run/docker.sock", got: missing},
		{attempt: "the same by its other name", what: "dial", target: "unix:/run/docker.sock", got: missing},
		{attempt: "the runner's socket", what: "dial", target: "unix:" + filepath.Join(n.State, "control.sock"), got: missing},

		{control: "to write into its own directory", what: "write", target: "/runnerd/out/mine", got: "written"},
		{control: "its own directory", what: "read", target: "/runnerd/out", got: "entries"},
		{control: "its own token", what: "read", target: serviceAccount + "/token", got: "bytes"},
		{attempt: "to overwrite its own token", what: "write", target: serviceAccount + "/token", got: "read-only"},
		{attempt: "the directory of another", what: "read", target: othersDir, got: missing},
		{attempt: "the same from its own", what: "read", target: "/runnerd/out/../../" + n.victim + "/out", got: missing},
		{attempt: "to write into the directory of another", what: "write", target: filepath.Join(othersDir, "out", "result"), got: missing},
		{attempt: "the runner's jobs", what: "read", target: filepath.Join(n.Spool(), "jobs"), got: missing},
	} {
		if said := n.try(attempt{what: row.what, target: row.target, with: row.with}); !strings.Contains(said, row.got) {
			t.Errorf("%s%s: got %q, want %q", row.attempt, row.control, said, row.got)
		}
	}
	n.unharmed()
}

func TestNobodyDeliversTheResultOfAnothersJob(t *testing.T) {
	t.Parallel()
	n := newNeighbours(t)
	const answered, unknown = "204 No Content", "404 Not Found"
	for _, row := range []struct{ attempt, target, with, got string }{
		{"control: its own result, where it belongs", "", "own", "posted"},
		{"a result made with its own key, at the other's URL", n.result, "own", answered},
		{"what nobody can open, at the other's URL", n.result, "another key", answered},
		{"plain text, at the other's URL", n.result, "no key", answered},
		{"control: its own result once more", "", "own", "posted"},
		{"what an earlier job has kept, at the other's URL", n.result, "kept", answered},
		{"its own result at a URL that is guessed", "OWNx", "own", unknown},
		{"its own result by a detour", "OWN/../" + n.result[strings.LastIndex(n.result, "/")+1:], "own", unknown},
		{"its own result at a URL with NUL", "OWN%00", "own", unknown},
		{"its own result at a URL of 10 KB", "OWN" + strings.Repeat("0", 10_000), "own", unknown},
	} {
		if said := n.try(attempt{what: "post", target: row.target, with: row.with}); said != row.got {
			t.Errorf("%s: got %q, want %q", row.attempt, said, row.got)
		}
	}
	n.unharmed()
}
