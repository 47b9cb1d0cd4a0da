package gateway

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"runnerd/infra/litter/littertest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

func TestATokenOpensItsOwnSecretAndNothingElse(t *testing.T) {
	w := newWorld(t, nil)
	own, other := w.executor("own", msg.Daemon), w.executor("other", msg.Daemon)
	p := newPython(own)
	selected := collection + "?fieldSelector=metadata.name%3D"
	for _, c := range []struct {
		attempt, method, path string
		status                int
	}{
		{"control: its own LIST", "GET", selected + secretName(own.id), 200},
		{"another's Secret", "GET", collection + "/" + secretName(other.id), 403},
		{"LIST of another's", "GET", selected + secretName(other.id), 403},
		{"WATCH of another's", "GET", selected + secretName(other.id) + "&watch=true", 403},
		{"LIST of all", "GET", collection, 403},
		{"LIST with two selectors", "GET", selected + secretName(own.id) + ",x%3Dy", 403},
		{"another namespace", "GET", "/api/v1/namespaces/default/secrets/" + secretName(own.id), 403},
		{"a way round", "GET", collection + "/../secrets/" + secretName(other.id), 403},
		{"discovery", "GET", "/api", 403},
		{"PUT of its own", "PUT", collection + "/" + secretName(own.id), 403},
		{"DELETE of its own", "DELETE", collection + "/" + secretName(own.id), 403},
	} {
		t.Run(c.attempt, func(t *testing.T) {
			r, err := p.request(context.Background(), c.method, c.path)
			must(t, err)
			defer func() { _ = r.Body.Close() }()
			if r.StatusCode != c.status {
				t.Errorf("answered %d, want %d", r.StatusCode, c.status)
			}
		})
	}
}

func TestAForgedTokenOpensNothing(t *testing.T) {
	w := newWorld(t, nil)
	own, other := w.executor("own", msg.Daemon), w.executor("other", msg.Daemon)
	good := token(own.access)
	for attempt, c := range map[string]struct {
		token  string
		status int
	}{
		"control: its own":      {good, 200},
		"none":                  {"", 403},
		"its own, cut":          {good[:len(good)-1], 403},
		"another's":             {token(other.access), 403},
		"its own under another": {"other" + good[len("own"):], 403},
	} {
		t.Run(attempt, func(t *testing.T) {
			p := newPython(own)
			p.e = &executor{world: w, id: own.id, access: own.access}
			p.e.access.Files = map[string][]byte{"sa/token": []byte(c.token)}
			r, err := p.request(context.Background(), http.MethodGet, collection+"?fieldSelector="+p.selector())
			must(t, err)
			defer func() { _ = r.Body.Close() }()
			if r.StatusCode != c.status {
				t.Errorf("answered %d, want %d", r.StatusCode, c.status)
			}
		})
	}
}

func TestAResultFileThatIsNoFileIsPassedOver(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.MaxResult = 1 << 20 })
	e := w.executor("trick", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	expect[msg.Delivered](e)
	outside := filepath.Join(t.TempDir(), "result")
	must(t, os.WriteFile(outside, []byte(j.result(0)), 0o644)) // it would be valid
	must(t, os.WriteFile(e.out("inside"), []byte(j.result(0)), 0o644))
	d, err := e.find(e.id)
	must(t, err)
	for trick, put := range map[string]func(string) error{
		"a link out":    func(n string) error { return os.Symlink(outside, n) },
		"a link within": func(n string) error { return os.Symlink("inside", n) },
		"a pipe":        func(n string) error { return syscall.Mkfifo(n, 0o666) },
		"a directory":   func(n string) error { return os.Mkdir(n, 0o777) },
		"a file without bound": func(string) error {
			e.writesOn(strings.Repeat("A", 2<<20))
			return nil
		},
	} {
		t.Run(trick, func(t *testing.T) {
			must(t, put(e.out(resultFile)))
			must(t, d.look())
			if rec, _ := w.spool.Job(j.id); rec.HasResult {
				t.Error("it is taken")
			}
			must(t, os.RemoveAll(e.out(resultFile)))
		})
	}
	e.writeResult(j.result(0)) // the control
	expect[msg.ResultStored](e)
}

func TestAFloodOfWatchesIsBoundedAndHarmsNobodyElse(t *testing.T) {
	w := newWorld(t, nil)
	e, other := w.executor("flood", msg.Daemon), w.executor("other", msg.Daemon)
	p := newClient(e, "kubernetes/x", true)
	for range 2 * maxWatches {
		ctx, cancel := context.WithCancel(context.Background())
		_, err := p.request(ctx, http.MethodGet, collection+"?watch=true&allowWatchBookmarks=true&resourceVersion=1&fieldSelector="+p.selector())
		t.Cleanup(cancel)
		must(t, err)
	}
	d, err := w.find(e.id)
	must(t, err)
	d.mu.Lock()
	standing := len(d.watches)
	d.mu.Unlock()
	if standing > maxWatches {
		t.Errorf("%d watches stand", standing)
	}
	q := newPython(other)
	q.finish(other.hello(), q.ask())
}

func TestADismissedExecutorIsShutOut(t *testing.T) {
	w := newWorld(t, nil)
	e, other := w.executor("gone", msg.Daemon), w.executor("stays", msg.Daemon)
	p, q := newPython(e), newPython(other)
	asked, waits := p.ask(), q.ask()
	w.Dismiss(e.id)
	if a := await(t, asked); a.status != http.StatusNotFound {
		t.Errorf("its GET is answered %d", a.status)
	}
	if a := await(t, p.get(context.Background())); a.status != http.StatusForbidden {
		t.Errorf("its next GET is answered %d", a.status)
	}
	q.finish(other.hello(), waits) // the control
}

func TestAResultThatIsNestedWithoutEndIsTakenAndNotRead(t *testing.T) {
	e := newWorld(t, nil).executor("nested", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	expect[msg.Delivered](e)
	deep := `{"exitCode":0,"outputProperties":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`
	p.deliver(a, seal.Encrypt(j.key, []byte(deep)))
	if got := expect[msg.ResultStored](e); got.Result.ExitCode != unreadable {
		t.Errorf("stored %+v", got)
	}
	p.armed()
	p.finish(e.hello(), p.ask()) // and the executor goes on
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

func TestAPluginWhoseLitterIsBeingRemovedKeepsOnlyItsOwnGETWaiting(t *testing.T) {
	w := newWorld(t, nil)
	e, other := w.executor("litters", msg.Daemon), w.executor("other", msg.Daemon)
	d, err := w.find(e.id)
	must(t, err)
	d.clearing.Lock() // as while there is much to remove
	p, q := newPython(e), newPython(other)
	asked := p.get(context.Background())
	r, err := p.request(context.Background(), http.MethodGet, collection+"?fieldSelector="+p.selector())
	must(t, err)
	must(t, r.Body.Close())
	if r.StatusCode != http.StatusOK {
		t.Errorf("its LIST is answered %s", r.Status)
	}
	q.finish(other.hello(), q.ask())
	must(t, os.WriteFile(e.out("litter"), nil, 0o644))
	d.clearing.Unlock()
	expectHeld(e)
	p.finish(e.hello(), asked) // the control: it is held then, and gets its job
	if _, err := os.Stat(e.out("litter")); !os.IsNotExist(err) {
		t.Errorf("the next job finds what was left: %v", err)
	}
}
