// Package contract_test tests the executor contract: the real session (package actors) behind the real gateway, with a real spool on disk.
// The client replays the requests of the official SDKs (gatewaytest), or is the Go SDK itself in its own process. The container is the fake
// engine's. docs/executor-contract.md has the numbered rules.
package contract_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"runnerd/actors"
	"runnerd/infra/contract"
	"runnerd/infra/driver/fake"
	"runnerd/infra/gateway"
	"runnerd/infra/gateway/gatewaytest"
	"runnerd/infra/masking"
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

// must and await are short names for helpers that almost every line needs.
func must(t testing.TB, err error) { t.Helper(); gatewaytest.Must(t, err) }

func await[T any](t testing.TB, c <-chan T) T { t.Helper(); return gatewaytest.Await(t, c) }

// env is a runner without a server, and its executors.
type env struct {
	t        testing.TB
	store    *store
	identity *seal.Identity
	engine   *fake.Driver
	deps     actors.ExecutorDeps
	options  gateway.Options
	log      *gatewaytest.LogBuffer

	gateway            *gateway.Gateway
	secrets, callbacks *gatewaytest.Listener
	stopGateway        func()
	executors          []*executor
	jobs               int
}

// setting changes an env before it starts.
type setting func(*env)

func newEnv(t testing.TB, settings ...setting) *env {
	t.Helper()
	files, err := spool.Dir(t.TempDir())
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	identity, err := seal.NewIdentity()
	must(t, err)
	e := &env{t: t, store: newStore(s), identity: identity, engine: fake.New(), log: &gatewaytest.LogBuffer{}}
	t.Cleanup(e.engine.Close)
	e.deps = actors.ExecutorDeps{
		Spool: e.store, Driver: e.engine, Keyring: identity,
		NewFilter: func(s []msg.Secret, midline bool) actors.Filter { return masking.NewFilter(s, midline) },
		Limits:    msg.ExecutorLimits{Abort: time.Hour, Term: time.Hour, Quiet: time.Second},
	}
	// No other process binds ports of this address between two starts.
	e.options = gateway.Options{Store: e.store, Keys: identity, Host: net.IPv4(127, 0, 0, 2)}
	for _, set := range settings {
		set(e)
	}
	e.start()
	t.Cleanup(func() {
		e.stop()
		if t.Failed() {
			t.Log(e.log)
		}
	})
	return e
}

func limits(set func(*msg.ExecutorLimits)) setting { return func(e *env) { set(&e.deps.Limits) } }
func options(set func(*gateway.Options)) setting   { return func(e *env) { set(&e.options) } }

// start starts the gateway as the runner does: it admits the executors and opens their URLs before it serves.
func (e *env) start() {
	e.t.Helper()
	ports := []int{0, 0}
	if e.gateway != nil {
		ports = []int{port(e.secrets), port(e.callbacks)}
	}
	listeners, err := gateway.Listen(e.options.Host, ports[0], ports[1])
	must(e.t, err)
	e.secrets, e.callbacks = &gatewaytest.Listener{Listener: listeners.Secrets}, &gatewaytest.Listener{Listener: listeners.Callbacks}
	o := e.options
	o.Listeners, o.Log = gateway.Listeners{Secrets: e.secrets, Callbacks: e.callbacks}, zerolog.New(e.log)
	e.gateway, err = gateway.New(o)
	must(e.t, err)
	for _, rec := range e.store.Executors() {
		_, err := e.gateway.Admit(rec)
		must(e.t, err)
		must(e.t, e.gateway.OpenURLs(rec.ID, actors.CallbackURLs(e.store, rec)...))
	}
	e.deps.Gateway = e.gateway
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.gateway.Serve(ctx) }()
	e.stopGateway = sync.OnceFunc(func() {
		cancel()
		if err := await(e.t, served); err != nil && !errors.Is(err, net.ErrClosed) {
			e.t.Errorf("serve: %v", err)
		}
	})
	for _, x := range e.executors {
		x.spawn(true)
	}
}

// stop simulates a planned stop: it ends the actors, then the gateway.
func (e *env) stop() {
	for _, x := range e.executors {
		x.stopActor()
	}
	e.stopGateway()
}

// crash simulates the sudden end of the process.
func (e *env) crash() {
	_ = errors.Join(e.secrets.Close(), e.callbacks.Close())
	for _, x := range e.executors {
		x.stopActor()
	}
	e.cutConnections()
	e.stopGateway()
}

// restart stops and starts the runner with the same spool.
func (e *env) restart() { e.stop(); e.start() }

// cutConnections resets all connections.
func (e *env) cutConnections() { e.secrets.Reset(); e.callbacks.Reset() }

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// task is a job in the spool, with the key and the input that the server has.
type task struct {
	msg.Job
	key   seal.Key
	input string
}

// newTask adds a confirmed job to the spool.
func (e *env) newTask(kind string, properties map[string]any) task {
	e.t.Helper()
	in := contract.InputContext{Task: contract.Task{ID: "Task", Type: kind, Properties: []contract.Property{}}}
	for name, value := range properties {
		in.Task.Properties = append(in.Task.Properties, contract.Property{Name: name, Value: value, Kind: "string", Category: "input"})
	}
	plain, err := json.Marshal(in)
	must(e.t, err)
	key := seal.NewKey()
	return e.offer(key, key, seal.Encrypt(key, plain))
}

// offer adds a confirmed job to the spool. Its sealed session key need not be the key of its input.
func (e *env) offer(key, sealed seal.Key, input string) task {
	e.t.Helper()
	e.jobs++
	j := task{Job: msg.Job{ID: "job", Execution: msg.ExecutionID(fmt.Sprint("execution-", e.jobs)), Kind: msg.Task}, key: key, input: input}
	text, err := seal.SealKey(e.identity.PublicKey(), sealed)
	must(e.t, err)
	must(e.t, e.store.Add(msg.Offer{Job: j.Job, Input: input, SessionKey: text}))
	must(e.t, e.store.Confirm(j.Execution))
	return j
}

func (e *env) helloTask() task { return e.newTask("sample.Hello", map[string]any{"yourName": "World"}) }

func (j task) result(exitCode int) string {
	return seal.Encrypt(j.key, fmt.Appendf(nil, `{"exitCode":%d}`, exitCode))
}

// storedResult returns the decrypted stored result of a job.
func (e *env) storedResult(j task) contract.Result {
	e.t.Helper()
	body, err := e.store.Result(j.Execution)
	must(e.t, err)
	plain, err := seal.Decrypt(j.key, body)
	must(e.t, err)
	r, err := contract.ParseResult(plain)
	must(e.t, err)
	return r
}

// record returns the spool's record of a job.
func (e *env) record(j task) msg.JobRecord {
	e.t.Helper()
	rec, ok := e.store.Job(j.Execution)
	if !ok {
		e.t.Fatalf("the spool has no job %s", j.Execution)
	}
	return rec
}

// until waits until the condition holds for the spool's record of a job.
func (e *env) until(j task, condition func(msg.JobRecord) bool) {
	e.t.Helper()
	e.store.until(e.t, func() bool { return condition(e.record(j)) })
}

func (e *env) untilDelivered(j task) {
	e.t.Helper()
	e.until(j, func(r msg.JobRecord) bool { return r.Delivered })
}

// store is a spool with a hook before each call, which may fail or block. It signals each change.
type store struct {
	*spool.Spool
	mu      sync.Mutex
	before  map[string]func(msg.ExecutionID) error
	changed chan struct{} // closed with the next change
}

func newStore(s *spool.Spool) *store {
	return &store{Spool: s, before: map[string]func(msg.ExecutionID) error{}, changed: make(chan struct{})}
}

// beforeCall sets the hook that runs before each call of a method. Nil removes it.
func (s *store) beforeCall(method string, hook func(msg.ExecutionID) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before[method] = hook
}

// fail makes the next calls of a method fail, the given number of times.
func (s *store) fail(method string, times int) {
	var mu sync.Mutex
	s.beforeCall(method, func(msg.ExecutionID) error {
		mu.Lock()
		defer mu.Unlock()
		if times--; times < 0 {
			return nil
		}
		return errDisk
	})
}

var errDisk = errors.New("disk full")

func (s *store) call(method string, id msg.ExecutionID, act func() error) error {
	s.mu.Lock()
	before := s.before[method]
	s.mu.Unlock()
	if before != nil {
		if err := before(id); err != nil {
			return err
		}
	}
	defer s.notifyChanged()
	return act()
}

// afterCall runs the hook for the end of a call, which has a name of its own, such as HandedOut for HandOut.
func (s *store) afterCall(name string, id msg.ExecutionID) {
	_ = s.call(name, id, func() error { return nil })
}

func (s *store) notifyChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) until(t testing.TB, condition func() bool) {
	t.Helper()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if condition() {
			return
		}
		await(t, changed)
	}
}

func (s *store) HandOut(h msg.HandOut) error {
	err := s.call("HandOut", h.Execution, func() error { return s.Spool.HandOut(h) })
	s.afterCall("HandedOut", h.Execution)
	return err
}

func (s *store) StoreResult(id msg.ExecutionID, r msg.Result) (stored bool, err error) {
	err = s.call("StoreResult", id, func() error {
		stored, err = s.Spool.StoreResult(id, r)
		return err
	})
	return stored, err
}

func (s *store) Input(id msg.ExecutionID) (text string, err error) {
	err = s.call("Input", id, func() error {
		text, err = s.Spool.Input(id)
		return err
	})
	return text, err
}

func (s *store) Delivered(id msg.ExecutionID) error {
	return s.call("Delivered", id, func() error { return s.Spool.Delivered(id) })
}

func (s *store) NotStarted(id msg.ExecutionID, handOut int) error {
	return s.call("NotStarted", id, func() error { return s.Spool.NotStarted(id, handOut) })
}

func (s *store) End(id msg.ExecutionID, ending msg.Ending) (recorded msg.Ending, err error) {
	err = s.call("End", id, func() error {
		recorded, err = s.Spool.End(id, ending)
		return err
	})
	return recorded, err
}

func (s *store) UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error {
	return s.call("UpdateExecutor", "", func() error { return s.Spool.UpdateExecutor(id, change) })
}

// executorRecord returns the spool's record of an executor, or a zero record.
func (s *store) executorRecord(id msg.ExecutorID) msg.ExecutorRecord {
	all := s.Executors()
	if i := slices.IndexFunc(all, func(r msg.ExecutorRecord) bool { return r.ID == id }); i >= 0 {
		return all[i]
	}
	return msg.ExecutorRecord{}
}
