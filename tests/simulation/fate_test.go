package simulation

import (
	"fmt"
	"math"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

const lowWater = 1 << 20

// blow is something that befalls a runner now and then.
type blow struct {
	name  string
	every time.Duration // on average
	fall  func(*world)
}

// blows are all there are; a seed chooses some.
var blows = []blow{
	{"kill -9", 6 * time.Minute, func(w *world) { w.dies("kill -9", false, w.rng.IntN(20)) }},
	{"loss of power", 12 * time.Minute, func(w *world) { w.dies("loss of power", true, w.rng.IntN(20)) }},
	{"a crash loop", 30 * time.Minute, func(w *world) {
		for n := range 4 {
			w.in(time.Duration(n)*w.between(time.Second, 10*time.Second), "kill again", func() { w.dies("kill -9", false, w.rng.IntN(40)) })
		}
	}},
	{"the process is stopped", 40 * time.Minute, func(w *world) { w.freeze(w.between(time.Second, 10*time.Minute)) }},
	{"actors panic", 5 * time.Minute, func(w *world) {
		w.forAWhile(time.Minute, &w.mood.actors, []float64{0.002, 0.01, 0.05}[w.rng.IntN(3)])
	}},
	{"the server is bad", 8 * time.Minute, func(w *world) {
		w.forAWhile(3*time.Minute, &w.mood.server, []float64{0.05, 0.3, 0.8}[w.rng.IntN(3)])
	}},
	{"the server is away", 20 * time.Minute, func(w *world) {
		w.trouble(w.server.Down, errNoAnswer, w.between(time.Second, 10*time.Minute))
	}},
	{"the server forgets the runner", 20 * time.Minute, func(w *world) { w.mood.session = true; w.oracle.trouble() }},
	{"the engine is bad", 8 * time.Minute, func(w *world) {
		w.forAWhile(2*time.Minute, &w.mood.engine, []float64{0.05, 0.3}[w.rng.IntN(2)])
	}},
	{"the engine is away", 20 * time.Minute, func(w *world) {
		w.trouble(w.engine.Down, errNoAnswer, w.between(time.Second, 2*time.Minute))
	}},
	{"the engine is slow", 30 * time.Minute, func(w *world) {
		w.mood.slow = w.between(time.Second, 20*time.Second)
		w.oracle.troubleFor(5 * time.Minute)
		w.in(5*time.Minute, "the engine is quick", func() { w.mood.slow = 0 })
	}},
	{"the engine is late with what is printed", 10 * time.Minute, func(w *world) {
		w.mood.late = w.between(10*time.Millisecond, 4*time.Second)
		w.oracle.troubleFor(5 * time.Minute)
		w.in(5*time.Minute, "the engine keeps up", func() { w.mood.late = 0 })
	}},
	{"the disk is bad", 10 * time.Minute, func(w *world) {
		w.forAWhile(time.Minute, &w.mood.disk, []float64{0.01, 0.1, 0.5}[w.rng.IntN(3)])
	}},
	{"the disk is full", 20 * time.Minute, func(w *world) {
		d := w.between(time.Second, 5*time.Minute)
		w.mood.diskFull, w.disk.Space = w.chance(0.5), lowWater-1
		w.oracle.troubleFor(d)
		w.in(d, "the disk has room", func() { w.mood.diskFull, w.disk.Space = false, math.MaxUint64 })
	}},
	{"connections are cut", 6 * time.Minute, func(w *world) {
		w.forAWhile(2*time.Minute, &w.mood.plugins, 0.2)
		for n := range w.ids {
			if w.chance(0.5) {
				w.site.Cut(msg.ExecutorID(fmt.Sprintf("x%d", n+1)))
			}
		}
	}},
	{"an executor is killed", 5 * time.Minute, func(w *world) {
		w.strike(func(id msg.ExecutorID) { w.engine.Fell(id, msg.Exit{Code: 137, OOM: w.chance(0.5)}) })
	}},
	{"an executor is removed", 15 * time.Minute, func(w *world) {
		w.strike(func(id msg.ExecutorID) { w.oracle.lossy(id, "removed"); w.engine.Vanish(id) })
	}},
	{"an executor is restarted", 10 * time.Minute, func(w *world) {
		w.strike(func(id msg.ExecutorID) { w.oracle.lossy(id, "restarted"); w.engine.Restart(id) })
	}},
	{"a job is aborted", 4 * time.Minute, func(w *world) {
		w.pick(func(a fakes.Account) { w.oracle.trouble(); w.server.Abort(a.ID, "unwanted") })
	}},
	{"a job is aborted once", 12 * time.Minute, func(w *world) {
		w.pick(func(a fakes.Account) { w.oracle.trouble(); w.server.AbortOnce(a.ID, "unwanted") })
	}},
	{"a job is stopped by an event", 8 * time.Minute, func(w *world) {
		w.pick(func(a fakes.Account) { w.sayStop(a.ID) })
	}},
	{"a script is stopped before it is there", 8 * time.Minute, func(w *world) {
		t := w.task()
		t.Kind, t.Image, t.Errand.Works = msg.Script, "go", w.between(time.Second, time.Minute)
		id := w.server.Submit(t)
		w.in(w.between(0, 20*time.Millisecond), "it is stopped", func() { w.sayStop(id) })
	}},
	{"the intake is closed", 20 * time.Minute, func(w *world) {
		w.wanted.Enabled, w.said = false, time.Now()
		w.server.Say(msg.Disable{})
		w.in(w.between(time.Second, 5*time.Minute), "the intake is open", func() {
			w.wanted.Enabled, w.said = true, time.Now()
			w.server.Say(msg.Enable{})
		})
	}},
	{"a script comes again", 8 * time.Minute, func(w *world) {
		w.pick(func(a fakes.Account) {
			life := w.life // the next one has registered since, and the server says again only what is not confirmed
			w.in(w.between(0, time.Minute), "the script comes again", func() {
				if a.Kind == msg.Script && a.Confirmed && w.life == life {
					w.server.SayAgain(a.ID)
				}
			})
		})
	}},
	{"a command comes late once more", 6 * time.Minute, func(w *world) { w.server.SayLate(w.rng.IntN(5)) }},
	{"an old configuration comes late", 15 * time.Minute, func(w *world) {
		old := w.wanted
		old.Revision--
		old.Enabled, old.Capacity, old.Eviction = !old.Enabled, old.Capacity+1, time.Hour
		w.server.Say(msg.Configure{Config: old})
	}},
	{"the server deletes the runner", 40 * time.Minute, func(w *world) {
		if !w.wiped && !w.server.HasLeft() {
			w.server.Say(msg.Delete{})
		}
	}},
	{"the channel is dead", 30 * time.Minute, func(w *world) {
		w.server.Deafen()
		w.oracle.troubleFor(time.Minute) // until it is given up, and opened anew
	}},
	{"the channel is silent", 20 * time.Minute, func(w *world) {
		d := w.between(time.Second, 5*time.Minute)
		w.server.FallSilent(true)
		w.oracle.troubleFor(d)
		w.in(d, "the channel speaks", func() { w.server.FallSilent(false) })
	}},
	{"a job is forgotten", 30 * time.Minute, func(w *world) { w.pick(func(a fakes.Account) { w.oracle.trouble(); w.server.Forget(a.ID) }) }},
	{"settings change", 8 * time.Minute, func(w *world) {
		w.wanted.Capacity = 1 + w.rng.IntN(4)
		w.wanted.Eviction = []time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute}[w.rng.IntN(4)]
		w.wanted.Capabilities = []string{[]string{"remote", "remote-script", "remote-script"}[w.rng.IntN(3)]}
		w.trace.note("capacity %d, eviction %v, %v", w.wanted.Capacity, w.wanted.Eviction, w.wanted.Capabilities)
		w.reconfigures()
	}},
	{"an image moves", 20 * time.Minute, func(w *world) { w.load("go"); w.oracle.trouble() }},
	{"the runner is stopped in order", 15 * time.Minute, (*world).stop},
}

// plugins are the images.
var plugins = map[string]fakes.Plugin{
	"go":       {SDK: msg.GoSDK, StartsIn: 10 * time.Millisecond},
	"python":   {SDK: msg.PythonSDK, StartsIn: 370 * time.Millisecond, SettlesIn: 5 * time.Millisecond},
	"slow":     {SDK: msg.GoSDK, StartsIn: 3 * time.Second, SettlesIn: time.Second, AbortsIn: time.Second},
	"odd":      {SDK: msg.GoSDK, ExitsAfter: 255, GreetsOnStart: "good day"},
	"stubborn": {SDK: msg.GoSDK, IgnoresAbort: true, IgnoresTerm: true},
	"hanging":  {SDK: msg.GoSDK, HangsAfter: true},
	"mute":     {NeverAsks: true},
	"broken":   {DiesAtStart: 3},
	"reviving": {SDK: msg.GoSDK, Respawns: true},
	"remote":   {SDK: msg.PythonSDK, MuttersAfter: 5 * time.Second},
}

var images = []string{"go", "go", "go", "go", "python", "python", "python", "slow", "odd", "stubborn", "hanging", "mute", "broken", "reviving", "remote", "missing"}

func (w *world) load(ref string) {
	w.engine.Load(ref, fake.Image{Program: plugins[ref].Program(w.site)})
}

// furnish brings the images.
func (w *world) furnish() {
	for _, ref := range images {
		switch ref {
		case "missing":
		case "remote":
			w.engine.Push(ref, fake.Image{Program: plugins[ref].Program(w.site), PullTakes: 7 * time.Second})
		default:
			w.load(ref)
		}
	}
}

// task is what somebody wants done.
func (w *world) task() fakes.Task {
	n := w.oracle.nextTask()
	secret := fmt.Sprintf("hunter2-of-%d", n)
	t := fakes.Task{
		Image: images[w.rng.IntN(len(images))], Type: "simulated.Task", Secret: secret, Priority: w.rng.IntN(3),
		Errand: fakes.Errand{Works: w.between(0, []time.Duration{10 * time.Millisecond, time.Second, time.Minute}[w.rng.IntN(3)]), ExitCode: w.rng.IntN(2)},
	}
	if w.chance(0.2) {
		t.Kind = msg.Script
	}
	for line := range 1 + w.rng.IntN(4) { // the SDKs print something for every job
		t.Errand.Prints = append(t.Errand.Prints, fmt.Sprintf("job %d line %d", n, line))
	}
	if w.chance(0.5) {
		t.Errand.Prints = append(t.Errand.Prints, fmt.Sprintf("job %d knows %s, really", n, secret))
	}
	for line := range w.rng.IntN(3) {
		t.Errand.Trails = append(t.Errand.Trails, fmt.Sprintf("job %d trails %d", n, line))
	}
	switch w.rng.IntN(20) {
	case 0:
		t.Errand.Dies = 3
	case 1:
		t.Errand.Hangs, t.Timeout = true, w.between(10*time.Second, 6*time.Minute)
	case 2, 3:
		t.Errand.FileOnly = true
	case 4:
		t.Unreadable = true
	case 5:
		t.Fetched = true
	case 6:
		t.Errand.TooLarge = true
	}
	return t
}

// brings submits tasks now and then.
func (w *world) brings(every time.Duration) {
	w.in(w.soon(every), "tasks", func() {
		if !w.submits {
			return
		}
		for range 1 + w.rng.IntN(4) {
			t := w.task()
			id := w.server.Submit(t)
			w.trace.note("submit %s: %s works %v", id, t.Image, t.Errand.Works)
		}
		w.brings(every)
	})
}

// awaits a blow, and the next after it, until it is over.
func (w *world) awaits(b blow, over *bool) {
	w.in(w.soon(b.every), b.name, func() {
		if *over {
			return
		}
		w.oracle.hit(b.name)
		b.fall(w)
		w.awaits(b, over)
	})
}

func (w *world) soon(average time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(average))
}

func (w *world) forAWhile(most time.Duration, of *float64, odds float64) {
	*of = odds
	w.in(w.between(time.Second, most), "relief", func() { *of = 0 })
}

func (w *world) trouble(down func(error), err error, d time.Duration) {
	down(err)
	w.oracle.troubleFor(d)
	w.in(d, "it is back", func() { down(nil) })
}

// strike lets something happen to an executor that lives.
func (w *world) strike(how func(msg.ExecutorID)) {
	if alive := w.oracle.living(); len(alive) > 0 {
		id := alive[w.rng.IntN(len(alive))]
		w.trace.note("it is %s", id)
		w.oracle.trouble()
		w.oracle.struck[id] = true
		how(id)
	}
}

// pick chooses a job that has no finish yet.
func (w *world) pick(do func(fakes.Account)) {
	var open []fakes.Account
	for _, a := range w.server.Accounts() {
		if a.Finish == nil && !a.Forgotten && a.Execution != "" {
			open = append(open, a)
		}
	}
	if len(open) > 0 {
		a := open[w.rng.IntN(len(open))]
		w.trace.note("it is %s", a.Execution)
		do(a)
	}
}

// reconfigures says what is wanted.
func (w *world) reconfigures() {
	w.wanted.Revision++
	w.said = time.Now()
	w.server.Reconfigure(w.wanted)
}

func (w *world) sayStop(id msg.JobID) {
	execution := w.server.ExecutionOf(id)
	w.oracle.stops(execution)
	w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: execution, Reason: "enough"}})
}

// freeze stops the process: none of its deeds is done for a while, and the world goes on.
func (w *world) freeze(d time.Duration) {
	if w.life == nil {
		return
	}
	frozen := w.life
	w.holds = func(d *deed) bool { return d.life == frozen }
	w.oracle.troubleFor(d)
	w.in(d, "the process goes on", func() { w.holds = nil })
}

// stop drains the runner, and starts it again.
func (w *world) stop() {
	if w.sys == nil || w.end != nil {
		return
	}
	w.oracle.troubleFor(time.Minute)
	w.root.Tell(msg.Drain{Done: w.exits(func() {})})
}

// exits is what ends the process in order, once.
func (w *world) exits(last func()) func() {
	life, sys := w.life, w.sys
	return func() {
		if life.exits {
			return
		}
		life.exits = true
		life.Task("main", 1, func() {
			if err := sys.Stop(life.ctx); err == nil {
				w.Do("exit 0", func() {
					last()
					w.dies("exit 0", false, 0)
				})
			}
		})
	}
}
