package hostile

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"runnerd/tests/harness"
)

const (
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	listenPort     = "8080" // port at which the plugin listens
)

// twoExecutors are two executors of the hostile plugin. In the victim a job runs until its gate opens; the attacker is idle.
type twoExecutors struct {
	*harness.Env
	victim   string // executor
	job      string // the victim's task
	result   string // callback URL of the victim's job
	address  string // the victim's, in the runner's network
	attacker string // executor
	gate     *gate
}

func newTwoExecutors(t *testing.T) *twoExecutors {
	t.Helper()
	n := &twoExecutors{Env: shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute})}
	n.gate = newGate(n.Env)
	listen := attempt{what: "listen", target: "tcp::" + listenPort}
	n.WaitCompleted(listen.submit(n.Env)) // the executor is idle then
	n.victim = n.OnlyExecutor()
	n.job = attempt{what: "wait", gate: n.gate}.submit(n.Env)
	n.WaitTaskLog(n.job, "my result belongs to <")
	n.result = regexp.MustCompile(`<(http://.*)>`).FindStringSubmatch(n.TaskLog(n.job))[1]
	for _, network := range shared.Containers(t, n.UUID)[n.victim].NetworkSettings.Networks {
		n.address = network.IPAddress
	}
	task := listen.submit(n.Env)
	resultOf(n.Env, task)
	if n.attacker = n.ExecutorOf(task); n.attacker == n.victim {
		t.Fatal("both jobs run in one executor: nothing can be proven")
	}
	return n
}

// try runs an attempt in the attacker.
func (n *twoExecutors) try(a attempt) string {
	n.T.Helper()
	task := a.submit(n.Env)
	got := resultOf(n.Env, task)
	if ran := n.ExecutorOf(task); ran != n.attacker {
		n.T.Fatalf("the job ran in %s, and not in %s: nothing is proven", ran, n.attacker)
	}
	return got
}

// checkVictimUnharmed checks that the victim's job still runs and ends with its own result.
func (n *twoExecutors) checkVictimUnharmed() {
	n.T.Helper()
	if view, err := n.Server.Task(n.job); err != nil || view.State.Done() {
		n.T.Errorf("the victim's job has ended early: %+v, %v", view, err)
	}
	n.gate.open()
	if got := resultOf(n.Env, n.job); got != "nothing" {
		n.T.Errorf("the result of the victim's job is %q", got)
	}
	n.CheckFinishedOnce(n.job)
}

func (n *twoExecutors) token(executor string) string {
	n.T.Helper()
	text, err := os.ReadFile(filepath.Join(n.Spool(), "executors", executor, "sa", "token"))
	harness.Must(n.T, err)
	return string(text)
}

func TestExecutorCannotReachOthersOrTheirEndpoints(t *testing.T) {
	t.Parallel()
	n := newTwoExecutors(t)
	harness.WaitUntil(t, "the machine itself reaches the other executor", func() bool {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(n.address, listenPort), time.Second)
		return err == nil && c.Close() == nil
	})
	const secrets, selected = "/api/v1/namespaces/runnerd/secrets", "/api/v1/namespaces/runnerd/secrets?fieldSelector=metadata.name%3Dinput-"
	own, other := secrets+"/input-"+n.attacker, secrets+"/input-"+n.victim
	ownToken, otherToken := n.token(n.attacker), n.token(n.victim)
	othersDir := filepath.Join(n.Spool(), "executors", n.victim)
	const granted, refused, missing = "200 OK", "403 Forbidden", "no such file"

	for _, row := range []struct {
		attempt, control string // one of them is set: what must fail, or what must succeed
		what             string
		target, with     string
		want             string
	}{
		{control: "its own Secret in a list", what: "get-secret", target: selected + n.attacker, want: granted},
		{attempt: "the Secret of another", what: "get-secret", target: other, want: refused},
		{attempt: "the Secret of another in a list", what: "get-secret", target: selected + n.victim, want: refused},
		{attempt: "the Secret of another, watched", what: "get-secret", target: selected + n.victim + "&watch=true", want: refused},
		{attempt: "all Secrets", what: "get-secret", target: secrets, want: refused},
		{attempt: "its own Secret in another namespace", what: "get-secret", target: "/api/v1/namespaces/default/secrets/input-" + n.attacker, want: refused},
		{attempt: "the Secret of another by path traversal", what: "get-secret", target: own + "/../input-" + n.victim, want: refused},
		{attempt: "the same, encoded", what: "get-secret", target: own + "%2F..%2Finput-" + n.victim, want: refused},
		{attempt: "a Secret name with NUL", what: "get-secret", target: own + "%00", want: refused},
		{attempt: "a Secret name of 10 KB", what: "get-secret", target: secrets + "/input-" + strings.Repeat("x", 10_000), want: refused},

		{control: "its own Secret with its token", what: "get-secret", target: selected + n.attacker, with: ownToken, want: granted},
		{control: "the other Secret with its token", what: "get-secret", target: selected + n.victim, with: otherToken, want: granted},
		{attempt: "its own Secret with the token of another", what: "get-secret", target: own, with: otherToken, want: refused},
		{attempt: "the other's Secret with its own token under the other's name", what: "get-secret", target: other, with: n.victim + ownToken[len(n.attacker):], want: refused},
		{attempt: "its own Secret with a truncated token", what: "get-secret", target: own, with: ownToken[:len(ownToken)-1], want: refused},

		{control: "an address of the runner's machine", what: "dial", target: "tcp:" + n.gate.address, want: "connected"},
		{control: "its own address", what: "dial", target: "tcp:127.0.0.1:" + listenPort, want: "connected"},
		{attempt: "the other executor", what: "dial", target: "tcp:" + n.address + ":" + listenPort, want: "i/o timeout"},

		{control: "to listen at a socket", what: "listen", target: "unix:/tmp/own.sock", want: "listening"},
		{control: "its own socket", what: "dial", target: "unix:/tmp/own.sock", want: "connected"},
		{attempt: "the engine's socket", what: "dial", target: "unix:/var/run/docker.sock", want: missing},
		{attempt: "the engine's socket in /run", what: "dial", target: "unix:/run/docker.sock", want: missing},
		{attempt: "the runner's socket", what: "dial", target: "unix:" + filepath.Join(n.StateDir, "control.sock"), want: missing},

		{control: "to write into its own directory", what: "write", target: "/runnerd/out/mine", want: "written"},
		{control: "its own directory", what: "read", target: "/runnerd/out", want: "entries"},
		{control: "its own token", what: "read", target: serviceAccount + "/token", want: "bytes"},
		{attempt: "to overwrite its own token", what: "write", target: serviceAccount + "/token", want: "read-only"},
		{attempt: "the directory of another", what: "read", target: othersDir, want: missing},
		{attempt: "the directory of another by path traversal", what: "read", target: "/runnerd/out/../../" + n.victim + "/out", want: missing},
		{attempt: "to write into the directory of another", what: "write", target: filepath.Join(othersDir, "out", "result"), want: missing},
		{attempt: "the runner's jobs", what: "read", target: filepath.Join(n.Spool(), "jobs"), want: missing},
	} {
		if got := n.try(attempt{what: row.what, target: row.target, with: row.with}); !strings.Contains(got, row.want) {
			t.Errorf("%s%s: got %q, want %q", row.attempt, row.control, got, row.want)
		}
	}
	n.checkVictimUnharmed()
}

func TestResultOfOtherJobCannotBeDelivered(t *testing.T) {
	t.Parallel()
	n := newTwoExecutors(t)
	const answered, unknown = "204 No Content", "404 Not Found" // 204 is also the answer to a result that the runner ignores
	for _, row := range []struct{ attempt, target, with, want string }{
		{"control: its own result, where it belongs", "", "own", "posted"},
		{"a result made with its own key, at the other's URL", n.result, "own", answered},
		{"a result with an unknown key, at the other's URL", n.result, "another key", answered},
		{"plain text, at the other's URL", n.result, "no key", answered},
		{"control: its own result once more", "", "own", "posted"},
		{"the result of an earlier job, at the other's URL", n.result, "saved", answered},
		{"its own result at a guessed URL", "OWNx", "own", unknown},
		{"its own result by path traversal", "OWN/../" + n.result[strings.LastIndex(n.result, "/")+1:], "own", unknown},
		{"its own result at a URL with NUL", "OWN%00", "own", unknown},
		{"its own result at a URL of 10 KB", "OWN" + strings.Repeat("0", 10_000), "own", unknown},
	} {
		if got := n.try(attempt{what: "post", target: row.target, with: row.with}); got != row.want {
			t.Errorf("%s: got %q, want %q", row.attempt, got, row.want)
		}
	}
	n.checkVictimUnharmed()
}
