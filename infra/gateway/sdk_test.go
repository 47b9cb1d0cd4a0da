package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

var pluginDir string // made by samplePlugin, removed by TestMain

// samplePlugin builds the plugin that is made with the official Go SDK, once.
var samplePlugin = sync.OnceValues(func() (string, error) {
	var err error
	if pluginDir, err = os.MkdirTemp("", "runnerd-gateway"); err != nil {
		return "", err
	}
	binary := filepath.Join(pluginDir, "plugin")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../sampleplugin"
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return binary, build.Run()
})

// plugin is a process of the sample plugin, which sees its service account where a container would: it lives in a mount
// namespace of its own.
type plugin struct {
	e      *executor
	log    *bytes.Buffer
	atWork *ear // on sample.Slow
	done   chan struct{}
	stop   func()
}

// ear listens for a word.
type ear struct {
	word, said string
	heard      chan struct{}
}

func (e *ear) Write(p []byte) (int, error) {
	before := strings.Contains(e.said, e.word)
	e.said += string(p)
	if !before && strings.Contains(e.said, e.word) {
		close(e.heard)
	}
	return len(p), nil
}

func (e *executor) plugin(env ...string) *plugin {
	e.t.Helper()
	if exec.Command("unshare", "-m", "true").Run() != nil {
		if os.Getenv("CI") == "true" {
			e.t.Fatal("no mount namespace can be made: run as root")
		}
		e.t.Skip("no mount namespace can be made: run as root")
	}
	binary, err := samplePlugin()
	must(e.t, err)
	const script = `mount -t tmpfs none /run && mkdir -p "$2" && mount --bind "$1" "$2" && exec "$3"`
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", script, "sh",
		filepath.Join(e.spool.ExecutorDir(e.id), saDir), "/run/secrets/kubernetes.io/serviceaccount", binary)
	for k, v := range e.access.Env {
		command.Env = append(command.Env, k+"="+v)
	}
	command.Env = append(command.Env, contract.OutputLocation+"="+e.out(resultFile))
	command.Env = append(command.Env, env...)
	p := &plugin{e: e, log: &bytes.Buffer{}, atWork: &ear{word: "step 1", heard: make(chan struct{})}, done: make(chan struct{})}
	command.Stderr = io.MultiWriter(p.log, p.atWork)
	must(e.t, command.Start())
	go func() {
		defer close(p.done)
		_ = command.Wait() // the exit code means little
	}()
	p.stop = func() { cancel(); <-p.done }
	e.t.Cleanup(func() {
		p.stop()
		if e.t.Failed() {
			e.t.Logf("the plugin said:\n%s", p.log)
		}
	})
	return p
}

// round gives one job to the executor that waits, and returns what came back.
func (e *executor) round(j task) contract.Result {
	e.t.Helper()
	e.give(j)
	expect[msg.Delivered](e)
	if got := expect[msg.ResultStored](e); got.Execution != j.id || got.Retire != "" {
		e.t.Fatalf("stored %+v", got)
	}
	return e.outcome(j)
}

func expectHeld(e *executor) { e.t.Helper(); expect[msg.Held](e) }

func TestAHundredJobsInARowRunInOneProcessOfTheGoSDK(t *testing.T) {
	e := newWorld(t, nil).executor("warm", msg.Daemon)
	p := e.plugin()
	for range 100 {
		expectHeld(e)
		if r := e.round(e.hello()); r.ExitCode != 0 || r.OutputProperties["greeting"] != "Hello World" {
			t.Fatalf("result %+v", r)
		}
	}
	expectHeld(e)
	p.stop()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != 100 {
		t.Errorf("the plugin ran %d jobs, want each of 100 once", n)
	}
	expect[msg.HoldLost](e)
}

func TestTheGoSDKIntroducesItself(t *testing.T) {
	e := newWorld(t, nil).executor("who", msg.Daemon)
	e.plugin()
	if got := expect[msg.Introduced](e); got.SDK != msg.GoSDK {
		t.Errorf("introduced as %q", got.SDK)
	}
}

func TestTheGoSDKExitsAfterItsOnlyJobInModeSingle(t *testing.T) {
	e := newWorld(t, nil).executor("once", msg.Single)
	p := e.plugin()
	expectHeld(e)
	e.round(e.hello())
	<-p.done
}

func TestTheGoSDKFetchesALargeInputAndReturnsALargeResult(t *testing.T) {
	e := newWorld(t, func(o *Options) { o.InlineInput = 1 << 20 }).executor("large", msg.Daemon)
	e.plugin()
	for range 3 {
		expectHeld(e)
		r := e.round(e.task("sample.Large", map[string]any{"text": strings.Repeat("x", 3<<20), "size": 0}))
		if text, _ := r.OutputProperties["text"].(string); r.ExitCode != 0 || len(text) != 3<<20 {
			t.Fatalf("exit code %d, %d bytes, %s", r.ExitCode, len(text), r.JobErrorMessage)
		}
	}
	expectHeld(e)
}

func TestAResultOfTheGoSDKThatLostItsCallbackIsTakenFromTheFile(t *testing.T) {
	e := newWorld(t, nil).executor("file", msg.Daemon)
	e.plugin()
	for range 3 {
		expectHeld(e)
		e.round(e.task("sample.Misbehave", map[string]any{"how": "lose-callback"}))
	}
	expectHeld(e) // and the executor goes on
	e.round(e.hello())
}

// fetchFails is a spool that cannot read an input the second time it is asked: when the plugin fetches it.
type fetchFails struct {
	Store
	input msg.ExecutionID
	reads int
}

func (f *fetchFails) Input(id msg.ExecutionID) (string, error) {
	if id == f.input {
		if f.reads++; f.reads == 2 {
			return "", errors.New("failed on purpose")
		}
	}
	return f.Store.Input(id)
}

func TestRule4AJobWhoseInputTheGoSDKCouldNotFetchIsHandedOutOnceMore(t *testing.T) {
	store := &fetchFails{}
	w := newWorld(t, func(o *Options) {
		o.InlineInput = 1 << 20
		store.Store, o.Store = o.Store, store
	})
	e := w.executor("fetch", msg.Daemon)
	e.plugin()
	expectHeld(e)
	e.round(e.hello())
	expectHeld(e)
	j := e.task("sample.Large", map[string]any{"text": strings.Repeat("x", 2<<20)})
	store.input = j.id
	e.give(j)
	expect[msg.Delivered](e)
	if got := expect[msg.NotStarted](e); got.Execution != j.id {
		t.Errorf("not started: %+v", got)
	}
	expect[msg.Delivered](e)
	expect[msg.ResultStored](e)
	if rec, _ := w.spool.Job(j.id); rec.HandOuts != 2 || w.outcome(j).ExitCode != 0 {
		t.Errorf("handed out %d times, outcome %d", rec.HandOuts, w.outcome(j).ExitCode)
	}
	expectHeld(e)
	e.round(e.hello())
}

// Rule 6 with the real SDK: it comes back by itself after a planned restart, and runs the next job.
func TestTheGoSDKComesBackAfterAPlannedRestart(t *testing.T) {
	e := newWorld(t, nil).executor("back", msg.Daemon)
	p := e.plugin()
	expectHeld(e)
	e.round(e.hello())
	expectHeld(e)
	must(t, e.spool.UpdateExecutor(e.id, func(r *msg.ExecutorRecord) { r.IdleSince = r.Created }))
	e.restart()
	e.watch()
	expect[msg.ResultStored](e) // its job is still in the spool: told again
	expectHeld(e)
	e.round(e.hello())
	expectHeld(e)
	p.stop()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != 2 {
		t.Errorf("the plugin ran %d jobs, want 2", n)
	}
}

// Rule 5 with the real SDK: a reset is free once.
func TestRule5TheGoSDKComesBackAfterALostHold(t *testing.T) {
	e := newWorld(t, nil).executor("reset", msg.Daemon)
	p := e.plugin()
	for range 3 {
		expectHeld(e)
		e.cut()
		expect[msg.HoldLost](e)
		expectHeld(e)
		e.round(e.hello())
	}
	expectHeld(e)
	p.stop()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != 3 {
		t.Errorf("the plugin ran %d jobs, want 3", n)
	}
}

// Rule 7 with the real SDK: the port refuses until it has given up its GET and has written a bogus result into the file.
func TestRule7TheGoSDKIsArmedAnewAfterACrashWithThePortRefusing(t *testing.T) {
	e := newWorld(t, nil).executor("crash", msg.Daemon)
	p := e.plugin()
	expectHeld(e)
	j := e.hello()
	e.round(j)
	expectHeld(e)
	must(t, e.spool.UpdateExecutor(e.id, func(r *msg.ExecutorRecord) { r.IdleSince = r.Created }))
	e.crash()
	untilThereIs(t, e.out(resultFile))
	e.start()
	e.watch()
	expect[msg.ResultStored](e)
	expectHeld(e)
	e.round(e.hello())
	expectHeld(e)
	p.stop()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != 2 {
		t.Errorf("the plugin ran %d jobs, want 2", n)
	}
	if r := e.outcome(j); r.ExitCode != 0 {
		t.Errorf("the bogus result is taken: %+v", r)
	}
}

// Rule 8 with the real SDK: the job ends while nobody is there, and its result is found in the file.
func TestRule8AResultThatTheGoSDKWroteDuringACrashIsFound(t *testing.T) {
	e := newWorld(t, nil).executor("found", msg.Daemon)
	p := e.plugin()
	expectHeld(e)
	j := e.task("sample.Slow", map[string]any{"steps": 10, "delayMillis": 150})
	e.give(j)
	expect[msg.Delivered](e)
	<-p.atWork.heard // what was written may be lost with the connection until then
	e.crash()
	untilThereIs(t, e.out(resultFile))
	e.start()
	e.watch()
	expect[msg.Delivered](e)
	if got := expect[msg.ResultStored](e); got.Result.Via != msg.ViaFile || got.Retire == "" {
		t.Errorf("stored %+v", got)
	}
	if r := e.outcome(j); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}

// linesDown is a spool with which the lines go down as soon as a job is journaled, once: before its first byte leaves.
type linesDown struct {
	Store
	job  msg.ExecutionID
	down func()
}

func (l *linesDown) HandOut(id msg.ExecutionID, to msg.ExecutorID, arming uint64, at time.Time) error {
	err := l.Store.HandOut(id, to, arming, at)
	if id == l.job {
		l.job = ""
		l.down()
	}
	return err
}

// Rules 4 and 7 with the real SDK: the runner is killed after it has journaled the hand-out and before the answer has left, and
// the port refuses until the plugin has given up its GET. Its callback finds nobody: only the file says that it did not start.
func TestRule4AJobWhoseAnswerWasLostWithTheRunnerIsHandedOutOnceMore(t *testing.T) {
	for which, before := range map[string]int{"its first job": 0, "its second job": 1} {
		t.Run(which, func(t *testing.T) {
			var store *linesDown // of the gateway that lives now: the one that was killed may still look into its own
			w := newWorld(t, func(o *Options) {
				store = &linesDown{Store: o.Store}
				o.Store = store
			})
			e := w.executor("lost", msg.Daemon)
			// Of a result that only the file takes the SDK asks whether it was taken, while the goroutine that is to say so may
			// not run yet: on a busy machine one process in forty ends then, which a runner sees and this test does not.
			p := e.plugin("GOMAXPROCS=1")
			expectHeld(e)
			for range before {
				done := e.hello()
				e.round(done)
				expectHeld(e)
				must(t, w.spool.Remove(done.id)) // the server has all of it
			}
			j := e.hello()
			store.job, store.down = j.id, func() {
				_ = errors.Join(w.secrets.Close(), w.callbacks.Close())
				w.cut()
			}
			e.give(j)
			w.crash()
			untilThereIs(t, e.out(resultFile))
			e.start()
			e.watch()
			until[msg.ResultStored](e)
			if rec, _ := w.spool.Job(j.id); rec.HandOuts != 2 || w.outcome(j).ExitCode != 0 {
				t.Errorf("handed out %d times, outcome %+v", rec.HandOuts, w.outcome(j))
			}
			until[msg.Held](e)
			e.round(e.hello())
			p.stop()
			if n := strings.Count(p.log.String(), "Finished executing runner function"); n != before+2 {
				t.Errorf("the plugin ran %d jobs, want %d", n, before+2)
			}
		})
	}
}

// A plugin that runs one job only ends when it could not get it: whoever looks for its result finds the proof.
func TestRule4APluginThatEndsWithoutItsOnlyJobLeavesAProof(t *testing.T) {
	store := &linesDown{}
	w := newWorld(t, func(o *Options) { store.Store, o.Store = o.Store, store })
	e := w.executor("ended", msg.Single)
	p := e.plugin()
	expectHeld(e)
	j := e.hello()
	store.job, store.down = j.id, func() {
		_ = errors.Join(w.secrets.Close(), w.callbacks.Close())
		w.cut()
	}
	e.give(j)
	w.crash()
	<-p.done
	e.start()
	must(t, e.Look(e.id))
	if rec, _ := w.spool.Job(j.id); !rec.Unstarted {
		t.Errorf("the job is %s, and not known not to have started", rec.Stage)
	}
}

// until passes over visits that a test does not ask about.
func until[V msg.Visit](e *executor) V {
	e.t.Helper()
	for {
		select {
		case v := <-e.visits:
			if isA[V](v) {
				return v.(V)
			}
		case <-time.After(patience):
			e.t.Fatalf("the door does not tell %T", *new(V))
		}
	}
}

// untilThereIs waits for a file with something in it.
func untilThereIs(t *testing.T, name string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(patience / (5 * time.Millisecond)) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s does not come", name)
}

// BenchmarkHandOut is from HandOut to the whole Secret at the client, the journal's fsync included.
func BenchmarkHandOut(b *testing.B) {
	e := newWorld(b, nil).executor("bench", msg.Daemon)
	p := newPython(e)
	for b.Loop() {
		b.StopTimer()
		asked := p.ask()
		j := e.hello()
		b.StartTimer()
		e.give(j)
		a := await(b, asked)
		b.StopTimer()
		expect[msg.Delivered](e)
		p.deliver(a, j.result(0))
		expect[msg.ResultStored](e)
		p.armed()
		b.StartTimer()
	}
}
