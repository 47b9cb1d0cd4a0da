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

// order is what actors of these tests understand: they do as they are told.
type order interface{ order() }

type (
	do   func(c *Ctx[order])
	say  string
	asks struct{ reply func(string) }
)

func (do) order()   {}
func (say) order()  {}
func (asks) order() {}

// diary is written by actors and read by the test.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(format string, a ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, a...))
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, ", ")
}

func (d *diary) Write(p []byte) (int, error) {
	d.add("%s", p)
	return len(p), nil
}

// obedient writes what it hears into the diary.
type obedient struct {
	heard         *diary
	onStart, stop do
}

func (o *obedient) Start(c *Ctx[order]) {
	if o.onStart != nil {
		o.onStart(c)
	}
}

func (o *obedient) Receive(c *Ctx[order], m order) {
	switch m := m.(type) {
	case do:
		m(c)
	case say:
		o.heard.add("%s", m)
	case asks:
		m.reply(o.heard.String())
	default:
		o.heard.add("what is %v?", m)
	}
}

func (o *obedient) Stop(c *Ctx[order]) {
	if o.stop != nil {
		o.stop(c)
	}
}

// parent is obedient and watches its children.
type parent struct{ obedient }

func (p *parent) ChildDown(_ *Ctx[order], d Down) {
	if d.Crash == nil {
		p.heard.add("%s stopped", d.Name)
		return
	}
	p.heard.add("%s crashed in %s about %q: %v", d.Name, d.Crash.Where, d.Crash.Subject, d.Crash.Reason)
}

// world is a root that watches, and one child.
type world struct {
	sys   *System
	root  Ref[order]
	heard diary // by root and child
	log   diary
}

func inWorld(t *testing.T, o Options, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		if o.Log.GetLevel() != zerolog.Disabled {
			o.Log = zerolog.New(&w.log)
		}
		w.sys = NewSystem(o)
		var err error
		w.root, err = SpawnRoot(w.sys, Spec[order]{"root", func() Behavior[order] { return &parent{obedient{heard: &w.heard}} }})
		if err != nil {
			t.Fatal(err)
		}
		test(t, w)
		if err := w.sys.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if left := w.sys.Tree(); len(left) > 0 {
			t.Error("left over:", left)
		}
		synctest.Wait()
	})
}

// child spawns an obedient child of the root, and waits until it has started.
func (w *world) child(name string, change ...func(*obedient)) Ref[order] {
	var ref Ref[order]
	w.root.Tell(do(func(c *Ctx[order]) { ref = w.spawn(c, name, change...) }))
	synctest.Wait()
	return ref
}

func (w *world) spawn(c *Ctx[order], name string, change ...func(*obedient)) Ref[order] {
	return Spawn(c, Spec[order]{name, func() Behavior[order] {
		o := &obedient{heard: &w.heard}
		for _, f := range change {
			f(o)
		}
		return o
	}})
}

func (w *world) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := w.heard.String(); got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

func panics(reason string) do { return func(*Ctx[order]) { panic(reason) } }

func TestACrashIsToldToTheParentOnceWithItsPlaceAndSubject(t *testing.T) {
	about := func(next do) do {
		return func(c *Ctx[order]) { c.SetSubject("job 7"); next(c) }
	}
	for where, c := range map[string]struct {
		start, tell do
		want        string
	}{
		"in Start":   {start: about(panics("oops")), want: `kid crashed in start about "job 7": oops`},
		"in Receive": {tell: about(panics("oops")), want: `kid crashed in receive about "job 7": oops`},
		"in a task": {tell: about(func(c *Ctx[order]) {
			c.Go("dig", func(context.Context) order { panic("oops") })
		}), want: `kid crashed in task dig about "job 7": oops`},
		"in a stream": {tell: about(func(c *Ctx[order]) {
			c.Stream("flow", 1, func(_ context.Context, emit func(order) error) order { panic("oops") })
		}), want: `kid crashed in task flow about "job 7": oops`},
		"by a Goexit in a task": {tell: func(c *Ctx[order]) {
			c.Go("dig", func(context.Context) order { runtime.Goexit(); return nil })
		}, want: `kid crashed in task dig about "": goroutine ended by runtime.Goexit`},
		"at a timer": {tell: about(func(c *Ctx[order]) { c.After("t", time.Second, panics("oops")) }),
			want: `kid crashed in receive about "job 7": oops`},
		"at the answer of a task": {tell: about(func(c *Ctx[order]) {
			c.Go("dig", func(context.Context) order { return panics("oops") })
		}), want: `kid crashed in receive about "job 7": oops`},
		"during something else": {tell: about(func(c *Ctx[order]) { c.WithSubject("job 8", func() { panics("oops")(c) }) }),
			want: `kid crashed in receive about "job 8": oops`},
		"after something else": {tell: about(func(c *Ctx[order]) { c.WithSubject("job 8", func() {}); panics("oops")(c) }),
			want: `kid crashed in receive about "job 7": oops`},
		"after a message about something": {tell: about(func(c *Ctx[order]) { c.Self().Tell(panics("oops")) }),
			want: `kid crashed in receive about "": oops`},
	} {
		t.Run(where, func(t *testing.T) {
			var hooked []*Crash
			inWorld(t, Options{OnCrash: func(c *Crash) { hooked = append(hooked, c) }}, func(t *testing.T, w *world) {
				child := w.child("kid", func(o *obedient) { o.onStart = c.start })
				if c.tell != nil {
					child.Tell(c.tell)
				}
				time.Sleep(2 * time.Second)
				w.expect(t, c.want)
				if len(hooked) != 1 || hooked[0].Actor != "root/kid" || len(hooked[0].Stack) == 0 {
					t.Error("hooked:", hooked)
				}
				if n := strings.Count(w.log.String(), "panicked"); n != 1 {
					t.Errorf("logged %d times: %s", n, &w.log)
				}
			})
		})
	}
}

func TestAPanicThatComesTooLateIsLoggedAndChangesNothing(t *testing.T) {
	inWorld(t, Options{OnCrash: func(*Crash) { panic("in the hook") }}, func(t *testing.T, w *world) {
		child := w.child("kid")
		child.Tell(do(func(c *Ctx[order]) {
			c.Go("dig", func(ctx context.Context) order { <-ctx.Done(); panic("in a task of the dead") })
		}))
		synctest.Wait()
		child.Tell(panics("oops"))
		w.expect(t, `kid crashed in receive about "": oops`)
		for _, want := range []string{"oops", "in the hook", "in a task of the dead"} {
			if n := strings.Count(w.log.String(), ": "+want); n != 1 {
				t.Errorf("%q is logged %d times: %s", want, n, &w.log)
			}
		}
	})
}

func TestAPanicWhileStoppingIsLoggedAndChangesNothing(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.child("kid", func(o *obedient) { o.stop = panics("last words") })
		w.root.Tell(do(func(c *Ctx[order]) { c.StopChild("kid") }))
		w.expect(t, "kid stopped")
		if !strings.Contains(w.log.String(), "last words") {
			t.Error("not in the log:", &w.log)
		}
	})
}

func TestStopRunsOnlyInOrderAndBeforeTheChildrenAreStopped(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		last := func(name string) func(*obedient) {
			return func(o *obedient) {
				o.stop = func(c *Ctx[order]) { w.heard.add("%s says bye, context %v", name, c.s.node.ctx.Err()) }
			}
		}
		child := w.child("kid", last("kid"))
		child.Tell(do(func(c *Ctx[order]) { w.spawn(c, "grandchild", last("grandchild")) }))
		child.Tell(do(func(c *Ctx[order]) { c.StopSelf() }))
		w.expect(t, "kid says bye, context <nil>, grandchild says bye, context <nil>, kid stopped")

		w.child("other", last("other")).Tell(panics("oops"))
		synctest.Wait()
		if strings.Contains(w.heard.String(), "other says bye") {
			t.Error("Stop was called after a crash")
		}
	})
}

func TestTheEndOfAnActorWaitsForItsGoroutinesUpToTheGrace(t *testing.T) {
	stops := func(c *Ctx[order]) { c.StopSelf() }
	for name, c := range map[string]struct {
		work, gone time.Duration
		end        do
	}{
		"stopped, they end in time":      {3 * time.Second, 3 * time.Second, stops},
		"stopped, they ignore their end": {time.Minute, 5 * time.Second, stops},
		"crashed, they end in time":      {3 * time.Second, 3 * time.Second, panics("oops")},
		"crashed, they ignore their end": {time.Minute, 5 * time.Second, panics("oops")},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{}, func(t *testing.T, w *world) {
				child, begin := w.child("kid"), time.Now()
				var ended time.Duration
				child.Tell(do(func(child *Ctx[order]) {
					child.Go("dig", func(ctx context.Context) order {
						<-ctx.Done()
						ended = time.Since(begin)
						time.Sleep(c.work)
						return say("answer of the dead")
					})
				}))
				synctest.Wait()
				child.Tell(c.end)
				time.Sleep(c.gone - 1)
				w.expect(t, "")
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if got := w.heard.String(); !strings.HasPrefix(got, "kid ") || strings.Contains(got, "dead") {
					t.Errorf("heard %q, want the end of kid", got)
				}
				if ended != 0 {
					t.Error("the context ended late:", ended)
				}
				time.Sleep(c.work) // a bubble must see all its goroutines end
			})
		})
	}
}

func TestANameIsFreeAfterChildDownAndOldReferencesReachNobody(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		old := w.child("kid")
		old.Tell(panics("oops"))
		old.Tell(say("behind the crash"))
		synctest.Wait()
		successor := w.child("kid")
		old.Tell(say("to the dead"))
		successor.Tell(say("to the living"))
		w.expect(t, `kid crashed in receive about "": oops, to the living`)
		if n := w.sys.Tree()[0].Children[0]; n.Crashes != 1 || !strings.Contains(n.LastCrash, "oops") {
			t.Errorf("%+v", n)
		}
		old.to.stop() // harmless; the bubble would see a goroutine that Proto.Actor starts for it

		w.root.Tell(do(func(c *Ctx[order]) { c.StopChild("kid") }))
		synctest.Wait()
		w.child("kid")
		if n := w.sys.Tree()[0].Children[0]; n.Crashes != 0 {
			t.Errorf("a crash is remembered beyond an orderly stop: %+v", n)
		}
	})
}

func TestADuplicateNameCrashesTheParentAndTheRootIsFatal(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.child("kid")
		w.root.Tell(do(func(c *Ctx[order]) { w.spawn(c, "kid") }))
		synctest.Wait()
		select {
		case err := <-w.sys.Fatal():
			if !strings.Contains(err.Error(), "spawn root/kid: the name is taken") {
				t.Error(err)
			}
		default:
			t.Error("nothing was fatal")
		}
	})
}

func TestAParentThatDoesNotListenCrashesWithItsChild(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		child := w.child("kid")
		child.Tell(do(func(c *Ctx[order]) {
			w.spawn(c, "grandchild", func(o *obedient) {
				o.onStart = func(c *Ctx[order]) { c.SetSubject("job 7"); panic("oops") }
			})
		}))
		w.expect(t, `kid crashed in child grandchild about "job 7": root/kid/grandchild crashed in start: oops`)
	})
}

func TestATimerThatWasCancelledOrArmedAgainNeverDelivers(t *testing.T) {
	for name, c := range map[string]struct {
		then do
		want string
	}{
		"left alone":           {func(*Ctx[order]) {}, "tick"},
		"cancelled":            {func(c *Ctx[order]) { c.Cancel("t") }, ""},
		"armed again":          {func(c *Ctx[order]) { c.After("t", time.Hour, say("tock")) }, ""},
		"armed again, at once": {func(c *Ctx[order]) { c.After("t", 0, say("tock")) }, "tock"},
		"of another key":       {func(c *Ctx[order]) { c.Cancel("u") }, "tick"},
		"crashed":              {panics("oops"), `kid crashed in receive about "": oops`},
	} {
		t.Run(name+" while its message is in the mailbox", func(t *testing.T) {
			inWorld(t, Options{}, func(t *testing.T, w *world) {
				child := w.child("kid")
				child.Tell(do(func(child *Ctx[order]) {
					child.After("t", time.Second, say("tick"))
					time.Sleep(2 * time.Second) // its message is behind this turn now
					c.then(child)
				}))
				time.Sleep(time.Minute)
				w.expect(t, c.want)
			})
		})
	}
}

func TestATaskThatIsOverDeliversNothing(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		child := w.child("kid")
		child.Tell(do(func(c *Ctx[order]) {
			c.Go("silent", func(context.Context) order { return nil })
			c.Go("kept", func(context.Context) order { time.Sleep(time.Second); return say("kept") })
			gone := c.Go("dropped", func(context.Context) order { time.Sleep(time.Second); return say("dropped") })
			time.Sleep(2 * time.Second) // the answers are behind this turn now
			gone.Cancel()
		}))
		time.Sleep(time.Minute)
		w.expect(t, "kept")
		if w.log.String() != "" {
			t.Error("logged:", &w.log)
		}
	})
}

func TestATaskWhoseContextHasEndedDoesNotBegin(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	inWorld(t, Options{Context: ended}, func(t *testing.T, w *world) {
		w.child("kid").Tell(do(func(c *Ctx[order]) {
			c.Go("dig", func(context.Context) order { w.heard.add("begun"); return nil })
		}))
		w.expect(t, "")
	})
}

func TestAnActorThatIsOverHearsNothingWhileItsChildrenEnd(t *testing.T) {
	for name, end := range map[string]do{"stopped": func(c *Ctx[order]) { c.StopSelf() }, "crashed": panics("oops")} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{}, func(t *testing.T, w *world) {
				child := w.child("kid")
				child.Tell(do(func(child *Ctx[order]) {
					w.spawn(child, "grandchild", func(o *obedient) {
						o.onStart = func(c *Ctx[order]) {
							c.Go("dig", func(ctx context.Context) order { <-ctx.Done(); time.Sleep(time.Second); return nil })
						}
					})
				}))
				synctest.Wait()
				child.Tell(do(func(c *Ctx[order]) {
					c.Self().Tell(end)
					for range 3 { // they are behind the end
						c.Self().Tell(say("too late"))
					}
				}))
				w.expect(t, "")
				time.Sleep(time.Second)
				synctest.Wait()
				if got := w.heard.String(); !strings.HasPrefix(got, "kid "+name) {
					t.Errorf("heard %q", got)
				}
			})
		})
	}
}

func TestAStreamFeelsThePaceOfItsActor(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		child, emitted := w.child("kid"), 0
		child.Tell(do(func(c *Ctx[order]) {
			c.Stream("flow", 4, func(ctx context.Context, emit func(order) error) order {
				for ; emit(do(func(*Ctx[order]) { time.Sleep(time.Second) })) == nil; emitted++ {
				}
				return say("answer of the dead")
			})
		}))
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		// Ten are done, and of the window of four one is in hand.
		if emitted != 14 {
			t.Error("emitted", emitted)
		}
		if n := w.sys.Tree()[0].Children[0]; n.Queue != 3 || fmt.Sprint(n.Tasks) != "[flow]" || n.Busy != "actorrt.do" {
			t.Errorf("%+v", n)
		}
		child.Tell(do(func(c *Ctx[order]) { c.StopSelf() }))
		time.Sleep(time.Minute)
		w.expect(t, "kid stopped")
	})
}

func TestTheMessagesOfOneSenderArriveInOrder(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		const senders, each = 4, 10_000
		child, next, wrong := w.child("kid"), [senders]int{}, 0
		var senderGroup sync.WaitGroup
		for s := range senders {
			senderGroup.Go(func() {
				for n := range each {
					child.Tell(do(func(*Ctx[order]) {
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

func TestAskIsAnsweredWheneverTheActorEnds(t *testing.T) {
	asked := func(reply func(string)) order { return asks{reply} }
	never := func(func(string)) order { return say("what?") }
	for name, c := range map[string]struct {
		history do // message to the actor before
		mk      func(func(string)) order
		want    error
		after   time.Duration
	}{
		"with an answer":                         {nil, asked, nil, 0},
		"it crashes at the question":             {nil, func(func(string)) order { return panics("oops") }, ErrCrashed, 0},
		"it crashes before the question":         {func(*Ctx[order]) { time.Sleep(time.Second); panic("oops") }, asked, ErrCrashed, time.Second},
		"it stops before the question":           {func(c *Ctx[order]) { time.Sleep(time.Second); c.StopSelf() }, asked, ErrStopped, time.Second},
		"it has stopped":                         {func(c *Ctx[order]) { c.StopSelf() }, asked, ErrStopped, 0},
		"it does not answer and the caller goes": {nil, never, context.DeadlineExceeded, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Options{}, func(t *testing.T, w *world) {
				child := w.child("kid")
				if c.history != nil {
					child.Tell(c.history)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				if _, err := Ask(ctx, child, c.mk); !errors.Is(err, c.want) {
					t.Error(err)
				}
				if took := time.Since(begin); took != c.after {
					t.Error("took", took)
				}
			})
		})
	}
	if _, err := Ask(t.Context(), Ref[order]{}, asked); !errors.Is(err, ErrStopped) {
		t.Error("nobody:", err)
	}
}

func TestANilMessagePanicsInItsSender(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.child("kid").Tell(do(func(c *Ctx[order]) { w.root.Tell(nil) }))
		w.expect(t, `kid crashed in receive about "": actorrt: a nil message`)
	})
	Ref[order]{}.Tell(say("discarded"))
}

// striker panics at every message to the actor at path that is say(at).
type striker struct {
	Scheduler
	path string
	at   say
}

func (s striker) Point(path string, m any) {
	if path == s.path && m == any(s.at) {
		panic("struck")
	}
}

func TestASchedulerOfATestStrikesAnyActorAtAnyMessage(t *testing.T) {
	inWorld(t, Options{Scheduler: striker{Live(), "root/kid", "b"}}, func(t *testing.T, w *world) {
		child := w.child("kid")
		for _, m := range []say{"a", "b", "c"} {
			child.Tell(m)
		}
		w.expect(t, `a, kid crashed in receive about "": struck`)
	})
}

func TestTheTreeShowsWhatEveryActorDoes(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		begin := time.Now()
		child := w.child("kid")
		child.Tell(panics("oops"))
		synctest.Wait()
		child = w.child("kid")
		child.Tell(do(func(c *Ctx[order]) {
			c.Go("dig", func(ctx context.Context) order { <-ctx.Done(); return nil })
			c.Log().Info().Msg("digging")
			time.Sleep(time.Second)
		}))
		synctest.Wait()
		child.Tell(say("waiting"))
		want := []NodeStatus{{Path: "root", State: Up, Children: []NodeStatus{{
			Path: "root/kid", State: Up, Queue: 1, Busy: "actorrt.do", BusySince: begin, Tasks: []string{"dig"},
			Crashes: 1, LastCrash: "root/kid crashed in receive of actorrt.do: oops", CrashedAt: begin,
		}}}}
		if diff := cmp.Diff(want, w.sys.Tree()); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(w.log.String(), `"actor":"root/kid","message":"digging"`) {
			t.Error("logged:", &w.log)
		}
		time.Sleep(time.Minute)
	})
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	inWorld(t, Options{}, func(t *testing.T, w *world) {
		w.child("kid").Tell(do(func(*Ctx[order]) { time.Sleep(time.Hour) }))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.sys.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop root") {
			t.Error(err)
		}
	})
}
