package actors_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// point is a place in a turn at which an actor may crash: before or after the n-th message of a type to an actor.
type point struct {
	actor   string
	message string
	after   bool
	n       int
}

func (p point) String() string {
	when := "before"
	if p.after {
		when = "after"
	}
	return fmt.Sprintf("%s crashes %s message %d of type %s", p.actor, when, p.n, p.message)
}

// saboteur is the scheduler of production with a crash at one point, and a list of the points it came by.
type saboteur struct {
	actorrt.Scheduler
	at      point
	poison  func(message any) bool // crashes again and again
	mu      sync.Mutex
	inside  map[string]bool // by path: between the two points of a message
	visited map[point]int
	order   []point
	struck  bool
	next    string // the actor that crashes as soon as it can; "executor": any
}

func newSaboteur(at point) *saboteur {
	return &saboteur{Scheduler: actorrt.Live(), at: at, inside: map[string]bool{}, visited: map[point]int{}}
}

// Float64 is no chance: a history can be had again.
func (s *saboteur) Float64() float64 { return 0.5 }

func (s *saboteur) Point(path string, message any) {
	if s.passes(path, message) {
		panic("sabotage")
	}
}

// passes notes the point, and reports whether it is the one to crash at.
func (s *saboteur) passes(path string, message any) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := point{actor: path, message: strings.TrimPrefix(fmt.Sprintf("%T", message), "messages."), after: s.inside[path]}
	s.inside[path] = !s.inside[path]
	s.visited[p]++
	p.n = s.visited[p]
	s.order = append(s.order, p)
	if s.next != "" && classOf(path) == s.next {
		s.next, s.inside[path] = "", false
		return true
	}
	poisoned := s.poison != nil && p.after && s.poison(message) // by then the actor has said what it is about
	if !poisoned && (p != s.at || s.struck) {
		return false
	}
	s.struck, s.inside[path] = true, false
	return true
}

func (s *saboteur) hasStruck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck
}

// soon lets an actor crash at its next point.
func (s *saboteur) soon(class string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = class
}

func classOf(path string) string {
	if parts := strings.Split(path, "/"); len(parts) < 3 {
		return parts[len(parts)-1]
	}
	return "executor"
}

// day is a history in which every actor hears almost everything that it can hear.
func day(w *world) {
	w.image("other", fakes.Plugin{SettlesIn: 20 * time.Millisecond, AbortsIn: 20 * time.Millisecond})
	w.image("stubborn", fakes.Plugin{IgnoresAbort: true})
	w.image("mute", fakes.Plugin{NeverAsks: true})
	w.server.Script(fakes.Register, fakes.Call{Fails: errNoAnswer})
	w.server.Script(fakes.Events, fakes.Call{Fails: errNoAnswer})
	w.server.Script(fakes.Confirm, fakes.Call{Fails: errNoAnswer}, fakes.Call{}, fakes.Call{Fails: refusal(401, 0)})
	w.server.Script(fakes.Log, fakes.Call{AnswerLost: errNoAnswer})
	w.server.Script(fakes.Finish, fakes.Call{Fails: refusal(500, 0)})
	w.engine.Script(fake.List, fake.Call{Fails: errNoAnswer})
	w.engine.Script(fake.Wait, fake.Call{Takes: 50 * time.Millisecond, Fails: errNoAnswer})
	w.engine.Script(fake.Logs, fake.Call{Takes: 30 * time.Millisecond, Fails: errNoAnswer})
	w.start()
	tasks := map[string]fakes.Task{
		"short":  {Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: 50 * time.Millisecond, Trails: []string{"two"}}},
		"again":  {Image: "plugin", Kind: msg.Script, Errand: fakes.Errand{Prints: []string{"one"}, Works: 20 * time.Millisecond}},
		"long":   {Image: "other", Errand: fakes.Errand{Works: 30 * time.Second, Prints: []string{"one"}}},
		"doomed": {Image: "stubborn", Errand: fakes.Errand{Hangs: true, Prints: []string{"one"}}},
		"mute":   {Image: "mute", Errand: fakes.Errand{}},
		"dies":   {Image: "plugin", Errand: fakes.Errand{Dies: 3}},
	}
	var ids []msg.JobID
	for _, name := range []string{"short", "again", "long", "doomed", "mute", "dies"} {
		ids = append(ids, w.server.Submit(tasks[name]))
	}
	w.until("the doomed one is ours", 3*time.Hour, func() bool { return w.server.Confirmed(ids[3]) })
	w.server.Abort(ids[3], "doomed")
	w.server.Say(msg.Disable{})
	w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: ids[3], Execution: w.server.ExecutionOf(ids[3]), Reason: "doomed"}})
	w.server.Say(msg.Enable{})
	for _, id := range ids {
		w.ends(id)
	}
	for n, want := range []msg.Outcome{msg.Completed, msg.Completed, msg.Completed, msg.Aborted, msg.Failed, msg.Failed} {
		if f, _ := w.server.FinishOf(ids[n]); f.Outcome != want {
			w.t.Errorf("%s is %s (%s), want %s", ids[n], f.Outcome, f.Message, want)
		}
	}
	w.nothingIsLeft()
	w.passes(2 * time.Minute) // of eviction
	w.drain(time.Minute)
	if len(w.alive()) > 0 || len(w.spool.Executors()) > 0 {
		w.t.Errorf("after the drain are left: %v, %v", w.alive(), w.spool.Executors())
	}
	if log, ended := w.logOf(ids[0]); log != "one\ntwo\n" || !ended {
		w.t.Errorf("the log of the short one is %q, ended: %v", log, ended)
	}
}

// aDay runs a day with a crash.
func aDay(t *testing.T, at point) *saboteur {
	s := newSaboteur(at)
	inWorld(t, daemonMode(2), func(w *world) {
		w.scheduler = s
		day(w)
	})
	return s
}

func TestACrashAtAnyPointOfAnyActorLosesNothing(t *testing.T) {
	points := slices.DeleteFunc(aDay(t, point{}).order, func(p point) bool { return p.n > 2 })
	var struck atomic.Int32
	t.Run("day", func(t *testing.T) {
		for _, p := range points {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
				for range 3 { // what happens at one instant has no order, so not every day comes by the point
					if aDay(t, p).struck {
						struck.Add(1)
						return
					}
				}
			})
		}
	})
	if n := int(struck.Load()); n < len(points)*9/10 {
		t.Errorf("only %d of %d points were reached again", n, len(points))
	}
}

func TestAJobOnWhichActorsKeepCrashingIsFailedAndTheOthersRun(t *testing.T) {
	for name, poison := range map[string]func(message any) bool{
		"in its executor": func(m any) bool {
			a, ok := m.(msg.Assign)
			return ok && a.Job.TaskType == "poison"
		},
		"when its result comes": func(m any) bool {
			r, ok := m.(msg.ResultStored)
			return ok && strings.HasPrefix(string(r.Execution), "job2-")
		},
		"while it runs": func(m any) bool {
			l, ok := m.(msg.LogWritten)
			return ok && strings.HasPrefix(string(l.Execution), "job2-")
		},
		"in the dispatcher": func(m any) bool {
			j, ok := m.(msg.JobConfirmed)
			return ok && j.Job.TaskType == "poison"
		},
		"in the reporter": func(m any) bool {
			r, ok := m.(msg.Report)
			return ok && strings.HasPrefix(string(r.Execution), "job2-")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(2), func(w *world) {
				s := newSaboteur(point{})
				s.poison = poison
				w.scheduler = s
				w.start()
				before := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
				bad := w.server.Submit(fakes.Task{Image: "plugin", Type: "poison", Errand: fakes.Errand{Prints: []string{"one"}, Works: 10 * time.Second}})
				after := w.server.Submit(fakes.Task{Image: "plugin"})
				if f := w.ends(bad); f.Outcome != msg.Completed && !strings.Contains(f.Message, "gave this job up") { // a result stands
					t.Errorf("it is %s: %s", f.Outcome, f.Message)
				}
				w.completes(before)
				w.completes(after)
				if !s.struck {
					t.Error("nothing crashed")
				}
			})
		})
	}
}
