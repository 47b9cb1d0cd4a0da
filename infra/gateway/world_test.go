package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(pluginDir)
		os.Exit(code)
	}))
}

// patience is how long a test waits for what must happen; never part of what is asserted.
const patience = 90 * time.Second

// world is a gateway that serves, with a real spool and a real identity.
type world struct {
	*Gateway
	t        testing.TB
	spool    *spool.Spool
	identity *seal.Identity
	options  func(*Options)
	stop     func()
	crash    func() // the process is gone from one moment to the next
	jobs     atomic.Int64

	secrets, callbacks *line
}

func newWorld(t testing.TB, options func(*Options)) *world {
	t.Helper()
	files, err := spool.Dir(t.TempDir())
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	identity, err := seal.NewIdentity()
	must(t, err)
	w := &world{t: t, spool: s, identity: identity, options: options}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start serves on the ports of last time, if there was one.
func (w *world) start() {
	w.t.Helper()
	ports := []int{0, 0}
	if w.Gateway != nil {
		ports = []int{port(w.Listeners.Secrets), port(w.Listeners.Callbacks)}
	}
	host := net.IPv4(127, 0, 0, 2) // where nobody else takes the ports while they are free
	listeners, err := Listen(host, ports[0], ports[1])
	must(w.t, err)
	w.secrets, w.callbacks = &line{Listener: listeners.Secrets}, &line{Listener: listeners.Callbacks}
	listeners = Listeners{Secrets: w.secrets, Callbacks: w.callbacks}
	o := Options{Store: w.spool, Keys: w.identity, Host: host, Listeners: listeners, ComeBack: time.Nanosecond,
		Log: zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel)}
	if w.options != nil {
		w.options(&o)
	}
	w.Gateway, err = New(o)
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	must(w.t, w.Restore())
	go func() { served <- w.Serve(ctx) }()
	w.stop = func() {
		w.stop = func() {}
		cancel()
		must(w.t, <-served)
	}
	w.crash = func() {
		w.stop = func() {}
		_ = errors.Join(w.secrets.Close(), w.callbacks.Close())
		w.cut()
		cancel()
		<-served
	}
}

// cut resets every connection there is.
func (w *world) cut() { w.secrets.cut(); w.callbacks.cut() }

// line is a listener whose connections can be cut.
type line struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

func (l *line) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c.(*net.TCPConn))
	return c, nil
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.SetLinger(0) // a reset, not an orderly end
		_ = c.Close()
	}
	l.conns = nil
}

// restart is a return of the runner with the same spool.
func (w *world) restart() { w.stop(); w.start() }

// executor is one that was admitted, with its visits.
type executor struct {
	*world
	id     msg.ExecutorID
	access msg.Access
	visits chan msg.Visit
}

func (w *world) executor(id msg.ExecutorID, mode msg.Mode) *executor {
	w.t.Helper()
	rec := msg.ExecutorRecord{ID: id, Mode: mode, Created: time.Now()}
	access, err := w.Admit(rec)
	must(w.t, err)
	must(w.t, w.spool.CreateExecutor(rec, access.Files))
	e := &executor{world: w, id: id, access: access}
	e.watch()
	return e
}

// watch listens at the door, and ends the one that listened before.
func (e *executor) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	visits, done := make(chan msg.Visit, 100), make(chan struct{})
	go func() {
		defer close(done)
		_ = e.Watch(ctx, e.id, func(v msg.Visit) error {
			visits <- v
			return nil
		})
	}()
	e.visits = visits
	e.t.Cleanup(func() { cancel(); <-done })
}

// expect returns the next visit but an introduction, which must be a V.
func expect[V msg.Visit](e *executor) V {
	e.t.Helper()
	for {
		select {
		case v := <-e.visits:
			if _, ok := v.(msg.Introduced); ok && !isA[V](v) {
				continue
			}
			if !isA[V](v) {
				e.t.Fatalf("the door tells %T%+v, want %T", v, v, *new(V))
			}
			return v.(V)
		case <-time.After(patience):
			e.t.Fatalf("the door does not tell %T", *new(V))
		}
	}
}

func isA[V msg.Visit](v msg.Visit) bool { _, ok := v.(V); return ok }

// task is a job in the spool, with what the server knows of it.
type task struct {
	id    msg.ExecutionID
	key   seal.Key
	input string
}

func (w *world) task(kind string, properties map[string]any) task {
	w.t.Helper()
	in := contract.InputContext{Task: contract.Task{ID: "Task", Type: kind, Properties: []contract.Property{}}}
	for name, value := range properties {
		in.Task.Properties = append(in.Task.Properties, contract.Property{Name: name, Value: value, Kind: "string", Category: "input"})
	}
	plain, err := json.Marshal(in)
	must(w.t, err)
	j := task{id: msg.ExecutionID(fmt.Sprint("execution-", w.jobs.Add(1))), key: seal.NewKey()}
	j.input = seal.Encrypt(j.key, plain)
	sealed, err := seal.SealKey(w.identity.PublicKey(), j.key)
	must(w.t, err)
	must(w.t, w.spool.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: j.id, Kind: msg.Task}, Input: j.input, SessionKey: sealed}))
	return j
}

func (w *world) hello() task { return w.task("sample.Hello", map[string]any{"yourName": "World"}) }

func (e *executor) give(j task) (env map[string]string) {
	e.t.Helper()
	env, err := e.HandOut(context.Background(), e.id, j.id, time.Now())
	must(e.t, err)
	return env
}

func (e *executor) out(name string) string {
	return filepath.Join(e.spool.ExecutorDir(e.id), outDir, name)
}

func (e *executor) writeResult(text string) {
	e.t.Helper()
	must(e.t, os.WriteFile(e.out(resultFile), []byte(text), 0o644))
}

// writesOn leaves a result file that somebody still writes, however slow this machine is.
func (e *executor) writesOn(text string) {
	e.t.Helper()
	aside, now := e.out("aside"), time.Now().Add(time.Hour)
	must(e.t, os.WriteFile(aside, []byte(text), 0o644))
	must(e.t, os.Chtimes(aside, now, now))
	must(e.t, os.Rename(aside, e.out(resultFile)))
}

// outcome opens the result that is stored.
func (w *world) outcome(j task) contract.Result {
	w.t.Helper()
	body, err := w.spool.Result(j.id)
	must(w.t, err)
	plain, err := seal.Decrypt(j.key, body)
	must(w.t, err)
	r, err := contract.ParseResult(plain)
	must(w.t, err)
	return r
}

func (j task) result(exitCode int) string {
	return seal.Encrypt(j.key, fmt.Appendf(nil, `{"exitCode":%d}`, exitCode))
}

func plainURL(t testing.TB, text []byte) string {
	t.Helper()
	url, err := base64.StdEncoding.DecodeString(string(text))
	must(t, err)
	return string(url)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func token(a msg.Access) string { return strings.TrimSpace(string(a.Files["sa/token"])) }
