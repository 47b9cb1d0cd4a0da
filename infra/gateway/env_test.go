package gateway

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"runnerd/infra/gateway/gatewaytest"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
)

// These tests cover the gateway as transport. tests/contract covers sessions and plugins together.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must and await shorten the helpers of gatewaytest.
func must(t testing.TB, err error) { t.Helper(); gatewaytest.Must(t, err) }

func await[T any](t testing.TB, c <-chan T) T { t.Helper(); return gatewaytest.Await(t, c) }

// env is a gateway with a real spool and a real identity.
type env struct {
	*Gateway
	t        testing.TB
	spool    *spool.Spool
	identity *seal.Identity
	jobs     int
	log      *gatewaytest.LogBuffer
	stop     func()
}

func newEnv(t testing.TB, options func(*Options)) *env {
	t.Helper()
	e := newIdleEnv(t, options)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		must(t, await(t, served))
	})
	t.Cleanup(e.stop)
	return e
}

// newIdleEnv returns a gateway that does not serve.
func newIdleEnv(t testing.TB, options func(*Options)) *env {
	t.Helper()
	files, err := spool.Dir(t.TempDir())
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	identity, err := seal.NewIdentity()
	must(t, err)
	host := net.IPv4(127, 0, 0, 2) // no other program uses ports there
	listeners, err := Listen(host, 0, 0)
	must(t, err)
	e := &env{t: t, spool: s, identity: identity, log: &gatewaytest.LogBuffer{}}
	o := Options{Store: s, Keys: identity, Host: host, Listeners: listeners, Log: zerolog.New(e.log)}
	if options != nil {
		options(&o)
	}
	e.Gateway, err = New(o)
	must(t, err)
	return e
}

// executor is an admitted executor. The test acts as its session.
type executor struct {
	*env
	id     msg.ExecutorID
	access msg.Access
	events chan msg.SessionEvent
	ended  chan error // the result of Requests
}

func (e *env) executor(id msg.ExecutorID, mode msg.Mode) *executor {
	e.t.Helper()
	rec := msg.ExecutorRecord{ID: id, Mode: mode, Created: time.Now()}
	access, err := e.Admit(rec)
	must(e.t, err)
	must(e.t, e.spool.CreateExecutor(rec, access.Files))
	x := &executor{env: e, id: id, access: access}
	x.subscribe()
	return x
}

// subscribe calls Requests, which ends the previous call.
func (x *executor) subscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	events, ended := make(chan msg.SessionEvent, 1000), make(chan error, 1)
	go func() {
		ended <- x.Requests(ctx, x.id, func(e msg.SessionEvent) error {
			events <- e
			return nil
		})
		close(ended)
	}()
	x.events, x.ended = events, ended
	x.t.Cleanup(func() {
		cancel()
		for range ended {
			continue
		}
	})
}

// expect returns the next event, which must be a V. It answers LISTs and ignores SDKDetected.
func expect[V msg.SessionEvent](x *executor) V {
	x.t.Helper()
	for {
		got := await(x.t, x.events)
		if v, ok := got.(V); ok {
			return v
		}
		switch got := got.(type) {
		case msg.SDKDetected:
		case msg.SecretListed:
			x.Answer(x.id, got.Request, msg.GiveList{})
		default:
			x.t.Fatalf("got event %T%+v, want %T", got, got, *new(V))
		}
	}
}

// sendGet sends a GET that waits for its answer.
func (x *executor) sendGet(c *gatewaytest.Client) (<-chan gatewaytest.Answer, msg.RequestID) {
	x.t.Helper()
	answers := c.Get(context.Background())
	return answers, expect[msg.SecretRequested](x).Request
}

// list sends a LIST and answers it.
func (x *executor) list(c *gatewaytest.Client) (status int) {
	x.t.Helper()
	done := make(chan int, 1)
	go func() { done <- c.Status("GET", c.ListPath("")) }()
	x.Answer(x.id, expect[msg.SecretListed](x).Request, msg.GiveList{})
	return await(x.t, done)
}

// job is a job whose input is in the spool.
type job struct {
	id     msg.ExecutionID
	key    seal.Key
	sealed []byte
	input  string
}

func (e *env) job() job {
	e.t.Helper()
	e.jobs++
	j := job{id: msg.ExecutionID(fmt.Sprint("execution-", e.jobs)), key: seal.NewKey()}
	var err error
	j.sealed, err = seal.SealKey(e.identity.PublicKey(), j.key)
	must(e.t, err)
	j.input = seal.Encrypt(j.key, []byte(`{}`))
	must(e.t, e.spool.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: j.id, Kind: msg.Task}, Input: j.input, SessionKey: j.sealed}))
	return j
}

func (j job) url() msg.JobURL { return msg.JobURL{Execution: j.id, SealedKey: j.sealed} }

func (j job) result(exitCode int) string {
	return seal.Encrypt(j.key, fmt.Appendf(nil, `{"exitCode":%d}`, exitCode))
}

// give sends a GET, answers it with a job and waits for its delivery.
func (x *executor) give(c *gatewaytest.Client, j job) gatewaytest.Answer {
	x.t.Helper()
	answers, request := x.sendGet(c)
	must(x.t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: j.input})
	a := await(x.t, answers)
	must(x.t, a.Err)
	if got := expect[msg.Delivered](x); got.Execution != j.id {
		x.t.Errorf("delivered: %+v", got)
	}
	return a
}

func (x *executor) path(name string) string {
	return filepath.Join(x.spool.ExecutorDir(x.id), outDir, name)
}

func (x *executor) writeResult(text string) {
	x.t.Helper()
	must(x.t, os.WriteFile(x.path(resultFile), []byte(text), 0o644))
}

// readResult reads the result file.
func (x *executor) readResult(f msg.ResultFile) msg.ReceivedBody {
	x.t.Helper()
	got, err := x.ReadResult(x.id, f)
	must(x.t, err)
	return got
}
