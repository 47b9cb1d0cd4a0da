package fakes

import (
	"context"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

// ModeVariable tells a plugin whether to stay.
const ModeVariable = "EXECUTOR_EXECUTION_MODE"

// PickUp is what the SDKs print when they go for a job that is not their first.
const PickUp = "Detected input context value change"

// Step is between two things that a plugin does: nothing takes no time at all.
const Step = time.Millisecond

// Plugin is the program of an image, in the manner of the Go SDK. Its zero value does as it is told.
type Plugin struct {
	StartsIn      time.Duration // until it asks
	NeverAsks     bool          // it lives and does nothing
	DiesAtStart   int           // exit code; zero: it does not
	SettlesIn     time.Duration // after a result, until it asks again
	HangsAfter    bool          // after a result it does nothing any more
	ExitsAfter    int           // after a result it exits with this code; zero: as its mode wants
	IgnoresAbort  bool          // SIGABRT has no effect; else it ends the job with a result of 134
	IgnoresTerm   bool          // SIGTERM has no effect; else the process dies without a result
	AbortsIn      time.Duration // from SIGABRT to its result
	GreetsOnStart string        // a line, before it asks for anything
	MuttersAfter  time.Duration // a line, when it has waited so long for a job; zero: none
	SDK           msg.SDK       // as the gateway recognises it; empty: it does not
}

// Program makes the plugin come to site.
func (p Plugin) Program(site *Site) fake.Program {
	return fake.Program{Run: func(ctx context.Context, w *fake.World) int {
		v := &visitor{Plugin: p, site: site, world: w}
		return v.live(ctx)
	}}
}

// visitor is a plugin in one executor.
type visitor struct {
	Plugin
	site  *Site
	world *fake.World
}

const died = 255

func (v *visitor) id() msg.ExecutorID { return v.world.Spec.ID }

func (v *visitor) live(ctx context.Context) int {
	if v.GreetsOnStart != "" {
		v.world.Print(v.GreetsOnStart + "\n")
	}
	if code, over := v.wait(ctx, v.StartsIn+Step); over {
		return code
	}
	if v.DiesAtStart != 0 {
		return v.DiesAtStart
	}
	v.site.introduce(v.id(), v.SDK)
	if v.NeverAsks {
		return v.forever(ctx)
	}
	for {
		in, code, over := v.ask(ctx)
		if over {
			return code
		}
		if code, over := v.run(ctx, in); over {
			return code
		}
		if code, over := v.rest(ctx); over {
			return code
		}
	}
}

// ask waits for a job; SIGTERM ends the process meanwhile, SIGABRT does nothing.
func (v *visitor) ask(ctx context.Context) (in given, code int, over bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		in  given
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		in, err := v.site.ask(ctx, v.id())
		answers <- answer{in, err}
	}()
	var mutter <-chan time.Time
	if v.MuttersAfter > 0 {
		mutter = time.After(v.MuttersAfter)
	}
	for {
		select {
		case <-mutter:
			v.world.Print("nobody comes\n")
		case a := <-answers:
			return a.in, died, a.err != nil
		case s := <-v.world.Signals:
			if s == msg.SIGTERM && !v.IgnoresTerm {
				cancel()
				<-answers
				return given{}, 143, true
			}
		}
	}
}

// run does one job; over: the process has ended with it.
func (v *visitor) run(ctx context.Context, in given) (code int, over bool) {
	v.site.begin(Run{Execution: in.execution, Executor: v.id(), Image: v.world.Spec.Labels["runnerd.image"]})
	errand, err := readErrand(in.key, in.input)
	if err != nil {
		v.site.add("contract: %s cannot be read by the plugin: %v", in.execution, err)
		return 2, true
	}
	for _, line := range errand.Prints {
		v.world.Print(line + "\n")
		if err := pass(ctx, Step); err != nil {
			return died, true
		}
	}
	result, code, over := v.work(ctx, errand)
	if over {
		return code, true
	}
	v.site.deliver(v.id(), in, resultOf(in.key, result), errand)
	for _, line := range errand.Trails {
		if err := pass(ctx, Step); err != nil {
			return died, true
		}
		v.world.Print(line + "\n")
	}
	return 0, false
}

// work takes its time, and hears signals.
func (v *visitor) work(ctx context.Context, e Errand) (result, code int, over bool) {
	var done <-chan time.Time
	if !e.Hangs {
		done = time.After(e.Works + Step)
	}
	for {
		select {
		case <-done:
			return e.ExitCode, e.Dies, e.Dies != 0
		case <-ctx.Done():
			return 0, died, true
		case s := <-v.world.Signals:
			switch {
			case s == msg.SIGABRT && !v.IgnoresAbort:
				return 134, died, pass(ctx, v.AbortsIn) != nil
			case s == msg.SIGTERM && !v.IgnoresTerm:
				return 0, 143, true
			}
		}
	}
}

// rest is what comes between two jobs.
func (v *visitor) rest(ctx context.Context) (code int, over bool) {
	switch {
	case v.HangsAfter:
		return v.forever(ctx), true
	case v.ExitsAfter != 0:
		_ = pass(ctx, Step)
		return v.ExitsAfter, true
	case v.world.Spec.Env[ModeVariable] != string(msg.Daemon):
		return 0, true
	}
	if code, over := v.wait(ctx, v.SettlesIn+Step); over {
		return code, true
	}
	v.world.Print(PickUp + "\n")
	return 0, false
}

func (v *visitor) forever(ctx context.Context) int {
	code, _ := v.wait(ctx, 1<<62)
	return code
}

// wait lets time go by, unless SIGTERM or the end comes first.
func (v *visitor) wait(ctx context.Context, d time.Duration) (code int, over bool) {
	done := time.After(d)
	for {
		select {
		case <-done:
			return 0, false
		case <-ctx.Done():
			return died, true
		case s := <-v.world.Signals:
			if s == msg.SIGTERM && !v.IgnoresTerm {
				return 143, true
			}
		}
	}
}
