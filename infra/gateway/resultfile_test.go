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

	"runnerd/infra/litter/littertest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// writer is an executor with an open job, after another one.
func writer(t *testing.T, mode msg.Mode, options func(*Options)) (x *executor, before, open job) {
	x = newEnv(t, options).executor("writes", mode)
	before, open = x.job(), x.job()
	must(t, x.OpenURLs(x.id, before.url(), open.url()))
	return x, before, open
}

func TestAResultFileIsReadAsWhatItProves(t *testing.T) {
	x, before, open := writer(t, msg.Daemon, func(o *Options) { o.MaxResult = 4096 })
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
		"the result":                                 {open.result(5), before.id, hourAgo, msg.IsResult},
		"the result of a job without one before":     {open.result(5), "", hourAgo, msg.IsResult},
		"half of it":                                 {open.result(5)[:20], before.id, hourAgo, msg.NoDelivery},
		"what is inside of it":                       {string(raw), before.id, hourAgo, msg.NoDelivery},
		"nothing":                                    {"", before.id, hourAgo, msg.NoDelivery},
		"an error with the key before":               {before.result(1), before.id, hourAgo, msg.NotStarted},
		"the same, older than the hand-out":          {before.result(1), before.id, time.Now().Add(time.Hour), msg.NoDelivery},
		"the same, of a job that is not known":       {before.result(1), "unknown", hourAgo, msg.NoDelivery},
		"an error with another key":                  {other, before.id, hourAgo, msg.NoDelivery},
		"plain text after a job before":              {`{"exitCode":1}`, before.id, hourAgo, msg.NoDelivery},
		"an error in plain text, without one before": {`{"exitCode":1}`, "", hourAgo, msg.NotStarted},
		"success in plain text, without one before":  {`{"exitCode":0}`, "", hourAgo, msg.NoDelivery},
		"any other text, without one before":         {`error`, "", hourAgo, msg.NoDelivery},
		"too much":                                   {strings.Repeat("A", 10000), before.id, hourAgo, msg.TooLarge},
	} {
		t.Run(what, func(t *testing.T) {
			x.writeResult(row.text)
			got := x.readResult(msg.ResultFile{Execution: open.id, Before: row.before, Since: row.since, Written: true})
			want := msg.Delivery{Verdict: row.want, Size: int64(len(row.text))}
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

func TestAChildProcessProvesNothingByItsFile(t *testing.T) {
	x, before, open := writer(t, msg.Files, nil)
	x.writeResult(before.result(1))
	if got := x.readResult(msg.ResultFile{Execution: open.id, Before: before.id}); got.Verdict != msg.NoDelivery {
		t.Errorf("read %+v", got)
	}
}

// One that is still being written has no size yet, and one that is overwritten may fit.
func TestAResultFileThatIsTooLargeIsLeftAloneWhileItIsWritten(t *testing.T) {
	x, before, open := writer(t, msg.Daemon, func(o *Options) { o.MaxResult = 4096 })
	file := msg.ResultFile{Execution: open.id, Before: before.id}
	aside, ahead := x.path("aside"), time.Now().Add(time.Hour) // it is being written, however slow this machine is
	must(t, os.WriteFile(aside, []byte(strings.Repeat("A", 10000)), 0o644))
	must(t, os.Chtimes(aside, ahead, ahead))
	must(t, os.Rename(aside, x.path(resultFile)))
	expect[msg.ResultFileChanged](x)
	if got := x.readResult(file); !cmp.Equal(got, msg.Delivery{}) {
		t.Errorf("read %+v", got)
	}
	expect[msg.ResultFileChanged](x) // it is looked at again, though it does not change
	x.writeResult(open.result(0))
	expect[msg.ResultFileChanged](x)
	if got := x.readResult(file); got.Verdict != msg.IsResult {
		t.Errorf("read %+v", got)
	}
	must(t, os.WriteFile(aside, []byte(strings.Repeat("A", 10000)), 0o644))
	must(t, os.Chtimes(aside, ahead, ahead))
	must(t, os.Rename(aside, x.path(resultFile)))
	file.Written = true // its plugin has ended
	if got := x.readResult(file); got.Verdict != msg.TooLarge || got.Size != 10000 {
		t.Errorf("read %+v", got)
	}
}

func TestAResultFileThatIsNoFileIsPassedOver(t *testing.T) {
	x, _, open := writer(t, msg.Daemon, func(o *Options) { o.MaxResult = 1 << 20 })
	outside := filepath.Join(t.TempDir(), "result")
	must(t, os.WriteFile(outside, []byte(open.result(0)), 0o644)) // it would be valid
	must(t, os.WriteFile(x.path("inside"), []byte(open.result(0)), 0o644))
	file := msg.ResultFile{Execution: open.id, Written: true}
	for trick, put := range map[string]func(string) error{
		"a link out":    func(n string) error { return os.Symlink(outside, n) },
		"a link within": func(n string) error { return os.Symlink("inside", n) },
		"a pipe":        func(n string) error { return syscall.Mkfifo(n, 0o666) },
		"a directory":   func(n string) error { return os.Mkdir(n, 0o777) },
		"none":          func(string) error { return nil },
	} {
		t.Run(trick, func(t *testing.T) {
			must(t, put(x.path(resultFile)))
			if got := x.HasResultFile(x.id); got != (trick != "none") {
				t.Errorf("something is there: %v", got)
			}
			if got := x.readResult(file); !cmp.Equal(got, msg.Delivery{}) {
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

func TestRule10AChangeOfTheResultFileIsToldAndTheDirectoryCanBeEmptied(t *testing.T) {
	x, _, open := writer(t, msg.Daemon, nil)
	must(t, os.WriteFile(x.path("another"), nil, 0o644)) // is not told
	x.writeResult("something")
	expect[msg.ResultFileChanged](x)
	must(t, os.WriteFile(x.path("whole"), []byte(open.result(0)), 0o644))
	must(t, os.Rename(x.path("whole"), x.path(resultFile)))
	expect[msg.ResultFileChanged](x)
	x.ClearResults(x.id)
	if left, err := os.ReadDir(x.path("")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestAJobForAChildProcessIsWrittenWhereItLooks(t *testing.T) {
	x, _, open := writer(t, msg.Files, nil)
	env, err := x.WriteInput(x.id, open.id, open.input)
	must(t, err)
	text, err := os.ReadFile(x.access.Env["INPUT_LOCATION"])
	must(t, err)
	if string(text) != open.input || env["SESSION_KEY"] == "" || env["CALLBACK_URL"] != x.url(callbackPath, open.id) {
		t.Errorf("it finds %d bytes and %v", len(text), env)
	}
	x.Dismiss(x.id)
	if _, err := x.WriteInput(x.id, open.id, open.input); err == nil {
		t.Error("a dismissed one gets a job")
	}
	if _, err := x.ReadResult(x.id, msg.ResultFile{}); err == nil || x.HasResultFile(x.id) {
		t.Error("the file of a dismissed one is read")
	}
}

func TestALargeDirectoryIsEmptiedInPieces(t *testing.T) {
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
	must(t, empty(dir))
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
	_, err = os.Stat(outside)
	must(t, err)
}

func TestDirectoriesInOneAnotherTakeFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	littertest.Nest(t, dir)
	littertest.FewDescriptors(t)
	must(t, empty(dir))
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%d are left", len(left))
	}
}
