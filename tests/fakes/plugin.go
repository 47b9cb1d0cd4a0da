package fakes

import (
	"context"
	"regexp"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

// ModeVariable tells a plugin whether to stay.
const ModeVariable = "EXECUTOR_EXECUTION_MODE"

// PickUp is what the SDKs print when they go for a job that is not their first.
const PickUp = "Detected input context value change"

// receipt is what the runner puts before a line: no plugin here says the time.
var receipt = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z `)

// Said is what a job's plugin printed about it, by its log. timed: each line of the log begins with its time, once.
func Said(log string) (text string, timed bool) {
	text = receipt.ReplaceAllString(log, "")
	timed = len(log)-len(text) == (strings.Count(strings.TrimSuffix(log, "\n"), "\n")+min(len(log), 1))*len("2006-01-02T15:04:05.000Z ")
	return strings.ReplaceAll(text, PickUp+"\n", ""), timed
}

// Step is between two things that a plugin does: nothing takes no time at all.
const Step = time.Millisecond

// Plugin is the program of an image, in the manner of the Go SDK, or of the Python SDK. Its zero value does as it is told.
type Plugin struct {
	StartsIn      time.Duration // until it asks
	NeverAsks     bool          // it lives and does nothing
	DiesAtStart   int           // exit code; zero: it does not
	Respawns      bool          // its container's first process starts it again when it has ended, until a signal comes; and it crashes
	SettlesIn     time.Duration // after a result, until it asks again
	HangsAfter    bool          // after a result it does nothing any more
	ExitsAfter    int           // after a result it exits with this code; zero: as its mode wants
	IgnoresAbort  bool          // SIGABRT has no effect, as in Python; else it ends the job with a result of 134
	IgnoresTerm   bool          // SIGTERM has no effect; else the process dies without a result, in Python it delivers one of 1
	AbortsIn      time.Duration // from the signal to its result
	GreetsOnStart string        // a line, before it asks for anything
	MuttersAfter  time.Duration // a line, when it has waited so long for a job; zero: none
	SDK           msg.SDK       // as the gateway recognises it; empty: it does not
}

// Program makes the plugin come to site.
func (p Plugin) Program(site *Site) fake.Program {
	return fake.Program{Run: func(ctx context.Context, w *fake.World) int {
		site.enter(w)
		defer site.leave(w)
		for {
			v := &visitor{Plugin: p, site: site, World: w}
			code := v.live(ctx)
			site.stage.Do("hang up", v.hangUp)
			if code != crashed || ctx.Err() != nil {
				return code
			}
		}
	}}
}

// crashed is the exit code of a process that is started again.
const crashed = 139

// visitor is a plugin in one executor.
type visitor struct {
	Plugin
	*fake.World
	site *Site
	last given // the newest job that it ran; none: the first is to come

	listens listening
	getting *request  // its newest GET
	mutters time.Time // zero: not any more
}

const died = 255

func (v *visitor) python() bool { return v.SDK == msg.PythonSDK }

func (v *visitor) live(ctx context.Context) int {
	if v.GreetsOnStart != "" {
		v.Print(v.GreetsOnStart + "\n")
	}
	if code, over := v.pause(ctx, v.StartsIn+Step); over {
		return code
	}
	if v.DiesAtStart != 0 {
		return v.DiesAtStart
	}
	v.site.stage.Do("introduce", func() { v.site.introduce(v.Spec.ID, v.SDK) })
	if v.NeverAsks {
		return v.forever(ctx)
	}
	for {
		if v.MuttersAfter > 0 {
			v.mutters = time.Now().Add(v.MuttersAfter)
		}
		in, code, over := v.ask(ctx)
		if over {
			return code
		}
		if code, over := v.run(ctx, in); over {
			return code
		}
		v.last = in
		if code, over := v.rest(ctx); over {
			return code
		}
	}
}

// run does one job; over: the process has ended with it.
func (v *visitor) run(ctx context.Context, in given) (code int, over bool) {
	v.site.stage.Do("begin", func() {
		v.site.begin(Run{Execution: in.execution, Executor: v.Spec.ID, Image: v.Spec.Labels["runnerd.image"]})
	})
	errand, err := readErrand(in.key, in.input)
	if err != nil {
		v.site.add("contract: %s cannot be read by the plugin: %v", in.execution, err)
		return 2, true
	}
	if v.Respawns && v.site.chance(Crashes) {
		_ = v.passes(ctx, errand.Works/2)
		return crashed, true
	}
	if errand.Fills > 0 {
		v.Fill(errand.Fills)
	}
	if errand.Forks {
		v.Fork()
	}
	for _, line := range errand.Prints {
		v.say(in, line+"\n")
		if v.passes(ctx, max(errand.Every, Step)) != nil {
			return died, true
		}
	}
	result, code, over := v.work(ctx, errand)
	if over {
		return code, true
	}
	v.site.stage.Do("has worked", func() { v.site.hasWorked(v.Spec.ID) })
	fileFirst := v.python() || v.site.chance(FileFirst)
	taken := v.site.deliver(ctx, v.World, in, resultOf(in.key, result), errand, fileFirst)
	if !taken && v.python() && v.site.chance(ReadsURL) {
		if code, over := v.readsURL(ctx, in); over {
			return code, true
		}
	}
	for _, line := range errand.Trails {
		if v.passes(ctx, Step) != nil {
			return died, true
		}
		v.say(in, line+"\n")
	}
	return 0, false
}

// say prints something of a job.
func (v *visitor) say(of given, text string) {
	v.site.stage.Do("say", func() {
		if v.Print(text) {
			v.site.witness().Printed(of.execution, text)
		}
	})
}

// work takes its time, and hears signals.
func (v *visitor) work(ctx context.Context, e Errand) (result, code int, over bool) {
	end := time.Now().Add(e.Works + Step)
	if e.Hangs {
		end = time.Time{}
	}
	stopped := 0
	killed := v.Until(ctx, "work", func() (bool, time.Time) {
		switch s := v.Signal(); {
		case s == msg.SIGABRT && !v.IgnoresAbort && !v.python():
			stopped = 134
		case s == msg.SIGTERM && !v.IgnoresTerm && v.python():
			stopped = 1
		case s == msg.SIGTERM && !v.IgnoresTerm:
			code, over = 143, true
		case end.IsZero() || time.Now().Before(end):
			return false, end
		default:
			result, code, over = e.ExitCode, e.Dies, e.Dies != 0
		}
		return true, end
	})
	if killed == nil && stopped != 0 {
		result, killed = stopped, v.passes(ctx, v.AbortsIn)
	}
	if killed != nil {
		return 0, died, true
	}
	return result, code, over
}

// rest is what comes between two jobs.
func (v *visitor) rest(ctx context.Context) (code int, over bool) {
	switch {
	case v.HangsAfter:
		return v.forever(ctx), true
	case v.ExitsAfter != 0:
		_ = v.passes(ctx, Step)
		return v.ExitsAfter, true
	case v.Spec.Env[ModeVariable] != string(msg.Daemon) && v.site.chance(OddExit):
		return 255, true
	case v.Spec.Env[ModeVariable] != string(msg.Daemon):
		return 0, true
	}
	return v.pause(ctx, v.SettlesIn+Step)
}

func (v *visitor) forever(ctx context.Context) int {
	code, _ := v.pause(ctx, 1<<62)
	return code
}

// pause lets time go by, unless SIGTERM or the end comes first.
func (v *visitor) pause(ctx context.Context, d time.Duration) (code int, over bool) {
	end := time.Now().Add(d)
	if v.Until(ctx, "pause", func() (bool, time.Time) {
		for s := v.Signal(); s != ""; s = v.Signal() {
			code, over = v.dies(s)
		}
		return over || !time.Now().Before(end), end
	}) != nil {
		return died, true
	}
	return code, over
}

// dies is the effect of a signal on a plugin that has no job.
func (v *visitor) dies(s msg.Signal) (code int, dies bool) {
	return 143, s == msg.SIGTERM && !v.IgnoresTerm && !v.python()
}

// passes lets time go by, whatever signals come.
func (v *visitor) passes(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	end := time.Now().Add(d)
	return v.site.stage.Until(ctx, "pass", func() (bool, <-chan struct{}, time.Time) {
		return !time.Now().Before(end), nil, end
	})
}
