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
	"runnerd/tests/rig"
)

const password = `s3cr3t"with a quote & more`

// forms are those in which the plugin prints a text.
func forms(text string) map[string]string {
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

// command runs another runnerd on the runner's state directory.
func command(w *rig.World, args ...string) string {
	w.T.Helper()
	c := exec.Command(shop.Runnerd, append(args, "--state-dir", w.State)...)
	out, err := c.CombinedOutput()
	if err != nil {
		w.T.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// The plugin prints its password and a text that is none in the same ways; wherever the one might be, the other is.
func TestAPasswordIsNowhereWhereTheTextBesideItIs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute, Front: func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "finish" {
			<-release
		}
		next(out, r)
	}})
	letGo := sync.OnceFunc(func() { close(release) })
	t.Cleanup(letGo)
	leak := func(kind api.Kind, dies bool) string {
		return w.SubmitTask(devserver.TaskRequest{Image: plugin, TaskType: "hostile.Leak", Kind: kind,
			Properties: map[string]any{"password": password, "open": w.Marker, "dies": dies}})
	}
	lives, dies, script := leak(api.KindTask, false), leak(api.KindTask, true), leak(api.KindScript, false)
	rig.Until(t, "all three are over, and no ending is at the server", func() bool {
		return len(w.Lines("result stored")) == 2 && len(w.Lines("job ended")) == 1
	})
	rig.Until(t, "their logs are whole", func() bool {
		for _, id := range []string{lives, dies, script} {
			if !strings.Contains(command(w, "spool", "show", "--log", w.ExecutionOf(id)), "last words with the open") {
				return false
			}
		}
		return true
	})

	places := map[string]string{}
	for what, id := range map[string]string{"a task": lives, "one without a result": dies, "a script": script} {
		execution := w.ExecutionOf(id)
		places["spool show --log of "+what] = command(w, "spool", "show", "--log", execution)
		places["spool export of "+what] = command(w, "spool", "export", execution)
	}
	places["spool show"] = command(w, "spool", "show", w.ExecutionOf(dies))
	status := command(w, "status", "-o", "json")
	for form, text := range forms(password) {
		if files := w.OnDisk(text); files != nil {
			t.Errorf("%s: the password stands in %v", form, files)
		}
		if strings.Contains(status, text) {
			t.Errorf("%s: the password is in the status", form)
		}
	}
	if n := len(w.OnDisk("open in JSON: ")); n != 3 {
		t.Errorf("%d files have what was printed beside the password, want the three logs", n)
	}
	var document struct{ Backlog struct{ Jobs int } }
	if err := json.Unmarshal([]byte(status), &document); err != nil || document.Backlog.Jobs != 3 {
		t.Errorf("the status does not know of the three jobs: %v\n%s", err, status)
	}

	letGo()
	for what, id := range map[string]string{"a task": lives, "one without a result": dies} {
		view, log := w.Done(id)
		places["the log of "+what] = log
		places["the comments of "+what] = strings.Join(view.Comments, "\n")
		places["the status line of "+what] = view.StatusLine
		if id == dies {
			places["the message of "+what] = view.Message
		}
	}
	w.Done(script)
	w.LoggedByScript(script, "last words with the open")
	places["what the runner says of the script"] = w.Heard(`"script":"` + script + `"`)
	places["what the runner says of the job without a result"] = w.Heard("job ended")
	places["the runner's log"] = w.Runner.Said()
	for place, text := range places {
		for form, secret := range forms(password) {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the password is in %s:\n%s", form, place, text)
			}
		}
		if !strings.Contains(text, w.Marker) {
			t.Errorf("the text that is no password is not in %s: %s", place, text)
		}
	}
	if log := places["the log of a task"]; !strings.Contains(log, forms(w.Marker)["in base64"]) || strings.Count(log, "********") < 8 {
		t.Errorf("its log is\n%s", log)
	}
}
