package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// troubled is a spool that fails as often as it is told to.
type troubled struct {
	Store
	handOuts, results atomic.Int64
}

var errDisk = errors.New("disk full")

func (s *troubled) HandOut(id msg.ExecutionID, e msg.ExecutorID, arming uint64, at time.Time) error {
	if s.handOuts.Add(-1) >= 0 {
		return errDisk
	}
	return s.Store.HandOut(id, e, arming, at)
}

func (s *troubled) StoreResult(id msg.ExecutionID, r msg.Result) (bool, error) {
	if s.results.Add(-1) >= 0 {
		return false, errDisk
	}
	return s.Store.StoreResult(id, r)
}

func newTroubledWorld(t *testing.T) (*world, *troubled) {
	store := &troubled{}
	return newWorld(t, func(o *Options) { store.Store, o.Store = o.Store, store }), store
}

func TestWhatCannotBeJournaledIsNotHandedOutAndTheGETStaysHeld(t *testing.T) {
	w, store := newTroubledWorld(t)
	e := w.executor("journal", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	store.handOuts.Store(1)
	if _, err := e.HandOut(context.Background(), e.id, j.id, time.Now()); !errors.Is(err, errDisk) {
		t.Fatalf("handed out: %v", err)
	}
	select {
	case a := <-asked:
		t.Fatalf("the GET is answered %d", a.status)
	default:
	}
	p.finish(j, asked)
}

func TestACallbackIsAnsweredOnceItsResultCouldBeStored(t *testing.T) {
	w, store := newTroubledWorld(t)
	e := w.executor("full", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	store.results.Store(2)
	p.deliver(a, j.result(0))
	if rec, _ := e.spool.Job(j.id); !rec.HasResult {
		t.Error("it was answered before the result was stored")
	}
}

func TestAResultFileIsTakenOnceItCouldBeStored(t *testing.T) {
	w, store := newTroubledWorld(t)
	e := w.executor("fullfile", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	expect[msg.Delivered](e)
	store.results.Store(1)
	e.writeResult(j.result(0))
	expect[msg.ResultStored](e)
}

func TestANewerWatchEndsTheOlderAndIsToldWhatIsSo(t *testing.T) {
	e := newWorld(t, nil).executor("twice", msg.Daemon)
	p := newPython(e)
	p.finish(e.hello(), p.ask())
	p.armed()
	p.ask()
	ended := make(chan error, 1)
	told := make(chan msg.Visit, 10)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		ended <- e.Watch(ctx, e.id, func(v msg.Visit) error { told <- v; return nil })
	}()
	var kinds []string
	for range 3 {
		kinds = append(kinds, fmt.Sprintf("%T", await(t, told)))
	}
	want := []string{"messages.Introduced", "messages.ResultStored", "messages.Held"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	e.watch()
	if err := await(t, ended); !errors.Is(err, errNewerWatch) {
		t.Errorf("the older ended with %v", err)
	}
	cancel(nil)
}

func TestAWatchEndsWithTheCauseOfItsContext(t *testing.T) {
	e := newWorld(t, nil).executor("cause", msg.Daemon)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := e.Watch(ctx, e.id, func(msg.Visit) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("ended with %v", err)
	}
}

func TestADoorThatIsClosedHandsOutNoJobByFiles(t *testing.T) {
	e := newWorld(t, nil).executor("child", msg.Files)
	j := e.hello()
	e.stop()
	if _, err := e.HandOut(t.Context(), e.id, j.id, time.Now()); err == nil {
		t.Error("it was handed out")
	}
	if rec, _ := e.spool.Job(j.id); rec.Stage >= msg.HandedOut {
		t.Errorf("it is %s", rec.Stage)
	}
}

func TestAChildProcessOfTheGoSDKRunsAJobByFiles(t *testing.T) {
	e := newWorld(t, nil).executor("child", msg.Files)
	binary, err := samplePlugin()
	must(t, err)
	j := e.hello()
	env := e.give(j)
	expect[msg.Delivered](e)
	command := exec.Command(binary)
	for _, part := range []map[string]string{e.access.Env, env} {
		for k, v := range part {
			command.Env = append(command.Env, k+"="+v)
		}
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Logf("the plugin ended with %v:\n%s", err, out) // its exit code means little
	}
	expect[msg.ResultStored](e)
	if r := e.outcome(j); r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}

func TestRule17AccessHasWhatEachModeNeedsAndNothingElse(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ReleaseURL = "http://release" })
	for mode, want := range map[msg.Mode]string{
		msg.Daemon: "EXECUTOR_EXECUTION_MODE INPUT_CONTEXT_SECRET KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT OUTPUT_LOCATION RUNNER_NAMESPACE",
		msg.Single: "INPUT_CONTEXT_SECRET KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT OUTPUT_LOCATION RUNNER_NAMESPACE",
		msg.Files:  "INPUT_LOCATION OUTPUT_LOCATION",
	} {
		t.Run(string(mode), func(t *testing.T) {
			access := w.executor(msg.ExecutorID(mode), mode).access
			names := append(strings.Fields(want), "PYTHONUNBUFFERED", contract.ReleaseURL)
			for _, name := range names {
				if access.Env[name] == "" {
					t.Errorf("no %s", name)
				}
			}
			if len(access.Env) != len(names) {
				t.Errorf("more than is needed: %v", access.Env)
			}
			again, err := w.Admit(msg.ExecutorRecord{ID: msg.ExecutorID(mode), Mode: mode})
			must(t, err)
			if token(again) != token(access) {
				t.Error("admitted again it has another token")
			}
		})
	}
}

func TestAPortThatIsTakenIsRefusedWithTheFix(t *testing.T) {
	host := net.IPv4(127, 0, 0, 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = taken.Close() }()
	_, err = Listen(host, port(taken), 0)
	if err == nil || !strings.Contains(err.Error(), "end that program") {
		t.Errorf("bound with %v", err)
	}
}

func TestAnAddressThatIsNotThereYetCanBeBound(t *testing.T) {
	l, err := Listen(net.IPv4(192, 0, 2, 7), 0, 0)
	must(t, err)
	must(t, errors.Join(l.Secrets.Close(), l.Callbacks.Close()))
}
