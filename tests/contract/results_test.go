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

// Rules 9 to 16: what a plugin hands in, and what is given to it.

func TestRule9ACallbackIsAnsweredAsTheContractSays(t *testing.T) {
	x := newEnv(t).executor("callback", msg.Daemon)
	j, other := x.hello(), x.hello()
	c, a := x.first(j)
	url := a.CallbackURL(t)
	for _, row := range []struct {
		outcome, url, body string
		status             int
	}{
		{"plaintext is no result", url, `{"exitCode":0}`, 204},
		{"a result under another key is no result", url, other.result(0), 204},
		{"an unknown path leads nowhere", url[:len(url)-1] + "x", j.result(0), 404},
		{"the path of the input is not the callback's", strings.Replace(url, "callback", "input", 1), j.result(0), 404},
	} {
		t.Run(row.outcome, func(t *testing.T) {
			if got := c.Post(row.url, row.body); got != row.status {
				t.Errorf("answered %d, want %d", got, row.status)
			}
			if x.record(j).HasResult {
				t.Error("a result is stored")
			}
		})
	}
	c.deliver(a, j.result(3)) // the control
	x.expectOver(j)
	c.deliver(a, j.result(4))
	if got := x.outcome(j); got.ExitCode != 3 {
		t.Errorf("the result is %+v", got)
	}
}

func TestRule9ACallbackIsAnsweredOnceItsResultCouldBeStored(t *testing.T) {
	t.Parallel()
	x := newEnv(t).executor("full", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	x.store.fail("StoreResult", 2)
	c.deliver(a, j.result(0))
	if !x.record(j).HasResult {
		t.Error("it was answered before the result was stored")
	}
	x.expectOver(j)
}

func TestRule10AResultFileIsTakenOnceItCouldBeStored(t *testing.T) {
	t.Parallel()
	x := newEnv(t).executor("fullfile", msg.Daemon)
	j := x.hello()
	x.first(j)
	x.store.fail("StoreResult", 1)
	x.writeResult(j.result(0))
	x.expectOver(j)
}

func TestRule10TheResultFileIsTakenAsSoonAsItDecryptsAndEmptiedAtTheNextGET(t *testing.T) {
	x := newEnv(t).executor("files", msg.Daemon)
	j := x.hello()
	c, _ := x.first(j)
	x.writeResult(`{"exitCode":0}`)
	c.List() // is answered after a look at the file
	if x.record(j).HasResult {
		t.Fatal("plain text is taken for a result")
	}
	whole := j.result(7)
	x.writeResult(whole[:20])
	x.writeResult(whole)
	x.expectOver(j)
	if got := x.outcome(j); got.ExitCode != 7 {
		t.Errorf("result %+v", got)
	}
	c.notified()
	c.ask()
	if left, err := os.ReadDir(x.out("")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRule11RawBytesOfAResultAreTakenToo(t *testing.T) {
	x := newEnv(t).executor("raw", msg.Single)
	j := x.hello()
	c, a := x.first(j)
	c.deliver(a, gatewaytest.PlainURL(t, []byte(j.result(5)))) // without its base64
	x.expectOver(j)
	if got := x.outcome(j); got.ExitCode != 5 {
		t.Errorf("result %+v", got)
	}
}

func TestRule11AResultThatIsNoJSONIsTheResultAndTheExecutorGoesOn(t *testing.T) {
	x := newEnv(t).executor("nested", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	deep := `{"exitCode":0,"outputProperties":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`
	c.deliver(a, seal.Encrypt(j.key, []byte(deep)))
	if rec := x.expectOver(j); !rec.HasResult || rec.Ending.Outcome != msg.Completed {
		t.Errorf("it ended %+v", rec.Ending)
	}
	c.notified()
	c.round(x.hello())
}

func TestRule12ALargeInputIsFetched(t *testing.T) {
	x := newEnv(t, options(func(o *gateway.Options) { o.InlineInput = 10 })).executor("fetch", msg.Single)
	j := x.hello()
	c, a := x.first(j)
	if len(a.Secret.Data["input"]) > 0 {
		t.Fatal("the input is in the Secret")
	}
	if status, body := c.Fetch(gatewaytest.PlainURL(t, a.Secret.Data["fetchUrl"])); status != 200 || body != j.input {
		t.Errorf("%d: %d bytes, want %d", status, len(body), len(j.input))
	}
}

func TestRule14ADaemonOfThePythonSDKIsReplacedAfter200Jobs(t *testing.T) {
	t.Parallel()
	x := newEnv(t).executor("old", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	for n := 1; n < 200; n++ {
		c.finish(a, j)
		w, stop := c.OpenWatch("")
		await(t, w)
		await(t, w)
		stop() // the real one keeps them open, and that is why
		must(t, x.store.Remove(j.Execution))
		j = x.hello()
		a = c.next(j)
	}
	c.finish(a, j)
	c.notified()
	c.Get(t.Context())
	if got := expect[msg.Retired](x); !strings.Contains(got.Reason, "200") {
		t.Errorf("retired: %s", got.Reason)
	}
}

func TestRule15AnInputThatDoesNotOpenIsNotHandedOut(t *testing.T) {
	e := newEnv(t)
	key := seal.NewKey()
	for what, j := range map[string]task{
		"no base64":                {input: "no base64!"},
		"another key":              {input: seal.Encrypt(seal.NewKey(), []byte(`{}`))},
		"of somebody else":         {input: seal.Encrypt(key, []byte(`{}`))},
		"what is inside is no job": {input: seal.Encrypt(key, []byte(`no JSON`))},
	} {
		t.Run(what, func(t *testing.T) {
			sealed := key
			if what == "of somebody else" {
				sealed = seal.NewKey()
			}
			x := e.executor(msg.ExecutorID(strings.ReplaceAll(strings.ReplaceAll(what, " ", ""), "'", "")), msg.Daemon)
			good, bad := e.hello(), e.offer(key, sealed, j.input)
			c, a := x.first(good)
			c.finish(a, good)
			c.notified()
			c.ask()
			x.assign(bad)
			x.expectFailed(bad, "the job cannot be run")
			if rec := x.record(bad); rec.HandOuts > 0 {
				t.Error("it was journaled")
			}
			expect[msg.Idle](x) // the same GET waits for another
		})
	}
}

func TestRule16AnExecutorWhoseJobWasAbortedTakesNoOther(t *testing.T) {
	x := newEnv(t).executor("aborted", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	x.actor.Tell(msg.AbortJob{Execution: j.Execution, Reason: "somebody wants it"})
	expect[msg.Retired](x)
	c.deliver(a, j.result(1))
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Aborted || !rec.HasResult || !strings.Contains(rec.Ending.Message, "somebody wants it") {
		t.Errorf("it ended %+v", rec.Ending)
	}
	expect[msg.SlotFreed](x)
}

func TestAResultThatIsTooLargeIsRefusedOnceHoweverItComes(t *testing.T) {
	body := strings.Repeat("A", 10000)
	for _, first := range []string{"file", "callback", "file at its exit"} {
		t.Run(first, func(t *testing.T) {
			x := newEnv(t, options(func(o *gateway.Options) { o.MaxResult = 4096 })).executor("large", msg.Daemon)
			j := x.hello()
			c, a := x.first(j)
			switch first {
			case "callback":
				c.deliver(a, body)
			case "file":
				x.writesOn(body[:5000])
				x.writeResult(body)
			default:
				x.writesOn(body)
				x.exit <- 0
				x.expectFailed(j, "10000", "4096")
				expect[msg.SlotFreed](x)
				return
			}
			x.expectFailed(j, "10000", "4096")
			x.writeResult(body)
			x.Post(t, c, a, body)
			x.Post(t, c, a, j.result(0)) // it fits, and is too late
			expect[msg.Retired](x)
			expect[msg.SlotFreed](x)
			if x.record(j).HasResult {
				t.Error("a result is stored")
			}
		})
	}
}

// Post is a callback that may find its executor gone.
func (x *executor) Post(t *testing.T, c *client, a answer, body string) {
	t.Helper()
	if status := c.Post(a.CallbackURL(t), body); status != 204 && status != 404 {
		t.Errorf("answered %d", status)
	}
}

// writesOn leaves a result file that somebody still writes, however slow this machine is.
func (x *executor) writesOn(text string) {
	x.t.Helper()
	aside, ahead := x.out("aside"), time.Now().Add(time.Hour)
	must(x.t, os.WriteFile(aside, []byte(text), 0o644))
	must(x.t, os.Chtimes(aside, ahead, ahead))
	must(x.t, os.Rename(aside, x.resultFile()))
}

func TestAResultFileThatIsTooLargeAndOverwrittenByOneThatFitsIsNotRefused(t *testing.T) {
	x := newEnv(t, options(func(o *gateway.Options) { o.MaxResult = 4096 })).executor("again", msg.Daemon)
	j := x.hello()
	c, _ := x.first(j)
	x.writesOn(strings.Repeat("A", 10000))
	c.List() // is answered after a look at the file
	x.writeResult(j.result(0))
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("it ended %+v", rec.Ending)
	}
}

func TestAPluginsNoiseIsAWarningOnce(t *testing.T) {
	x := newEnv(t).executor("noise", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	for range 10 {
		c.deliver(a, "no result")
	}
	c.finish(a, j)
	x.stop() // nothing writes to the log any more
	if n := strings.Count(x.log.String(), "something that is not the job's result"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

func TestWhatCannotBeJournaledIsNotHandedOut(t *testing.T) {
	x, c, _ := newEnv(t).warm("journal")
	asked := c.ask()
	x.store.fail("HandOut", 1)
	j := x.hello()
	x.assign(j)
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if a := await(t, asked); len(a.Secret.Data["input"]) > 0 {
		t.Error("it gets the job")
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed {
		t.Errorf("it is %s", rec.Stage)
	}
}

func TestAPluginWhoseResultDirectoryIsBeingClearedKeepsOnlyItsOwnGETWaiting(t *testing.T) {
	e := newEnv(t)
	slow := &slowClearing{Gateway: e.gateway, of: "litters", began: make(chan struct{}), goOn: make(chan struct{})}
	e.shop.Gateway = slow
	x, other := e.executor("litters", msg.Daemon), e.executor("other", msg.Daemon)
	j := x.hello()
	x.launch(j)
	c := x.python()
	asked := c.Get(context.Background())
	await(t, slow.began)
	if len(c.List().Items) != 1 {
		t.Error("its LIST is not answered")
	}
	k := x.hello()
	q, a := other.first(k)
	q.finish(a, k)
	must(t, os.WriteFile(x.out("litter"), nil, 0o644))
	close(slow.goOn)
	a = await(t, asked)
	x.check(a, j)
	if _, err := os.Stat(x.out("litter")); !os.IsNotExist(err) {
		t.Errorf("the job finds what was left: %v", err)
	}
}

// slowClearing takes as long as it takes to empty a directory with much in it.
type slowClearing struct {
	*gateway.Gateway
	of          msg.ExecutorID
	began, goOn chan struct{}
}

func (s *slowClearing) ClearResults(id msg.ExecutorID) {
	if id == s.of {
		close(s.began)
		<-s.goOn
	}
	s.Gateway.ClearResults(id)
}
