package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/gateway/gatewaytest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

func TestCallbackVerdicts(t *testing.T) {
	x := newEnv(t, func(o *Options) { o.MaxResult = 4096 }).executor("callback", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j, other := x.job(), x.job()
	url := x.give(c, j).CallbackURL(t)
	seven, raw := j.result(7), gatewaytest.PlainURL(t, []byte(j.result(5))) // without its base64
	for what, row := range map[string]struct {
		body string
		want msg.ReceivedBody
	}{
		"base64 text":          {seven, result(seven, 7)},
		"base64 text in lines": {seven[:20] + "\r\n" + seven[20:], msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{ExitCode: 7, Via: msg.ViaCallback}}},
		"raw bytes (rule 11)":  {raw, msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{ExitCode: 5, Via: msg.ViaCallback}}},
		"not JSON":             {seal.Encrypt(j.key, []byte("not JSON")), msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{ExitCode: unparsableExitCode, Via: msg.ViaCallback}}},
		"deeply nested JSON":   {seal.Encrypt(j.key, []byte(`{"exitCode":0,"o":`+strings.Repeat("[", 1000))), msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{ExitCode: unparsableExitCode, Via: msg.ViaCallback}}},
		"plain text":           {`{"exitCode":0}`, msg.ReceivedBody{}},
		"another key's result": {other.result(0), msg.ReceivedBody{}},
		"truncated result":     {j.result(0)[:20], msg.ReceivedBody{}},
		"empty":                {"", msg.ReceivedBody{}},
		"the maximum size":     {strings.Repeat("A", 4096), msg.ReceivedBody{}},
		"too large":            {strings.Repeat("A", 10000), msg.ReceivedBody{Verdict: msg.TooLarge, Limit: 4096}},
	} {
		t.Run(what, func(t *testing.T) {
			row.want.Size = int64(len(row.body))
			status := c.PostAsync(url, row.body)
			got := expect[msg.CallbackReceived](x)
			if row.want.Result.Body == nil {
				got.Result.Body = nil
			}
			if diff := cmp.Diff(msg.CallbackReceived{Request: got.Request, Execution: j.id, Current: j.id, ReceivedBody: row.want}, got); diff != "" {
				t.Error(diff)
			}
			x.Answer(x.id, got.Request, msg.Accept{})
			if got := await(t, status); got != http.StatusNoContent {
				t.Errorf("status %d", got)
			}
		})
	}
}

func result(body string, exitCode int) msg.ReceivedBody {
	return msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{Body: []byte(body), ExitCode: exitCode, Via: msg.ViaCallback}}
}

func TestUnknownCallbackPathIsNotFound(t *testing.T) {
	x := newEnv(t, nil).executor("paths", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	url := x.give(c, j).CallbackURL(t)
	for what, path := range map[string]string{
		"a wrong secret":       url[:len(url)-1] + "x",
		"the secret truncated": url[:len(url)-1],
		"the input's path":     strings.Replace(url, "callback", "input", 1),
		"no secret":            url[:strings.LastIndex(url, "/")],
		"a longer path":        url + "/more",
		"another kind":         strings.Replace(url, "callback", "other", 1),
		"the job's id":         url[:strings.LastIndex(url, "/")+1] + string(j.id),
	} {
		if got := c.Post(path, j.result(0)); got != http.StatusNotFound {
			t.Errorf("%s: status %d", what, got)
		}
	}
	if got, _ := c.Fetch(url); got != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", got)
	}
}

func TestOlderJobsCallbackIsReportedWithoutBody(t *testing.T) {
	x := newEnv(t, nil).executor("older", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	old, current := x.job(), x.job()
	url := x.give(c, old).CallbackURL(t)
	answers, request := x.sendGet(c)
	must(t, x.OpenURLs(x.id, msg.JobURL{Execution: old.id}, current.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: current.id, Input: current.input})
	await(t, answers)
	expect[msg.Delivered](x)
	status := c.PostAsync(url, old.result(1))
	got := expect[msg.CallbackReceived](x)
	want := msg.CallbackReceived{Request: got.Request, Execution: old.id, Current: current.id, ReceivedBody: msg.ReceivedBody{Size: int64(len(old.result(1)))}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	x.Answer(x.id, got.Request, msg.Accept{})
	await(t, status)
}

func TestOneCallbackBodyInMemoryPerExecutor(t *testing.T) {
	x := newEnv(t, nil).executor("bodies", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	url := x.give(c, j).CallbackURL(t)
	first := c.PostAsync(url, j.result(0))
	one := expect[msg.CallbackReceived](x)
	second := c.PostAsync(url, j.result(0))
	for range 10 { // nothing else is reported during these round trips: the second body is not read yet
		_, request := x.sendGet(c)
		x.Answer(x.id, request, msg.Superseded{})
	}
	x.Answer(x.id, one.Request, msg.Accept{})
	await(t, first)
	two := expect[msg.CallbackReceived](x)
	x.Answer(x.id, two.Request, msg.Accept{})
	if got := await(t, second); got != http.StatusNoContent {
		t.Errorf("second callback: status %d", got)
	}
}

func TestRule12LargeInputIsFetchedForCurrentJob(t *testing.T) {
	x := newEnv(t, func(o *Options) { o.InlineInput = 10 }).executor("fetch", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	a := x.give(c, j)
	if len(a.Secret.Data["input"]) > 0 {
		t.Error("the input is in the Secret")
	}
	url := gatewaytest.PlainURL(t, a.Secret.Data["fetchUrl"])
	if status, body := c.Fetch(url); status != http.StatusOK || body != j.input {
		t.Errorf("status %d, %d bytes, want %d", status, len(body), len(j.input))
	}
	if got := c.Post(url, "x"); got != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", got)
	}
	next := x.job()
	must(t, x.OpenURLs(x.id, msg.JobURL{Execution: j.id}, next.url()))
	answers, request := x.sendGet(c)
	x.Answer(x.id, request, msg.GiveJob{Execution: next.id, Input: next.input})
	await(t, answers)
	if status, _ := c.Fetch(url); status != http.StatusNotFound {
		t.Errorf("input of the previous job: status %d", status)
	}
}
