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

// fault is a fault or an operator's action that the simulation injects at random times.
type fault struct {
	name     string
	interval time.Duration // average
	inject   func(*env)
}

// faults are all faults. A seed chooses some.
var faults = []fault{
	{"kill -9", 6 * time.Minute, func(e *env) { e.endProcess("kill -9", false, e.rng.IntN(20)) }},
	{"loss of power", 12 * time.Minute, func(e *env) { e.endProcess("loss of power", true, e.rng.IntN(20)) }},
	{"a crash loop", 30 * time.Minute, func(e *env) {
		for n := range 4 {
			e.schedule(time.Duration(n)*e.randomDuration(time.Second, 10*time.Second), "kill -9", func() { e.endProcess("kill -9", false, e.rng.IntN(40)) })
		}
	}},
	{"the process is suspended", 40 * time.Minute, func(e *env) { e.suspendProcess(e.randomDuration(time.Second, 10*time.Minute)) }},
	{"actors panic", 5 * time.Minute, func(e *env) {
		e.raiseRate(time.Minute, &e.conditions.actors, []float64{0.002, 0.01, 0.05}[e.rng.IntN(3)])
	}},
	{"server calls fail", 8 * time.Minute, func(e *env) {
		e.raiseRate(3*time.Minute, &e.conditions.server, []float64{0.05, 0.3, 0.8}[e.rng.IntN(3)])
	}},
	{"the server is down", 20 * time.Minute, func(e *env) {
		e.outage(e.server.Down, errNoAnswer, e.randomDuration(time.Second, 10*time.Minute))
	}},
	{"the server forgets the runner", 20 * time.Minute, func(e *env) { e.conditions.sessionLost = true; e.checker.disturb() }},
	{"engine calls fail", 8 * time.Minute, func(e *env) {
		e.raiseRate(2*time.Minute, &e.conditions.engine, []float64{0.05, 0.3}[e.rng.IntN(2)])
	}},
	{"the engine is down", 20 * time.Minute, func(e *env) {
		e.outage(e.engine.Down, errNoAnswer, e.randomDuration(time.Second, 2*time.Minute))
	}},
	{"the engine is slow", 30 * time.Minute, func(e *env) {
		e.conditions.engineDelay = e.randomDuration(time.Second, 20*time.Second)
		e.checker.disturbFor(5 * time.Minute)
		e.schedule(5*time.Minute, "the engine is fast", func() { e.conditions.engineDelay = 0 })
	}},
	{"the engine delays logs", 10 * time.Minute, func(e *env) {
		e.conditions.logDelay = e.randomDuration(10*time.Millisecond, 4*time.Second)
		e.checker.disturbFor(5 * time.Minute)
		e.schedule(5*time.Minute, "the engine does not delay logs", func() { e.conditions.logDelay = 0 })
	}},
	{"disk operations fail", 10 * time.Minute, func(e *env) {
		e.raiseRate(time.Minute, &e.conditions.disk, []float64{0.01, 0.1, 0.5}[e.rng.IntN(3)])
	}},
	{"the disk is full", 20 * time.Minute, func(e *env) {
		d := e.randomDuration(time.Second, 5*time.Minute)
		e.conditions.diskFull, e.disk.Space = e.chance(0.5), lowWater-1
		e.checker.disturbFor(d)
		e.schedule(d, "the disk has space", func() { e.conditions.diskFull, e.disk.Space = false, math.MaxUint64 })
	}},
	{"connections are cut", 6 * time.Minute, func(e *env) {
		e.raiseRate(2*time.Minute, &e.conditions.plugins, 0.2)
		for n := range e.executorCount {
			if e.chance(0.5) {
				e.host.Cut(msg.ExecutorID(fmt.Sprintf("x%d", n+1)))
			}
		}
	}},
	{"an executor is killed", 5 * time.Minute, func(e *env) {
		e.withRandomExecutor(func(id msg.ExecutorID) { e.engine.EndExecutor(id, msg.Exit{Code: 137, OOM: e.chance(0.5)}) })
	}},
	{"an executor is removed", 15 * time.Minute, func(e *env) {
		e.withRandomExecutor(func(id msg.ExecutorID) { e.checker.setOutputLost(id, "removed"); e.engine.RemoveExecutor(id) })
	}},
	{"an executor is restarted", 10 * time.Minute, func(e *env) {
		e.withRandomExecutor(func(id msg.ExecutorID) { e.checker.setOutputLost(id, "restarted"); e.engine.Restart(id) })
	}},
	{"a job is aborted", 4 * time.Minute, func(e *env) {
		e.withRandomJob(func(a fakes.JobInfo) { e.checker.disturb(); e.server.Abort(a.ID, "unwanted") })
	}},
	{"a job is aborted once", 12 * time.Minute, func(e *env) {
		e.withRandomJob(func(a fakes.JobInfo) { e.checker.disturb(); e.server.AbortOnce(a.ID, "unwanted") })
	}},
	{"a job is stopped by an event", 8 * time.Minute, func(e *env) {
		e.withRandomJob(func(a fakes.JobInfo) { e.stopByEvent(a.ID) })
	}},
	{"a script is stopped at once", 8 * time.Minute, func(e *env) {
		t := e.newTask()
		t.Kind, t.Image, t.Behavior.Duration = msg.Script, "go", e.randomDuration(time.Second, time.Minute)
		id := e.server.Submit(t)
		e.schedule(e.randomDuration(0, 20*time.Millisecond), "stop the script", func() { e.stopByEvent(id) })
	}},
	{"the server disables the runner", 20 * time.Minute, func(e *env) {
		e.serverConfig.Enabled, e.serverConfigSince = false, time.Now()
		e.server.SendEvent(msg.Disable{})
		e.schedule(e.randomDuration(time.Second, 5*time.Minute), "the server enables the runner", func() {
			e.serverConfig.Enabled, e.serverConfigSince = true, time.Now()
			e.server.SendEvent(msg.Enable{})
		})
	}},
	{"a script is offered again", 8 * time.Minute, func(e *env) {
		e.withRandomJob(func(a fakes.JobInfo) {
			process := e.process // the next process registers, and then the server repeats only unconfirmed scripts
			e.schedule(e.randomDuration(0, time.Minute), "offer the script again", func() {
				if a.Kind == msg.Script && a.Confirmed && e.process == process {
					e.server.ResendScript(a.ID)
				}
			})
		})
	}},
	{"an old event is repeated", 6 * time.Minute, func(e *env) { e.server.ResendCommand(e.rng.IntN(5)) }},
	{"an old configuration arrives late", 15 * time.Minute, func(e *env) {
		old := e.serverConfig
		old.Revision--
		old.Enabled, old.Capacity, old.Eviction = !old.Enabled, old.Capacity+1, time.Hour
		e.server.SendEvent(msg.Configure{Config: old})
	}},
	{"the server deletes the runner", 40 * time.Minute, func(e *env) {
		if !e.wiped && !e.server.IsUnregistered() {
			e.server.SendEvent(msg.Delete{})
		}
	}},
	{"the event stream is dead", 30 * time.Minute, func(e *env) {
		e.server.BlockOpenStreams()
		e.checker.disturbFor(time.Minute) // until the runner gives it up and opens another
	}},
	{"the event stream is silent", 20 * time.Minute, func(e *env) {
		d := e.randomDuration(time.Second, 5*time.Minute)
		e.server.SetSilent(true)
		e.checker.disturbFor(d)
		e.schedule(d, "the event stream delivers again", func() { e.server.SetSilent(false) })
	}},
	{"the server forgets a job", 30 * time.Minute, func(e *env) { e.withRandomJob(func(a fakes.JobInfo) { e.checker.disturb(); e.server.Forget(a.ID) }) }},
	{"the configuration changes", 8 * time.Minute, func(e *env) {
		e.serverConfig.Capacity = 1 + e.rng.IntN(4)
		e.serverConfig.Eviction = []time.Duration{0, 5 * time.Second, 20 * time.Second, time.Minute}[e.rng.IntN(4)]
		e.serverConfig.Capabilities = []string{[]string{"remote", "remote-script", "remote-script"}[e.rng.IntN(3)]}
		e.trace.recordf("capacity %d, eviction %v, %v", e.serverConfig.Capacity, e.serverConfig.Eviction, e.serverConfig.Capabilities)
		e.reconfigure()
	}},
	{"an image tag moves", 20 * time.Minute, func(e *env) { e.load("go"); e.checker.disturb() }},
	{"the runner is drained", 15 * time.Minute, (*env).drain},
}

// plugins are the programs of the images, by image.
var plugins = map[string]fakes.Plugin{
	"go":         {SDK: msg.GoSDK, StartDelay: 10 * time.Millisecond},
	"python":     {SDK: msg.PythonSDK, StartDelay: 370 * time.Millisecond, PollDelay: 5 * time.Millisecond},
	"slow":       {SDK: msg.GoSDK, StartDelay: 3 * time.Second, PollDelay: time.Second, AbortDelay: time.Second},
	"odd":        {SDK: msg.GoSDK, ExitCodeAfterJob: 255, StartLine: "good day"},
	"stubborn":   {SDK: msg.GoSDK, IgnoresAbort: true, IgnoresTerm: true},
	"hanging":    {SDK: msg.GoSDK, HangsAfterJob: true},
	"mute":       {NeverPolls: true},
	"broken":     {StartExitCode: 3},
	"restarting": {SDK: msg.GoSDK, RestartsAfterCrash: true},
	"remote":     {SDK: msg.PythonSDK, IdleLineAfter: 5 * time.Second},
}

var images = []string{"go", "go", "go", "go", "python", "python", "python", "slow", "odd", "stubborn", "hanging", "mute", "broken", "restarting", "remote", "missing"}

// load loads an image into the engine. A repeated call moves the tag to a new image.
func (e *env) load(ref string) {
	e.engine.Load(ref, fake.Image{Program: plugins[ref].Program(e.host)})
}

// loadImages loads the images into the engine.
func (e *env) loadImages() {
	for _, ref := range images {
		switch ref {
		case "missing":
		case "remote":
			e.engine.Push(ref, fake.Image{Program: plugins[ref].Program(e.host), PullDelay: 7 * time.Second})
		default:
			e.load(ref)
		}
	}
}

// newTask returns a random task.
func (e *env) newTask() fakes.Task {
	n := e.checker.nextTask()
	secret := fmt.Sprintf("hunter2-of-%d", n)
	t := fakes.Task{
		Image: images[e.rng.IntN(len(images))], Type: "simulated.Task", Secret: secret, Priority: e.rng.IntN(3),
		Behavior: fakes.Behavior{Duration: e.randomDuration(0, []time.Duration{10 * time.Millisecond, time.Second, time.Minute}[e.rng.IntN(3)]), ExitCode: e.rng.IntN(2)},
	}
	if e.chance(0.2) {
		t.Kind = msg.Script
	}
	for line := range 1 + e.rng.IntN(4) { // the SDKs print at least one line for every job
		t.Behavior.Lines = append(t.Behavior.Lines, fmt.Sprintf("job %d line %d", n, line))
	}
	if e.chance(0.5) {
		t.Behavior.Lines = append(t.Behavior.Lines, fmt.Sprintf("job %d knows %s, really", n, secret))
	}
	for line := range e.rng.IntN(3) {
		t.Behavior.TrailingLines = append(t.Behavior.TrailingLines, fmt.Sprintf("job %d trailing line %d", n, line))
	}
	switch e.rng.IntN(20) {
	case 0:
		t.Behavior.DeathCode = 3
	case 1:
		t.Behavior.Hangs, t.Timeout = true, e.randomDuration(10*time.Second, 6*time.Minute)
	case 2, 3:
		t.Behavior.FileOnly = true
	case 4:
		t.Undecryptable = true
	case 5:
		t.InputByURL = true
	case 6:
		t.Behavior.TooLarge = true
	}
	return t
}

// submitTasks submits tasks at random times.
func (e *env) submitTasks(every time.Duration) {
	e.schedule(e.randomInterval(every), "tasks", func() {
		if !e.submitting {
			return
		}
		for range 1 + e.rng.IntN(4) {
			t := e.newTask()
			id := e.server.Submit(t)
			e.trace.recordf("submit %s: %s, duration %v", id, t.Image, t.Behavior.Duration)
		}
		e.submitTasks(every)
	})
}

// scheduleFault injects a fault at random times until stopped is true.
func (e *env) scheduleFault(f fault, stopped *bool) {
	e.schedule(e.randomInterval(f.interval), f.name, func() {
		if *stopped {
			return
		}
		e.checker.count(f.name)
		f.inject(e)
		e.scheduleFault(f, stopped)
	})
}

func (e *env) randomInterval(average time.Duration) time.Duration {
	return time.Duration(e.rng.ExpFloat64() * float64(average))
}

// raiseRate sets a fault rate to value for a random time of at most limit.
func (e *env) raiseRate(limit time.Duration, rate *float64, value float64) {
	*rate = value
	e.schedule(e.randomDuration(time.Second, limit), "fault rate 0", func() { *rate = 0 })
}

func (e *env) outage(down func(error), err error, d time.Duration) {
	down(err)
	e.checker.disturbFor(d)
	e.schedule(d, "end of the outage", func() { down(nil) })
}

// withRandomExecutor injects a fault into a random executor that is alive.
func (e *env) withRandomExecutor(inject func(msg.ExecutorID)) {
	if alive := e.checker.aliveExecutors(); len(alive) > 0 {
		id := alive[e.rng.IntN(len(alive))]
		e.trace.recordf("executor %s", id)
		e.checker.disturb()
		e.checker.killedOutside[id] = true
		inject(id)
	}
}

// withRandomJob calls do with a random job that has no finish.
func (e *env) withRandomJob(do func(fakes.JobInfo)) {
	var open []fakes.JobInfo
	for _, a := range e.server.Jobs() {
		if a.Finish == nil && !a.Forgotten && a.Execution != "" {
			open = append(open, a)
		}
	}
	if len(open) > 0 {
		a := open[e.rng.IntN(len(open))]
		e.trace.recordf("job %s", a.Execution)
		do(a)
	}
}

// reconfigure sends the server's configuration with a new revision.
func (e *env) reconfigure() {
	e.serverConfig.Revision++
	e.serverConfigSince = time.Now()
	e.server.Reconfigure(e.serverConfig)
}

func (e *env) stopByEvent(id msg.JobID) {
	execution := e.server.ExecutionOf(id)
	e.checker.jobStopped(execution)
	e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: execution, Reason: "enough"}})
}

// suspendProcess suspends the process: for d, none of its actions runs.
func (e *env) suspendProcess(d time.Duration) {
	if e.process == nil {
		return
	}
	suspended := e.process
	e.isSuspended = func(a *action) bool { return a.process == suspended }
	e.checker.disturbFor(d)
	e.schedule(d, "the process continues", func() { e.isSuspended = nil })
}

// drain drains the runner. Another start follows unless the runner is shutting down.
func (e *env) drain() {
	if e.sys == nil || e.end != nil {
		return
	}
	e.checker.disturbFor(time.Minute)
	e.root.Tell(msg.Drain{Done: e.exitOnce(func() {})})
}

// exitOnce returns a function that ends the process in an orderly way, at its first call. last runs just before the exit.
func (e *env) exitOnce(last func()) func() {
	process, sys := e.process, e.sys
	return func() {
		if process.exiting {
			return
		}
		process.exiting = true
		process.Task("main", 1, func() {
			if err := sys.Stop(process.ctx); err == nil {
				e.Do("exit 0", func() {
					last()
					e.endProcess("exit 0", false, 0)
				})
			}
		})
	}
}
