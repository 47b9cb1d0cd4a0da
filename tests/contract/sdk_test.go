package contract_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"runnerd/infra/gateway"
	msg "runnerd/messages"
)

// The rules with the official Go SDK in its own process.

func TestGoSDKRunsHundredJobsInOneProcess(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("warm", msg.Daemon)
	for range 100 {
		if r := x.runJob(x.helloTask()); r.ExitCode != 0 || r.OutputProperties["greeting"] != "Hello World" {
			t.Fatalf("result %+v", r)
		}
		x.awaitIdle()
	}
	x.retire()
	p.checkRuns(100)
}

func TestGoSDKExitsAfterJobInSingleMode(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("once", msg.Single)
	x.runJob(x.helloTask())
	await(t, p.done)
	expect[msg.SlotFreed](x)
}

func TestGoSDKHandlesLargeInputAndResult(t *testing.T) {
	t.Parallel()
	x, _ := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 1 << 20 })).newGoSDKExecutor("large", msg.Daemon)
	for range 3 {
		r := x.runJob(x.newTask("sample.Large", map[string]any{"text": strings.Repeat("x", 3<<20), "size": 0}))
		if text, _ := r.OutputProperties["text"].(string); r.ExitCode != 0 || len(text) != 3<<20 {
			t.Fatalf("exit code %d, %d bytes, %s", r.ExitCode, len(text), r.JobErrorMessage)
		}
		x.awaitIdle()
	}
}

func TestGoSDKLostCallbackFallsBackToFile(t *testing.T) {
	t.Parallel()
	x, _ := newEnv(t).newGoSDKExecutor("file", msg.Daemon)
	for range 3 {
		x.runJob(x.newTask("sample.Misbehave", map[string]any{"how": "lose-callback"}))
		x.awaitIdle()
	}
	x.runJob(x.helloTask()) // the executor continues
}

// Reading the input fails when the plugin fetches it.
func TestRule4FailedInputFetchHandsJobOutAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 1 << 20 }))
	x, _ := e.newGoSDKExecutor("fetch", msg.Daemon)
	x.runJob(x.helloTask())
	x.awaitIdle()
	j := x.newTask("sample.Large", map[string]any{"text": strings.Repeat("x", 2<<20)})
	var reads atomic.Int64
	e.store.beforeCall("Input", func(id msg.ExecutionID) error {
		if id == j.Execution && reads.Add(1) == 2 {
			return errDisk
		}
		return nil
	})
	x.runJob(j)
	if rec := x.record(j); rec.HandOuts != 2 || x.storedResult(j).ExitCode != 0 {
		t.Errorf("handed out %d times, exit code %d", rec.HandOuts, x.storedResult(j).ExitCode)
	}
	x.awaitIdle()
	x.runJob(x.helloTask())
}

func TestRule6GoSDKReconnectsAfterPlannedRestart(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("back", msg.Daemon)
	x.runJob(x.helloTask())
	x.awaitIdle()
	x.restart()
	x.awaitIdle()
	x.runJob(x.helloTask())
	x.awaitIdle()
	x.retire()
	p.checkRuns(2)
}

// The SDK tolerates a single connection reset.
func TestRule5GoSDKReconnectsAfterLostGET(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("reset", msg.Daemon)
	for range 3 {
		x.runJob(x.helloTask())
		x.awaitIdle()
		x.cutConnections()
		expect[msg.NotIdle](x)
		x.awaitIdle()
	}
	x.retire()
	p.checkRuns(3)
}

// The port refuses connections until the plugin has given up its GET and has written a bogus result into the file.
func TestRule7GoSDKIsNotifiedAfterCrash(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("crash", msg.Daemon)
	j := x.helloTask()
	x.runJob(j)
	x.awaitIdle()
	x.store.until(t, func() bool { return !x.store.executorRecord(x.id).IdleSince.IsZero() })
	x.crash()
	awaitFile(t, x.resultFile())
	x.start()
	awaitMessage[msg.Idle](x)
	x.runJob(x.helloTask())
	x.awaitIdle()
	x.retire()
	p.checkRuns(2)
	if r := x.storedResult(j); r.ExitCode != 0 {
		t.Errorf("the bogus result was accepted: %+v", r)
	}
}

// The job ends while no runner is running, so its result is only in the file.
func TestRule8GoSDKResultSurvivesCrash(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("found", msg.Daemon)
	j := x.newTask("sample.Slow", map[string]any{"steps": 10, "delayMillis": 150})
	x.assign(j)
	await(t, p.working) // until then, the answer may still be lost with the connection
	x.crash()
	awaitFile(t, x.resultFile())
	x.start()
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("ending: %+v", rec.Ending)
	}
	expect[msg.Retired](x)
	if r := x.storedResult(j); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}

// crashAt closes the ports and cuts all connections as soon as the hand-out is journaled, before the first byte of the input is sent.
func (x *executor) crashAt(j task) (down <-chan struct{}) {
	done := make(chan struct{})
	x.store.beforeCall("HandedOut", func(id msg.ExecutionID) error {
		if id == j.Execution {
			x.store.beforeCall("HandedOut", nil)
			_ = x.secrets.Close()
			_ = x.callbacks.Close()
			x.cutConnections()
			close(done)
		}
		return nil
	})
	return done
}

// The runner is killed after it has journaled the hand-out and before it sends the answer. The port refuses connections until the plugin
// has given up its GET and its callback, so only the file proves that the job did not start.
func TestRule4AnswerLostInCrashIsSentAgain(t *testing.T) {
	for which, before := range map[string]int{"first job": 0, "second job": 1} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			// The SDK may check whether the result file was written before the goroutine that reports this has run. Then its process
			// exits: on a busy machine, one in forty. A runner would notice the exit; this test would not.
			x, p := newEnv(t).newGoSDKExecutor("lost", msg.Daemon, "GOMAXPROCS=1")
			for range before {
				done := x.helloTask()
				x.runJob(done)
				x.awaitIdle()
				must(t, x.store.Remove(done.Execution)) // the job is fully reported
			}
			j := x.helloTask()
			down := x.crashAt(j)
			x.assign(j)
			await(t, down)
			x.crash()
			awaitFile(t, x.resultFile())
			x.start()
			x.until(j, func(r msg.JobRecord) bool { return r.Stage == msg.Ended })
			if rec := x.record(j); rec.HandOuts != 2 || x.storedResult(j).ExitCode != 0 {
				t.Errorf("handed out %d times, result %+v", rec.HandOuts, x.storedResult(j))
			}
			awaitMessage[msg.Idle](x)
			x.runJob(x.helloTask())
			x.awaitIdle()
			x.retire()
			p.checkRuns(before + 2)
		})
	}
}

// A plugin in single-job mode exits if it could not get its job. Its result file proves that, so the job moves to another executor.
func TestRule4SinglePluginExitWithoutJobLeavesProof(t *testing.T) {
	t.Parallel()
	x, p := newEnv(t).newGoSDKExecutor("ended", msg.Single)
	j := x.helloTask()
	down := x.crashAt(j)
	x.assign(j)
	await(t, down)
	x.crash()
	await(t, p.done)
	x.start()
	if got := expectIgnoring[msg.JobReturned, msg.SlotFreed](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed || rec.HasResult {
		t.Errorf("the job is %s", rec.Stage)
	}
}

func TestGoSDKChildProcessRunsJobByFiles(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(e *env) { e.deps.FilesOnly = true })
	binary, err := samplePlugin()
	must(t, err)
	x := e.newExecutorRunning("child", msg.Files, childProcess(binary))
	if r := x.runJob(x.helloTask()); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
	expectIgnoring[msg.SlotFreed, msg.Retired](x)
}
