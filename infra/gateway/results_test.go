package gateway

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestRule9ACallbackIsAnsweredAsTheContractSays(t *testing.T) {
	e := newWorld(t, func(o *Options) { o.MaxResult = 4096 }).executor("callback", msg.Daemon)
	p := newPython(e)
	j, other := e.hello(), e.hello()
	asked := p.ask()
	e.give(j)
	a := await(t, asked)
	expect[msg.Delivered](e)
	url := plainURL(t, a.secret.Data["url"])
	for _, c := range []struct {
		outcome, url, body string
		status             int
	}{
		{"plaintext is no result", url, `{"exitCode":0}`, 204},
		{"a result under another key is no result", url, other.result(0), 204},
		{"an unknown path leads nowhere", url[:len(url)-1] + "x", j.result(0), 404},
		{"the path of the input is not the callback's", strings.Replace(url, "callback", "input", 1), j.result(0), 404},
		{"a result that is too large is drained", url, strings.Repeat("A", 10000), 204},
	} {
		t.Run(c.outcome, func(t *testing.T) {
			if got := p.post(c.url, c.body); got != c.status {
				t.Errorf("answered %d, want %d", got, c.status)
			}
			if rec, _ := e.spool.Job(j.id); rec.HasResult {
				t.Error("a result is stored")
			}
		})
	}
	if got := expect[msg.ResultRefused](e); !strings.Contains(got.Reason, "10000") || !strings.Contains(got.Reason, "4096") {
		t.Errorf("refused: %s", got.Reason)
	}
	p.deliver(a, j.result(3)) // the control
	if got := expect[msg.ResultStored](e); got.Result.ExitCode != 3 {
		t.Errorf("stored %+v", got)
	}
	p.deliver(a, j.result(4))
	if e.outcome(j).ExitCode != 3 {
		t.Error("the second result replaced the first")
	}
}

func TestRule10TheResultFileIsTakenAsSoonAsItDecryptsAndEmptiedAtTheHold(t *testing.T) {
	e := newWorld(t, nil).executor("files", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	expect[msg.Delivered](e)
	e.writeResult(`{"exitCode":0}`)
	must(t, e.Look(e.id))
	if rec, _ := e.spool.Job(j.id); rec.HasResult {
		t.Fatal("plain text is taken for a result")
	}
	whole := j.result(7)
	e.writeResult(whole[:20])
	e.writeResult(whole)
	if got := expect[msg.ResultStored](e); got.Result.ExitCode != 7 {
		t.Errorf("stored %+v", got)
	}
	p.armed()
	p.ask()
	if left, err := os.ReadDir(e.out("")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRule11RawBytesOfAResultAreTakenToo(t *testing.T) {
	e := newWorld(t, nil).executor("raw", msg.Single)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	p.deliver(a, plainURL(t, []byte(j.result(5)))) // without its base64
	if got := e.outcome(j); got.ExitCode != 5 {
		t.Errorf("result %+v", got)
	}
}

func TestRule12ALargeInputIsFetched(t *testing.T) {
	e := newWorld(t, func(o *Options) { o.InlineInput = 10 }).executor("fetch", msg.Single)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	if len(a.secret.Data["input"]) > 0 {
		t.Fatal("the input is in the Secret")
	}
	r, err := http.Get(plainURL(t, a.secret.Data["fetchUrl"]))
	must(t, err)
	defer func() { _ = r.Body.Close() }()
	var body bytes.Buffer
	_, err = body.ReadFrom(r.Body)
	must(t, err)
	if r.StatusCode != http.StatusOK || body.String() != j.input {
		t.Errorf("%d: %d bytes, want %d", r.StatusCode, body.Len(), len(j.input))
	}
}

func TestRule15AnInputThatIsNoBase64IsNotHandedOut(t *testing.T) {
	e := newWorld(t, nil).executor("panic", msg.Single)
	newPython(e).ask()
	good := e.hello()
	rec, _ := e.spool.Job(good.id)
	must(t, e.spool.Add(msg.Offer{Job: msg.Job{ID: "bad", Execution: "bad"}, Input: "no base64!", SessionKey: rec.SealedKey}))
	if _, err := e.HandOut(context.Background(), e.id, "bad", time.Now()); err == nil {
		t.Error("handed out")
	}
	if rec, _ := e.spool.Job("bad"); rec.Stage == msg.HandedOut {
		t.Error("journaled")
	}
	e.give(good) // the control
}
