package contract_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"runnerd/infra/gateway"
	"runnerd/infra/gateway/gatewaytest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Rules 9 to 16: results and inputs.

func TestRule9CallbackAnswersFollowContract(t *testing.T) {
	x := newEnv(t).newExecutor("callback", msg.Daemon)
	j, other := x.helloTask(), x.helloTask()
	c, a := x.deliverFirst(j)
	url := a.CallbackURL(t)
	for _, row := range []struct {
		what, url, body string
		status          int
	}{
		{"plaintext", url, `{"exitCode":0}`, 204},
		{"result with another key", url, other.result(0), 204},
		{"unknown path", url[:len(url)-1] + "x", j.result(0), 404},
		{"path of the input", strings.Replace(url, "callback", "input", 1), j.result(0), 404},
	} {
		t.Run(row.what, func(t *testing.T) {
			if got := c.Post(row.url, row.body); got != row.status {
				t.Errorf("status %d, want %d", got, row.status)
			}
			if x.record(j).HasResult {
				t.Error("a result is stored")
			}
		})
	}
	c.postResult(a, j.result(3)) // the control
	x.expectEnded(j)
	c.postResult(a, j.result(4))
	if got := x.storedResult(j); got.ExitCode != 3 {
		t.Errorf("the result is %+v", got)
	}
}

func TestRule9CallbackIsAnsweredAfterResultIsStored(t *testing.T) {
	t.Parallel()
	x := newEnv(t).newExecutor("full", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	x.store.fail("StoreResult", 2)
	c.postResult(a, j.result(0))
	if !x.record(j).HasResult {
		t.Error("the callback was answered before the result was stored")
	}
	x.expectEnded(j)
}

func TestRule10ResultFileIsRetriedUntilStored(t *testing.T) {
	t.Parallel()
	x := newEnv(t).newExecutor("fullfile", msg.Daemon)
	j := x.helloTask()
	x.deliverFirst(j)
	x.store.fail("StoreResult", 1)
	x.writeResult(j.result(0))
	x.expectEnded(j)
}

// The result directory is emptied at the next GET.
func TestRule10ResultFileIsAcceptedOnceItDecrypts(t *testing.T) {
	x := newEnv(t).newExecutor("files", msg.Daemon)
	j := x.helloTask()
	c, _ := x.deliverFirst(j)
	x.writeResult(`{"exitCode":0}`)
	c.List() // a LIST is answered after the result file has been read
	if x.record(j).HasResult {
		t.Fatal("plain text was accepted as a result")
	}
	body := j.result(7)
	x.writeResult(body[:20])
	x.writeResult(body)
	x.expectEnded(j)
	if got := x.storedResult(j); got.ExitCode != 7 {
		t.Errorf("result %+v", got)
	}
	c.awaitNotify()
	c.poll()
	if remaining, err := os.ReadDir(x.out("")); err != nil || len(remaining) > 0 {
		t.Errorf("remaining files: %v, %v", remaining, err)
	}
}

func TestRule11RawResultBytesAreAccepted(t *testing.T) {
	x := newEnv(t).newExecutor("raw", msg.Single)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	c.postResult(a, gatewaytest.PlainURL(t, []byte(j.result(5)))) // without its base64
	x.expectEnded(j)
	if got := x.storedResult(j); got.ExitCode != 5 {
		t.Errorf("result %+v", got)
	}
}

// The result is JSON of a depth that no parser accepts. It is stored as it is, and the executor continues.
func TestRule11InvalidJSONResultIsAccepted(t *testing.T) {
	x := newEnv(t).newExecutor("nested", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	deep := `{"exitCode":0,"outputProperties":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`
	c.postResult(a, seal.Encrypt(j.key, []byte(deep)))
	if rec := x.expectEnded(j); !rec.HasResult || rec.Ending.Outcome != msg.Completed {
		t.Errorf("ending: %+v", rec.Ending)
	}
	c.awaitNotify()
	c.round(x.helloTask())
}

func TestRule12LargeInputIsFetched(t *testing.T) {
	x := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 10 })).newExecutor("fetch", msg.Single)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	if len(a.Secret.Data["input"]) > 0 {
		t.Fatal("the input is in the Secret")
	}
	if status, body := c.Fetch(gatewaytest.PlainURL(t, a.Secret.Data["fetchUrl"])); status != 200 || body != j.input {
		t.Errorf("status %d, %d bytes, want %d bytes", status, len(body), len(j.input))
	}
}

func TestRule14PythonDaemonIsReplacedAfter100Jobs(t *testing.T) {
	t.Parallel()
	x := newEnv(t).newExecutor("old", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	for n := 1; n < 100; n++ {
		c.finish(a, j)
		w, stop := c.OpenWatch("")
		await(t, w)
		await(t, w)
		stop() // the real SDK keeps its watches open, which is the reason for this rule
		must(t, x.store.Remove(j.Execution))
		j = x.helloTask()
		a = c.nextJob(j)
	}
	c.finish(a, j)
	c.awaitNotify()
	c.Get(t.Context())
	if got := expect[msg.Retired](x); !strings.Contains(got.Reason, "100") {
		t.Errorf("retired: %s", got.Reason)
	}
}

func TestRule15UndecryptableInputIsNotHandedOut(t *testing.T) {
	e := newEnv(t)
	key := seal.NewKey()
	for what, j := range map[string]task{
		"invalid base64":             {input: "no base64!"},
		"another key":                {input: seal.Encrypt(seal.NewKey(), []byte(`{}`))},
		"session key of another job": {input: seal.Encrypt(key, []byte(`{}`))},
		"content is no job":          {input: seal.Encrypt(key, []byte(`no JSON`))},
	} {
		t.Run(what, func(t *testing.T) {
			sealed := key
			if what == "session key of another job" {
				sealed = seal.NewKey()
			}
			x := e.newExecutor(msg.ExecutorID(strings.ReplaceAll(what, " ", "")), msg.Daemon)
			good, bad := e.helloTask(), e.offer(key, sealed, j.input)
			c, a := x.deliverFirst(good)
			c.finish(a, good)
			c.awaitNotify()
			c.poll()
			x.assign(bad)
			x.expectFailed(bad, "the job cannot be run")
			if rec := x.record(bad); rec.HandOuts > 0 {
				t.Error("the hand-out was journaled")
			}
			expect[msg.Idle](x) // the GET keeps waiting for another job
		})
	}
}

func TestRule16AbortedExecutorTakesNoOtherJob(t *testing.T) {
	x := newEnv(t).newExecutor("aborted", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	x.actor.Tell(msg.AbortJob{Execution: j.Execution, Reason: "somebody wants it"})
	expect[msg.Retired](x)
	c.postResult(a, j.result(1))
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Aborted || !rec.HasResult || !strings.Contains(rec.Ending.Message, "somebody wants it") {
		t.Errorf("ending: %+v", rec.Ending)
	}
	expect[msg.SlotFreed](x)
}

func TestOversizedResultIsRefusedOnce(t *testing.T) {
	body := strings.Repeat("A", 10000)
	for _, first := range []string{"file", "callback", "file at exit"} {
		t.Run(first, func(t *testing.T) {
			x := newEnv(t, options(func(o *gateway.Options) { o.MaxResult = 4096 })).newExecutor("large", msg.Daemon)
			j := x.helloTask()
			c, a := x.deliverFirst(j)
			switch first {
			case "callback":
				c.postResult(a, body)
			case "file":
				x.writeUnfinished(body[:5000])
				x.writeResult(body)
			default:
				x.writeUnfinished(body)
				x.exit <- 0
				x.expectFailed(j, "10000", "4096")
				expect[msg.SlotFreed](x)
				return
			}
			x.expectFailed(j, "10000", "4096")
			x.writeResult(body)
			x.postLate(t, c, a, body)
			x.postLate(t, c, a, j.result(0)) // within the limit, but too late
			expect[msg.Retired](x)
			expect[msg.SlotFreed](x)
			if x.record(j).HasResult {
				t.Error("a result is stored")
			}
		})
	}
}

// postLate posts to the callback of an executor that may already be gone.
func (x *executor) postLate(t *testing.T, c *client, a answer, body string) {
	t.Helper()
	if status := c.Post(a.CallbackURL(t), body); status != 204 && status != 404 {
		t.Errorf("status %d", status)
	}
}

// writeUnfinished writes a result file that looks unfinished: its modification time is in the future, so a slow machine does not matter.
func (x *executor) writeUnfinished(text string) {
	x.t.Helper()
	aside, ahead := x.out("aside"), time.Now().Add(time.Hour)
	must(x.t, os.WriteFile(aside, []byte(text), 0o644))
	must(x.t, os.Chtimes(aside, ahead, ahead))
	must(x.t, os.Rename(aside, x.resultFile()))
}

func TestOversizedResultFileCanBeOverwritten(t *testing.T) {
	x := newEnv(t, options(func(o *gateway.Options) { o.MaxResult = 4096 })).newExecutor("again", msg.Daemon)
	j := x.helloTask()
	c, _ := x.deliverFirst(j)
	x.writeUnfinished(strings.Repeat("A", 10000))
	c.List() // a LIST is answered after the result file has been read
	x.writeResult(j.result(0))
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("ending: %+v", rec.Ending)
	}
}

func TestBogusResultIsLoggedOnce(t *testing.T) {
	x := newEnv(t).newExecutor("noise", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	for range 10 {
		c.postResult(a, "no result")
	}
	c.finish(a, j)
	x.stop() // from now on, nothing writes to the log
	if n := strings.Count(x.log.String(), "did not contain the job's result"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

func TestUnjournaledJobIsNotHandedOut(t *testing.T) {
	x, c, _ := newEnv(t).warm("journal")
	asked := c.poll()
	x.store.fail("HandOut", 1)
	j := x.helloTask()
	x.assign(j)
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if a := await(t, asked); len(a.Secret.Data["input"]) > 0 {
		t.Error("the answer has the job")
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed {
		t.Errorf("stage: %s", rec.Stage)
	}
}

func TestClearingResultsDelaysOnlyOwnExecutor(t *testing.T) {
	e := newEnv(t)
	slow := &slowClearGateway{Gateway: e.gateway, executor: "leftovers", began: make(chan struct{}), proceed: make(chan struct{})}
	e.deps.Gateway = slow
	x, other := e.newExecutor("leftovers", msg.Daemon), e.newExecutor("other", msg.Daemon)
	j := x.helloTask()
	x.launch(j)
	c := x.python()
	asked := c.Get(context.Background())
	await(t, slow.began)
	if len(c.List().Items) != 1 {
		t.Error("the LIST was not answered")
	}
	k := x.helloTask()
	q, a := other.deliverFirst(k)
	q.finish(a, k)
	must(t, os.WriteFile(x.out("leftover"), nil, 0o644))
	close(slow.proceed)
	a = await(t, asked)
	x.checkDelivered(a, j)
	if _, err := os.Stat(x.out("leftover")); !os.IsNotExist(err) {
		t.Errorf("the job finds a leftover file: %v", err)
	}
}

// slowClearGateway blocks the clearing of an executor's result directory, as a large directory would.
type slowClearGateway struct {
	*gateway.Gateway
	executor       msg.ExecutorID
	began, proceed chan struct{}
}

func (s *slowClearGateway) ClearResults(id msg.ExecutorID) {
	if id == s.executor {
		close(s.began)
		<-s.proceed
	}
	s.Gateway.ClearResults(id)
}
