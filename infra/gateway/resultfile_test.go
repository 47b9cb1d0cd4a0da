package gateway

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/rmtree/rmtreetest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// newWriter returns an executor, its previous job and its open job.
func newWriter(t *testing.T, mode msg.Mode, options func(*Options)) (x *executor, before, open job) {
	x = newEnv(t, options).executor("writes", mode)
	before, open = x.job(), x.job()
	must(t, x.OpenURLs(x.id, before.url(), open.url()))
	return x, before, open
}

func TestResultFileVerdicts(t *testing.T) {
	x, before, open := newWriter(t, msg.Daemon, func(o *Options) { o.MaxResult = 4096 })
	hourAgo := time.Now().Add(-time.Hour)
	other := seal.Encrypt(seal.NewKey(), []byte(`{"exitCode":1}`))
	raw, err := seal.Decrypt(open.key, []byte(open.result(5)))
	must(t, err)
	for what, row := range map[string]struct {
		text   string
		before msg.ExecutionID
		since  time.Time
		want   msg.Verdict
	}{
		"the result":                              {open.result(5), before.id, hourAgo, msg.IsResult},
		"the result, no previous job":             {open.result(5), "", hourAgo, msg.IsResult},
		"a truncated result":                      {open.result(5)[:20], before.id, hourAgo, msg.NoResult},
		"the decrypted result":                    {string(raw), before.id, hourAgo, msg.NoResult},
		"an empty file":                           {"", before.id, hourAgo, msg.NoResult},
		"an error with the previous job's key":    {before.result(1), before.id, hourAgo, msg.NotStarted},
		"the same, older than the hand-out":       {before.result(1), before.id, time.Now().Add(time.Hour), msg.NoResult},
		"the same, of an unknown job":             {before.result(1), "unknown", hourAgo, msg.NoResult},
		"an error with another key":               {other, before.id, hourAgo, msg.NoResult},
		"plain text after a previous job":         {`{"exitCode":1}`, before.id, hourAgo, msg.NoResult},
		"an error in plain text, no previous job": {`{"exitCode":1}`, "", hourAgo, msg.NotStarted},
		"success in plain text, no previous job":  {`{"exitCode":0}`, "", hourAgo, msg.NoResult},
		"any other text, no previous job":         {`error`, "", hourAgo, msg.NoResult},
		"too large":                               {strings.Repeat("A", 10000), before.id, hourAgo, msg.TooLarge},
	} {
		t.Run(what, func(t *testing.T) {
			x.writeResult(row.text)
			got := x.readResult(msg.ResultFile{Execution: open.id, Previous: row.before, Since: row.since, Written: true})
			want := msg.ReceivedBody{Verdict: row.want, Size: int64(len(row.text))}
			switch row.want {
			case msg.IsResult:
				want.Result = msg.Result{Body: []byte(row.text), ExitCode: 5, Via: msg.ViaFile}
			case msg.TooLarge:
				want.Limit = 4096
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChildProcessFileNeverProvesNotStarted(t *testing.T) {
	x, before, open := newWriter(t, msg.Files, nil)
	x.writeResult(before.result(1))
	if got := x.readResult(msg.ResultFile{Execution: open.id, Previous: before.id}); got.Verdict != msg.NoResult {
		t.Errorf("read %+v", got)
	}
}

// The size of a file that is being written is not final, and an overwritten file may fit.
func TestTooLargeFileIsIgnoredWhileBeingWritten(t *testing.T) {
	x, before, open := newWriter(t, msg.Daemon, func(o *Options) { o.MaxResult = 4096 })
	file := msg.ResultFile{Execution: open.id, Previous: before.id}
	aside, ahead := x.path("aside"), time.Now().Add(time.Hour) // a time in the future counts as being written, however slow this machine is
	must(t, os.WriteFile(aside, []byte(strings.Repeat("A", 10000)), 0o644))
	must(t, os.Chtimes(aside, ahead, ahead))
	must(t, os.Rename(aside, x.path(resultFile)))
	expect[msg.ResultFileChanged](x)
	if got := x.readResult(file); !cmp.Equal(got, msg.ReceivedBody{}) {
		t.Errorf("read %+v", got)
	}
	expect[msg.ResultFileChanged](x) // another read is scheduled, though the file does not change
	x.writeResult(open.result(0))
	expect[msg.ResultFileChanged](x)
	if got := x.readResult(file); got.Verdict != msg.IsResult {
		t.Errorf("read %+v", got)
	}
	must(t, os.WriteFile(aside, []byte(strings.Repeat("A", 10000)), 0o644))
	must(t, os.Chtimes(aside, ahead, ahead))
	must(t, os.Rename(aside, x.path(resultFile)))
	file.Written = true // the plugin has ended
	if got := x.readResult(file); got.Verdict != msg.TooLarge || got.Size != 10000 {
		t.Errorf("read %+v", got)
	}
}

func TestIrregularResultFileIsIgnored(t *testing.T) {
	x, _, open := newWriter(t, msg.Daemon, func(o *Options) { o.MaxResult = 1 << 20 })
	outside := filepath.Join(t.TempDir(), "result")
	must(t, os.WriteFile(outside, []byte(open.result(0)), 0o644)) // a valid result
	must(t, os.WriteFile(x.path("inside"), []byte(open.result(0)), 0o644))
	file := msg.ResultFile{Execution: open.id, Written: true}
	for kind, create := range map[string]func(string) error{
		"a link out":    func(n string) error { return os.Symlink(outside, n) },
		"a link within": func(n string) error { return os.Symlink("inside", n) },
		"a pipe":        func(n string) error { return syscall.Mkfifo(n, 0o666) },
		"a directory":   func(n string) error { return os.Mkdir(n, 0o777) },
		"none":          func(string) error { return nil },
	} {
		t.Run(kind, func(t *testing.T) {
			must(t, create(x.path(resultFile)))
			if got := x.HasResultFile(x.id); got != (kind != "none") {
				t.Errorf("HasResultFile: %v", got)
			}
			if got := x.readResult(file); !cmp.Equal(got, msg.ReceivedBody{}) {
				t.Errorf("read %+v", got)
			}
			must(t, os.RemoveAll(x.path(resultFile)))
		})
	}
	x.writeResult(open.result(0)) // the control
	if got := x.readResult(file); got.Verdict != msg.IsResult {
		t.Errorf("read %+v", got)
	}
}

func TestRule10ResultFileIsWatchedAndEmptied(t *testing.T) {
	x, _, open := newWriter(t, msg.Daemon, nil)
	must(t, os.WriteFile(x.path("another"), nil, 0o644)) // a change that is not reported
	x.writeResult("something")
	expect[msg.ResultFileChanged](x)
	must(t, os.WriteFile(x.path("renamed"), []byte(open.result(0)), 0o644))
	must(t, os.Rename(x.path("renamed"), x.path(resultFile)))
	expect[msg.ResultFileChanged](x)
	x.ClearResults(x.id)
	if remaining, err := os.ReadDir(x.path("")); err != nil || len(remaining) > 0 {
		t.Errorf("remaining: %v, %v", remaining, err)
	}
}

func TestWriteInputWritesWhereChildLooks(t *testing.T) {
	x, _, open := newWriter(t, msg.Files, nil)
	env, err := x.WriteInput(x.id, open.id, open.input)
	must(t, err)
	text, err := os.ReadFile(x.access.Env["INPUT_LOCATION"])
	must(t, err)
	if string(text) != open.input || env["SESSION_KEY"] == "" || env["CALLBACK_URL"] != x.jobURL(callbackRoute, open.id) {
		t.Errorf("input of %d bytes, environment %v", len(text), env)
	}
	x.Dismiss(x.id)
	if _, err := x.WriteInput(x.id, open.id, open.input); err == nil {
		t.Error("a dismissed executor gets a job")
	}
	if _, err := x.ReadResult(x.id, msg.ResultFile{}); err == nil || x.HasResultFile(x.id) {
		t.Error("the file of a dismissed executor is read")
	}
}

func TestLargeDirectoryIsEmptied(t *testing.T) {
	dir := t.TempDir()
	for n := range 2010 {
		name := filepath.Join(dir, strconv.Itoa(n))
		if n%100 != 0 {
			must(t, os.WriteFile(name, nil, 0o600))
			continue
		}
		must(t, os.MkdirAll(filepath.Join(name, "in", "it"), 0o700))
	}
	outside := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(outside, nil, 0o600))
	must(t, os.Symlink(filepath.Dir(outside), filepath.Join(dir, "link")))
	must(t, emptyDir(dir))
	remaining, err := os.ReadDir(dir)
	must(t, err)
	if len(remaining) > 0 {
		t.Errorf("%d entries remain", len(remaining))
	}
	_, err = os.Stat(outside)
	must(t, err)
}

func TestNestedDirectoriesTakeFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	rmtreetest.Nest(t, dir)
	rmtreetest.LimitDescriptors(t)
	must(t, emptyDir(dir))
	remaining, err := os.ReadDir(dir)
	must(t, err)
	if len(remaining) > 0 {
		t.Errorf("%d entries remain", len(remaining))
	}
}
