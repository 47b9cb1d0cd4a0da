package hostile

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/harness"
)

const password = `s3cr3t"with a quote & more`

// encodings returns the forms in which the plugin prints a text.
func encodings(text string) map[string]string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return map[string]string{
		"as it is":  text,
		"in JSON":   strings.Trim(string(quoted), `"`),
		"in a URL":  url.QueryEscape(text),
		"in base64": base64.StdEncoding.EncodeToString([]byte(text)),
	}
}

// runCommand runs a runnerd command on the runner's state directory and returns its output.
func runCommand(env *harness.Env, args ...string) string {
	env.T.Helper()
	c := exec.Command(shared.Runnerd, append(args, "--state-dir", env.StateDir)...)
	out, err := c.CombinedOutput()
	if err != nil {
		env.T.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// The plugin prints its password and a text that is not secret, the open text, in the same ways. Where the open text arrives, the
// password would arrive too if it were not masked.
func TestPasswordIsMaskedEverywhere(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute, Intercept: func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "finish" {
			<-release
		}
		next(out, r)
	}})
	releaseFinishes := sync.OnceFunc(func() { close(release) })
	t.Cleanup(releaseFinishes)
	leak := func(kind api.Kind, withoutResult bool) string {
		return env.SubmitTask(devserver.TaskRequest{Image: plugin, TaskType: "hostile.Leak", Kind: kind,
			Properties: map[string]any{"password": password, "open": env.Marker, "exit": withoutResult}})
	}
	withResult, withoutResult, script := leak(api.KindTask, false), leak(api.KindTask, true), leak(api.KindScript, false)
	harness.WaitUntil(t, "all three jobs have ended, and none is reported", func() bool {
		return len(env.LogLines("result stored")) == 2 && len(env.LogLines("job ended")) == 1
	})
	harness.WaitUntil(t, "their logs are complete", func() bool {
		for _, id := range []string{withResult, withoutResult, script} {
			if !strings.Contains(runCommand(env, "spool", "show", "--log", env.ExecutionOf(id)), "last words with the open") {
				return false
			}
		}
		return true
	})

	texts := map[string]string{}
	for what, id := range map[string]string{"a task": withResult, "one without a result": withoutResult, "a script": script} {
		execution := env.ExecutionOf(id)
		texts["spool show --log of "+what] = runCommand(env, "spool", "show", "--log", execution)
		texts["spool export of "+what] = runCommand(env, "spool", "export", execution)
	}
	texts["spool show"] = runCommand(env, "spool", "show", env.ExecutionOf(withoutResult))
	status := runCommand(env, "status", "-o", "json")
	for form, text := range encodings(password) {
		if files := env.FilesContaining(text); files != nil {
			t.Errorf("%s: the password is in %v", form, files)
		}
		if strings.Contains(status, text) {
			t.Errorf("%s: the password is in the status", form)
		}
	}
	if n := len(env.FilesContaining("open in JSON: ")); n != 3 {
		t.Errorf("%d files contain the open text, want the three logs", n)
	}
	var document struct{ Backlog struct{ Jobs int } }
	if err := json.Unmarshal([]byte(status), &document); err != nil || document.Backlog.Jobs != 3 {
		t.Errorf("the status lacks the three jobs: %v\n%s", err, status)
	}

	releaseFinishes()
	for what, id := range map[string]string{"a task": withResult, "one without a result": withoutResult} {
		view, log := env.WaitDone(id)
		texts["the log of "+what] = log
		texts["the comments of "+what] = strings.Join(view.Comments, "\n")
		texts["the status line of "+what] = view.StatusLine
		if id == withoutResult {
			texts["the message of "+what] = view.Message
		}
	}
	env.WaitDone(script)
	env.WaitScriptLog(script, "last words with the open")
	texts["the runner's log of the script"] = env.GrepLog(`"script":"` + script + `"`)
	texts["the runner's log of the job without a result"] = env.GrepLog("job ended")
	texts["the runner's log"] = env.Runner.Log()
	for where, text := range texts {
		for form, secret := range encodings(password) {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the password is in %s:\n%s", form, where, text)
			}
		}
		if !strings.Contains(text, env.Marker) {
			t.Errorf("the open text is not in %s: %s", where, text)
		}
	}
	if log := texts["the log of a task"]; !strings.Contains(log, encodings(env.Marker)["in base64"]) || strings.Count(log, "********") < 8 {
		t.Errorf("the job's log is\n%s", log)
	}
}
