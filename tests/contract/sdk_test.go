package contract_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"runnerd/infra/gateway"
	msg "runnerd/messages"
)

// The same with the official Go SDK in a process of its own.

func TestAHundredJobsInARowRunInOneProcessOfTheGoSDK(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("warm", msg.Daemon)
	for range 100 {
		if r := x.runs(x.hello()); r.ExitCode != 0 || r.OutputProperties["greeting"] != "Hello World" {
			t.Fatalf("result %+v", r)
		}
		x.idles()
	}
	x.retires()
	p.ran(100)
}

func TestTheGoSDKExitsAfterItsOnlyJobInModeSingle(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("once", msg.Single)
	x.runs(x.hello())
	await(t, p.done)
	expect[msg.SlotFreed](x)
}

func TestTheGoSDKFetchesALargeInputAndReturnsALargeResult(t *testing.T) {
	t.Parallel()
	x, _ := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 1 << 20 })).goSDK("large", msg.Daemon)
	for range 3 {
		r := x.runs(x.task("sample.Large", map[string]any{"text": strings.Repeat("x", 3<<20), "size": 0}))
		if text, _ := r.OutputProperties["text"].(string); r.ExitCode != 0 || len(text) != 3<<20 {
			t.Fatalf("exit code %d, %d bytes, %s", r.ExitCode, len(text), r.JobErrorMessage)
		}
		x.idles()
	}
}

func TestAResultOfTheGoSDKThatLostItsCallbackIsTakenFromTheFile(t *testing.T) {
	t.Parallel()
	x, _ := newEnv(t).goSDK("file", msg.Daemon)
	for range 3 {
		x.runs(x.task("sample.Misbehave", map[string]any{"how": "lose-callback"}))
		x.idles()
	}
	x.runs(x.hello()) // and the executor goes on
}

// The input cannot be read when the plugin fetches it.
func TestRule4AJobWhoseInputTheGoSDKCouldNotFetchIsHandedOutOnceMore(t *testing.T) {
	t.Parallel()
	e := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 1 << 20 }))
	x, _ := e.goSDK("fetch", msg.Daemon)
	x.runs(x.hello())
	x.idles()
	j := x.task("sample.Large", map[string]any{"text": strings.Repeat("x", 2<<20)})
	var reads atomic.Int64
	e.store.on("Input", func(id msg.ExecutionID) error {
		if id == j.Execution && reads.Add(1) == 2 {
			return errDisk
		}
		return nil
	})
	x.runs(j)
	if rec := x.record(j); rec.HandOuts != 2 || x.outcome(j).ExitCode != 0 {
		t.Errorf("handed out %d times, outcome %d", rec.HandOuts, x.outcome(j).ExitCode)
	}
	x.idles()
	x.runs(x.hello())
}

// It comes back by itself after a planned restart, and runs the next job.
func TestRule6TheGoSDKComesBackAfterAPlannedRestart(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("back", msg.Daemon)
	x.runs(x.hello())
	x.idles()
	x.restart()
	x.idles()
	x.runs(x.hello())
	x.idles()
	x.retires()
	p.ran(2)
}

// A reset is free once.
func TestRule5TheGoSDKComesBackAfterALostGET(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("reset", msg.Daemon)
	for range 3 {
		x.runs(x.hello())
		x.idles()
		x.cut()
		expect[msg.NotIdle](x)
		x.idles()
	}
	x.retires()
	p.ran(3)
}

// The port refuses until the plugin has given up its GET and has written a bogus result into the file.
func TestRule7TheGoSDKIsNotifiedAfterACrashWithThePortRefusing(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("crash", msg.Daemon)
	j := x.hello()
	x.runs(j)
	x.idles()
	x.store.until(t, func() bool { return !x.store.recordOf(x.id).IdleSince.IsZero() })
	x.crash()
	untilThereIs(t, x.resultFile())
	x.start()
	eventually[msg.Idle](x)
	x.runs(x.hello())
	x.idles()
	x.retires()
	p.ran(2)
	if r := x.outcome(j); r.ExitCode != 0 {
		t.Errorf("the bogus result is taken: %+v", r)
	}
}

// The job ends while nobody is there, and its result is found in the file.
func TestRule8AResultThatTheGoSDKWroteDuringACrashIsFound(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("found", msg.Daemon)
	j := x.task("sample.Slow", map[string]any{"steps": 10, "delayMillis": 150})
	x.assign(j)
	await(t, p.atWork) // what was written may be lost with the connection until then
	x.crash()
	untilThereIs(t, x.resultFile())
	x.start()
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("it ended %+v", rec.Ending)
	}
	expect[msg.Retired](x)
	if r := x.outcome(j); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}

// crashesAt lets the connections go down as soon as the job is journaled: before the first byte of its input leaves.
func (x *executor) crashesAt(j task) (down <-chan struct{}) {
	done := make(chan struct{})
	x.store.on("HandedOut", func(id msg.ExecutionID) error {
		if id == j.Execution {
			x.store.on("HandedOut", nil)
			_ = x.secrets.Close()
			_ = x.callbacks.Close()
			x.cut()
			close(done)
		}
		return nil
	})
	return done
}

// The runner is killed after it has journaled the hand-out and before the answer has left, and the port refuses until the plugin has given
// up its GET. Its callback finds nobody: only the file says that it did not start.
func TestRule4AJobWhoseAnswerWasLostWithTheRunnerIsHandedOutOnceMore(t *testing.T) {
	for which, before := range map[string]int{"its first job": 0, "its second job": 1} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			// Of a result that only the file takes the SDK asks whether it was taken, while the goroutine that is to say so may
			// not run yet: on a busy machine one process in forty ends then, which a runner sees and this test does not.
			x, p := newEnv(t).goSDK("lost", msg.Daemon, "GOMAXPROCS=1")
			for range before {
				done := x.hello()
				x.runs(done)
				x.idles()
				must(t, x.store.Remove(done.Execution)) // the server has all of it
			}
			j := x.hello()
			down := x.crashesAt(j)
			x.assign(j)
			await(t, down)
			x.crash()
			untilThereIs(t, x.resultFile())
			x.start()
			x.until(j, func(r msg.JobRecord) bool { return r.Stage == msg.Ended })
			if rec := x.record(j); rec.HandOuts != 2 || x.outcome(j).ExitCode != 0 {
				t.Errorf("handed out %d times, outcome %+v", rec.HandOuts, x.outcome(j))
			}
			eventually[msg.Idle](x)
			x.runs(x.hello())
			x.idles()
			x.retires()
			p.ran(before + 2)
		})
	}
}

// A plugin that runs one job only ends when it could not get it: whoever looks for its result finds the proof, and the job goes to another.
func TestRule4APluginThatEndsWithoutItsOnlyJobLeavesAProof(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).goSDK("ended", msg.Single)
	j := x.hello()
	down := x.crashesAt(j)
	x.assign(j)
	await(t, down)
	x.crash()
	await(t, p.done)
	x.start()
	if got := expectBeside[msg.JobReturned, msg.SlotFreed](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed || rec.HasResult {
		t.Errorf("the job is %s", rec.Stage)
	}
}

func TestAChildProcessOfTheGoSDKRunsAJobByFiles(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(e *env) { e.shop.FilesOnly = true })
	binary, err := samplePlugin()
	must(t, err)
	x := e.executorOf("child", msg.Files, childProcess(binary))
	if r := x.runs(x.hello()); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
	expectBeside[msg.SlotFreed, msg.Retired](x)
}
