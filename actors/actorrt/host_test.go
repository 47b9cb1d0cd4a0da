package actorrt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testMessage is the set of messages of the actors in these tests.
type testMessage interface{ isTestMessage() }

type (
	do   func(c *Ctx[testMessage])    // run it
	say  string                       // record it
	asks struct{ reply func(string) } // reply with the records
)

func (do) isTestMessage()   {}
func (say) isTestMessage()  {}
func (asks) isTestMessage() {}

// recorder collects lines from actors for the test.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (d *recorder) add(format string, a ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, a...))
}

func (d *recorder) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

func (d *recorder) Write(p []byte) (int, error) {
	d.add("%s", p)
	return len(p), nil
}

// testActor records the messages that it receives.
type testActor struct {
	received      *recorder
	onStart, stop do
}

func (o *testActor) Start(c *Ctx[testMessage]) {
	if o.onStart != nil {
		o.onStart(c)
	}
}

func (o *testActor) Receive(c *Ctx[testMessage], m testMessage) {
	switch m := m.(type) {
	case do:
		m(c)
	case say:
		o.received.add("%s", m)
	case asks:
		m.reply(o.received.String())
	default:
		o.received.add("what is %v?", m)
	}
}

func (o *testActor) Stop(c *Ctx[testMessage]) {
	if o.stop != nil {
		o.stop(c)
	}
}

// parent is a testActor that watches its children.
type parent struct{ testActor }

func (p *parent) ChildDown(_ *Ctx[testMessage], d Down) {
	if d.Crash == nil {
		p.received.add("%s stopped", d.Name)
		return
	}
	p.received.add("%s crashed in %s about %q: %v", d.Name, d.Crash.Where, d.Crash.Subject, d.Crash.Reason)
}

// env is a system with a root that watches its children.
type env struct {
	sys      *System
	root     Ref[testMessage]
	received recorder // by all actors
	log      recorder
}

func withEnv(t *testing.T, o Options, test func(t *testing.T, w *env)) {
	synctest.Test(t, func(t *testing.T) {
		w := &env{}
		if o.Log.GetLevel() != zerolog.Disabled {
			o.Log = zerolog.New(&w.log)
		}
		w.sys = NewSystem(o)
		var err error
		w.root, err = SpawnRoot(w.sys, Spec[testMessage]{"root", func() Behavior[testMessage] { return &parent{testActor{received: &w.received}} }})
		if err != nil {
			t.Fatal(err)
		}
		test(t, w)
		if err := w.sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if live := w.sys.Tree(); len(live) > 0 {
			t.Error("not stopped:", live)
		}
		synctest.Wait()
	})
}

// child spawns a testActor below the root, and waits until it has started.
func (w *env) child(name string, change ...func(*testActor)) Ref[testMessage] {
	var ref Ref[testMessage]
	w.root.Tell(do(func(c *Ctx[testMessage]) { ref = w.spawn(c, name, change...) }))
	synctest.Wait()
	return ref
}

func (w *env) spawn(c *Ctx[testMessage], name string, change ...func(*testActor)) Ref[testMessage] {
	return Spawn(c, Spec[testMessage]{name, func() Behavior[testMessage] {
		o := &testActor{received: &w.received}
		for _, f := range change {
			f(o)
		}
		return o
	}})
}

func (w *env) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := w.received.String(); got != want {
		t.Errorf("received %q, want %q", got, want)
	}
}

func panics(reason string) do { return func(*Ctx[testMessage]) { panic(reason) } }

func TestParentLearnsOfCrashOnce(t *testing.T) {
	about := func(next do) do {
		return func(c *Ctx[testMessage]) { c.SetSubject("job 7"); next(c) }
	}
	for where, c := range map[string]struct {
		start, tell do
		want        string
	}{
		"in Start":   {start: about(panics("oops")), want: `child crashed in start about "job 7": oops`},
		"in Receive": {tell: about(panics("oops")), want: `child crashed in receive about "job 7": oops`},
		"in a task": {tell: about(func(c *Ctx[testMessage]) {
			c.Go("work", func(context.Context) testMessage { panic("oops") })
		}), want: `child crashed in task work about "job 7": oops`},
		"in a stream": {tell: about(func(c *Ctx[testMessage]) {
			c.Stream("stream", 1, func(_ context.Context, emit func(testMessage) error) testMessage { panic("oops") })
		}), want: `child crashed in task stream about "job 7": oops`},
		"by a Goexit in a task": {tell: func(c *Ctx[testMessage]) {
			c.Go("work", func(context.Context) testMessage { runtime.Goexit(); return nil })
		}, want: `child crashed in task work about "": goroutine ended by runtime.Goexit`},
		"at a timer's message": {tell: about(func(c *Ctx[testMessage]) { c.After("t", time.Second, panics("oops")) }),
			want: `child crashed in receive about "job 7": oops`},
		"at the result of a task": {tell: about(func(c *Ctx[testMessage]) {
			c.Go("work", func(context.Context) testMessage { return panics("oops") })
		}), want: `child crashed in receive about "job 7": oops`},
		"in WithSubject": {tell: about(func(c *Ctx[testMessage]) { c.WithSubject("job 8", func() { panics("oops")(c) }) }),
			want: `child crashed in receive about "job 8": oops`},
		"after WithSubject": {tell: about(func(c *Ctx[testMessage]) { c.WithSubject("job 8", func() {}); panics("oops")(c) }),
			want: `child crashed in receive about "job 7": oops`},
		"after a message with a subject": {tell: about(func(c *Ctx[testMessage]) { c.Self().Tell(panics("oops")) }),
			want: `child crashed in receive about "": oops`},
	} {
		t.Run(where, func(t *testing.T) {
			var hooked []*Crash
			withEnv(t, Options{OnCrash: func(c *Crash) { hooked = append(hooked, c) }}, func(t *testing.T, w *env) {
				child := w.child("child", func(o *testActor) { o.onStart = c.start })
				if c.tell != nil {
					child.Tell(c.tell)
				}
				time.Sleep(2 * time.Second)
				w.expect(t, c.want)
				if len(hooked) != 1 || hooked[0].Actor != "root/child" || len(hooked[0].Stack) == 0 {
					t.Error("OnCrash was called with:", hooked)
				}
				if n := strings.Count(w.log.String(), "panicked"); n != 1 {
					t.Errorf("logged %d times: %s", n, &w.log)
				}
			})
		})
	}
}

func TestPanicAfterCrashIsOnlyLogged(t *testing.T) {
	withEnv(t, Options{OnCrash: func(*Crash) { panic("in the hook") }}, func(t *testing.T, w *env) {
		child := w.child("child")
		child.Tell(do(func(c *Ctx[testMessage]) {
			c.Go("work", func(ctx context.Context) testMessage { <-ctx.Done(); panic("in a late task") })
		}))
		synctest.Wait()
		child.Tell(panics("oops"))
		w.expect(t, `child crashed in receive about "": oops`)
		for _, want := range []string{"oops", "in the hook", "in a late task"} {
			if n := strings.Count(w.log.String(), ": "+want); n != 1 {
				t.Errorf("%q is logged %d times: %s", want, n, &w.log)
			}
		}
	})
}

func TestPanicWhileStoppingIsOnlyLogged(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		w.child("child", func(o *testActor) { o.stop = panics("in Stop") })
		w.root.Tell(do(func(c *Ctx[testMessage]) { c.StopChild("child") }))
		w.expect(t, "child stopped")
		if !strings.Contains(w.log.String(), "in Stop") {
			t.Error("the panic is not in the log:", &w.log)
		}
	})
}

func TestStopIsCalledBeforeChildrenStop(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		last := func(name string) func(*testActor) {
			return func(o *testActor) {
				o.stop = func(c *Ctx[testMessage]) { w.received.add("%s is stopped, context %v", name, c.host.node.ctx.Err()) }
			}
		}
		child := w.child("child", last("child"))
		child.Tell(do(func(c *Ctx[testMessage]) { w.spawn(c, "grandchild", last("grandchild")) }))
		child.Tell(do(func(c *Ctx[testMessage]) { c.StopSelf() }))
		w.expect(t, "child is stopped, context <nil>, grandchild is stopped, context <nil>, child stopped")

		w.child("other", last("other")).Tell(panics("oops"))
		synctest.Wait()
		if strings.Contains(w.received.String(), "other is stopped") {
			t.Error("Stop was called after a crash")
		}
	})
}

func TestActorEndWaitsForGoroutinesUpToGrace(t *testing.T) {
	stops := func(c *Ctx[testMessage]) { c.StopSelf() }
	for name, c := range map[string]struct {
		work, endsAfter time.Duration
		end             do
	}{
		"stopped, goroutine ends in time":  {3 * time.Second, 3 * time.Second, stops},
		"stopped, goroutine ends too late": {time.Minute, 5 * time.Second, stops},
		"crashed, goroutine ends in time":  {3 * time.Second, 3 * time.Second, panics("oops")},
		"crashed, goroutine ends too late": {time.Minute, 5 * time.Second, panics("oops")},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, Options{}, func(t *testing.T, w *env) {
				child, begin := w.child("child"), time.Now()
				var ended time.Duration
				child.Tell(do(func(child *Ctx[testMessage]) {
					child.Go("work", func(ctx context.Context) testMessage {
						<-ctx.Done()
						ended = time.Since(begin)
						time.Sleep(c.work)
						return say("late result")
					})
				}))
				synctest.Wait()
				child.Tell(c.end)
				time.Sleep(c.endsAfter - 1)
				w.expect(t, "")
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if got := w.received.String(); !strings.HasPrefix(got, "child ") || strings.Contains(got, "late") {
					t.Errorf("received %q, want the end of child", got)
				}
				if ended != 0 {
					t.Error("the context ended late:", ended)
				}
				time.Sleep(c.work) // synctest requires that all goroutines end
			})
		})
	}
}

func TestOldRefDoesNotReachSuccessor(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		old := w.child("child")
		old.Tell(panics("oops"))
		old.Tell(say("after the crash"))
		synctest.Wait()
		successor := w.child("child")
		old.Tell(say("to the old one"))
		successor.Tell(say("to the successor"))
		w.expect(t, `child crashed in receive about "": oops, to the successor`)
		if n := w.sys.Tree()[0].Children[0]; n.Crashes != 1 || !strings.Contains(n.LastCrash, "oops") {
			t.Errorf("%+v", n)
		}
		old.to.stop() // stopping an ended actor is harmless; synctest would detect a goroutine started for it

		w.root.Tell(do(func(c *Ctx[testMessage]) { c.StopChild("child") }))
		synctest.Wait()
		w.child("child")
		if n := w.sys.Tree()[0].Children[0]; n.Crashes != 0 {
			t.Errorf("a crash is still shown after a planned stop: %+v", n)
		}
	})
}

func TestDuplicateNameCrashesParent(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		w.child("child")
		w.root.Tell(do(func(c *Ctx[testMessage]) { w.spawn(c, "child") }))
		synctest.Wait()
		select {
		case err := <-w.sys.Fatal():
			if !strings.Contains(err.Error(), "spawn root/child: the name is taken") {
				t.Error(err)
			}
		default:
			t.Error("Fatal delivered nothing")
		}
	})
}

func TestParentWithoutWatcherCrashesWithChild(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		child := w.child("child")
		child.Tell(do(func(c *Ctx[testMessage]) {
			w.spawn(c, "grandchild", func(o *testActor) {
				o.onStart = func(c *Ctx[testMessage]) { c.SetSubject("job 7"); panic("oops") }
			})
		}))
		w.expect(t, `child crashed in child grandchild about "job 7": root/child/grandchild crashed in start: oops`)
	})
}

func TestCancelledTimerNeverDelivers(t *testing.T) {
	for name, c := range map[string]struct {
		then do
		want string
	}{
		"not cancelled":       {func(*Ctx[testMessage]) {}, "tick"},
		"cancelled":           {func(c *Ctx[testMessage]) { c.Cancel("t") }, ""},
		"reset":               {func(c *Ctx[testMessage]) { c.After("t", time.Hour, say("tock")) }, ""},
		"reset, due at once":  {func(c *Ctx[testMessage]) { c.After("t", 0, say("tock")) }, "tock"},
		"other key cancelled": {func(c *Ctx[testMessage]) { c.Cancel("u") }, "tick"},
		"crashed":             {panics("oops"), `child crashed in receive about "": oops`},
	} {
		t.Run(name+" while its message is in the mailbox", func(t *testing.T) {
			withEnv(t, Options{}, func(t *testing.T, w *env) {
				child := w.child("child")
				child.Tell(do(func(child *Ctx[testMessage]) {
					child.After("t", time.Second, say("tick"))
					time.Sleep(2 * time.Second) // the timer's message is in the mailbox now
					c.then(child)
				}))
				time.Sleep(time.Minute)
				w.expect(t, c.want)
			})
		})
	}
}

func TestEndedTaskDeliversNothing(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		child := w.child("child")
		child.Tell(do(func(c *Ctx[testMessage]) {
			c.Go("silent", func(context.Context) testMessage { return nil })
			c.Go("delivered", func(context.Context) testMessage { time.Sleep(time.Second); return say("delivered") })
			dropped := c.Go("dropped", func(context.Context) testMessage { time.Sleep(time.Second); return say("dropped") })
			time.Sleep(2 * time.Second) // the results are in the mailbox now
			dropped.Cancel()
		}))
		time.Sleep(time.Minute)
		w.expect(t, "delivered")
		if w.log.String() != "" {
			t.Error("logged:", &w.log)
		}
	})
}

func TestTaskWithEndedContextDoesNotBegin(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	withEnv(t, Options{Context: ended}, func(t *testing.T, w *env) {
		w.child("child").Tell(do(func(c *Ctx[testMessage]) {
			c.Go("work", func(context.Context) testMessage { w.received.add("begun"); return nil })
		}))
		w.expect(t, "")
	})
}

func TestEndingActorReceivesNothing(t *testing.T) {
	for name, end := range map[string]do{"stopped": func(c *Ctx[testMessage]) { c.StopSelf() }, "crashed": panics("oops")} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, Options{}, func(t *testing.T, w *env) {
				child := w.child("child")
				child.Tell(do(func(child *Ctx[testMessage]) {
					w.spawn(child, "grandchild", func(o *testActor) {
						o.onStart = func(c *Ctx[testMessage]) {
							c.Go("work", func(ctx context.Context) testMessage { <-ctx.Done(); time.Sleep(time.Second); return nil })
						}
					})
				}))
				synctest.Wait()
				child.Tell(do(func(c *Ctx[testMessage]) {
					c.Self().Tell(end)
					for range 3 { // queued after the end
						c.Self().Tell(say("too late"))
					}
				}))
				w.expect(t, "")
				time.Sleep(time.Second)
				synctest.Wait()
				if got := w.received.String(); !strings.HasPrefix(got, "child "+name) {
					t.Errorf("received %q", got)
				}
			})
		})
	}
}

func TestStreamIsLimitedToActorPace(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		child, emitted := w.child("child"), 0
		child.Tell(do(func(c *Ctx[testMessage]) {
			c.Stream("stream", 4, func(ctx context.Context, emit func(testMessage) error) testMessage {
				for ; emit(do(func(*Ctx[testMessage]) { time.Sleep(time.Second) })) == nil; emitted++ {
				}
				return say("late result")
			})
		}))
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		// Ten are handled, one of the window of four is being handled, and three wait.
		if emitted != 14 {
			t.Error("emitted", emitted)
		}
		if n := w.sys.Tree()[0].Children[0]; n.Queue != 3 || fmt.Sprint(n.Tasks) != "[stream]" || n.Busy != "actorrt.do" {
			t.Errorf("%+v", n)
		}
		child.Tell(do(func(c *Ctx[testMessage]) { c.StopSelf() }))
		time.Sleep(time.Minute)
		w.expect(t, "child stopped")
	})
}

func TestMessagesOfOneSenderArriveInOrder(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		const senders, each = 4, 10_000
		child, next, wrong := w.child("child"), [senders]int{}, 0
		var senderGroup sync.WaitGroup
		for s := range senders {
			senderGroup.Go(func() {
				for n := range each {
					child.Tell(do(func(*Ctx[testMessage]) {
						if next[s] != n {
							wrong++
						}
						next[s]++
					}))
				}
			})
		}
		senderGroup.Wait()
		synctest.Wait()
		if wrong > 0 || next != [senders]int{each, each, each, each} {
			t.Error(wrong, "out of order; received", next)
		}
	})
}

func TestAskReturnsHoweverActorEnds(t *testing.T) {
	asked := func(reply func(string)) testMessage { return asks{reply} }
	never := func(func(string)) testMessage { return say("what?") }
	for name, c := range map[string]struct {
		before   do // sent to the actor before the question
		question func(func(string)) testMessage
		want     error
		after    time.Duration // how long Ask takes
	}{
		"it answers":                     {nil, asked, nil, 0},
		"it crashes at the question":     {nil, func(func(string)) testMessage { return panics("oops") }, ErrCrashed, 0},
		"it crashes before the question": {func(*Ctx[testMessage]) { time.Sleep(time.Second); panic("oops") }, asked, ErrCrashed, time.Second},
		"it stops before the question":   {func(c *Ctx[testMessage]) { time.Sleep(time.Second); c.StopSelf() }, asked, ErrStopped, time.Second},
		"it has stopped":                 {func(c *Ctx[testMessage]) { c.StopSelf() }, asked, ErrStopped, 0},
		"it does not answer in time":     {nil, never, context.DeadlineExceeded, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, Options{}, func(t *testing.T, w *env) {
				child := w.child("child")
				if c.before != nil {
					child.Tell(c.before)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				if _, err := Ask(ctx, child, c.question); !errors.Is(err, c.want) {
					t.Error(err)
				}
				if took := time.Since(begin); took != c.after {
					t.Error("took", took)
				}
			})
		})
	}
	if _, err := Ask(t.Context(), Ref[testMessage]{}, asked); !errors.Is(err, ErrStopped) {
		t.Error("zero Ref:", err)
	}
}

func TestNilMessagePanicsInSender(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		w.child("child").Tell(do(func(c *Ctx[testMessage]) { w.root.Tell(nil) }))
		w.expect(t, `child crashed in receive about "": actorrt: a nil message`)
	})
	Ref[testMessage]{}.Tell(say("discarded"))
}

// faultScheduler crashes the actor at path when it receives the message.
type faultScheduler struct {
	Scheduler
	path    string
	message say
}

func (s faultScheduler) Point(path string, m any) {
	if path == s.path && m == any(s.message) {
		panic("injected")
	}
}

func TestSchedulerCanCrashAnyActor(t *testing.T) {
	withEnv(t, Options{Scheduler: faultScheduler{Live(), "root/child", "b"}}, func(t *testing.T, w *env) {
		child := w.child("child")
		for _, m := range []say{"a", "b", "c"} {
			child.Tell(m)
		}
		w.expect(t, `a, child crashed in receive about "": injected`)
	})
}

func TestTreeShowsEachActor(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		begin := time.Now()
		child := w.child("child")
		child.Tell(panics("oops"))
		synctest.Wait()
		child = w.child("child")
		child.Tell(do(func(c *Ctx[testMessage]) {
			c.Go("work", func(ctx context.Context) testMessage { <-ctx.Done(); return nil })
			c.Log().Info().Msg("working")
			time.Sleep(time.Second)
		}))
		synctest.Wait()
		child.Tell(say("waiting"))
		want := []NodeStatus{{Path: "root", State: Up, Children: []NodeStatus{{
			Path: "root/child", State: Up, Queue: 1, Busy: "actorrt.do", BusySince: begin, Tasks: []string{"work"},
			Crashes: 1, LastCrash: "root/child crashed in receive of actorrt.do: oops", CrashedAt: begin,
		}}}}
		if diff := cmp.Diff(want, w.sys.Tree()); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(w.log.String(), `"actor":"root/child","message":"working"`) {
			t.Error("logged:", &w.log)
		}
		time.Sleep(time.Minute)
	})
}

func TestSystemStopEndsWithContext(t *testing.T) {
	withEnv(t, Options{}, func(t *testing.T, w *env) {
		w.child("child").Tell(do(func(*Ctx[testMessage]) { time.Sleep(time.Hour) }))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.sys.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop root") {
			t.Error(err)
		}
	})
}
