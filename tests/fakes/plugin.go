package fakes

import (
	"context"
	"regexp"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

// ModeVariable is the environment variable that sets a plugin's mode: whether it exits or stays after its job.
const ModeVariable = "EXECUTOR_EXECUTION_MODE"

// PickUpLine is the line that the SDKs print before they get a job that is not their first.
const PickUpLine = "Detected input context value change"

// timestamp matches the time that the runner puts before each line. No plugin here prints a time in this format.
var timestamp = regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z `)

// JobOutput returns what the plugin printed for a job, from the job's log. timed reports whether each line of the log begins with exactly
// one time.
func JobOutput(log string) (text string, timed bool) {
	text = timestamp.ReplaceAllString(log, "")
	timed = len(log)-len(text) == (strings.Count(strings.TrimSuffix(log, "\n"), "\n")+min(len(log), 1))*len("2006-01-02T15:04:05.000Z ")
	return strings.ReplaceAll(text, PickUpLine+"\n", ""), timed
}

// StepTime is the minimum time between two actions of a plugin, because every action needs some time.
const StepTime = time.Millisecond

// Plugin is the program of an image. It behaves like the Go SDK or the Python SDK. The zero value has no fault.
type Plugin struct {
	StartDelay         time.Duration // before the first GET
	NeverPolls         bool          // runs and does nothing
	StartExitCode      int           // exits at the start with this code; 0: does not exit
	RestartsAfterCrash bool          // the container's first process restarts the plugin after a crash (CrashInJob)
	PollDelay          time.Duration // after a result, before the next GET
	HangsAfterJob      bool          // after a result it hangs
	ExitCodeAfterJob   int           // after a result it exits with this code; 0: as its mode requires
	IgnoresAbort       bool          // SIGABRT has no effect, as in Python; otherwise it ends the job with result 134
	IgnoresTerm        bool          // SIGTERM has no effect; otherwise the process exits without a result, or in Python delivers result 1
	AbortDelay         time.Duration // from the signal to the result
	StartLine          string        // printed before the first request
	IdleLineAfter      time.Duration // prints a line after it has waited this long for a job; 0: none
	SDK                msg.SDK       // that the gateway detects; empty: none
}

// Program returns a program that runs the plugin in an executor of host.
func (p Plugin) Program(host *PluginHost) fake.Program {
	return fake.Program{Run: func(ctx context.Context, w *fake.Process) int {
		host.addProcess(w)
		defer host.removeProcess(w)
		for {
			r := &runningPlugin{Plugin: p, host: host, Process: w}
			code := r.run(ctx)
			host.scheduler.Do("close requests", r.closeRequests)
			if code != exitCrashed || ctx.Err() != nil {
				return code
			}
		}
	}}
}

// exitCrashed is the exit code of a process that its container restarts.
const exitCrashed = 139

// runningPlugin is a process of a plugin in one executor.
type runningPlugin struct {
	Plugin
	*fake.Process
	host    *PluginHost
	lastJob receivedJob // the last job it ran; empty before the first

	watching   watchState
	poll       *request  // its last GET
	idleLineAt time.Time // zero: no line, or already printed
}

// exitKilled is the exit code of a process that was killed, or that the gateway does not admit.
const exitKilled = 255

func (p *runningPlugin) isPython() bool { return p.SDK == msg.PythonSDK }

func (p *runningPlugin) run(ctx context.Context) int {
	if p.StartLine != "" {
		p.Print(p.StartLine + "\n")
	}
	if code, exited := p.sleep(ctx, p.StartDelay+StepTime); exited {
		return code
	}
	if p.StartExitCode != 0 {
		return p.StartExitCode
	}
	p.host.scheduler.Do("introduce", func() { p.host.setSDK(p.Spec.ID, p.SDK) })
	if p.NeverPolls {
		return p.sleepForever(ctx)
	}
	for {
		if p.IdleLineAfter > 0 {
			p.idleLineAt = time.Now().Add(p.IdleLineAfter)
		}
		in, code, exited := p.nextJob(ctx)
		if exited {
			return code
		}
		if code, exited := p.runJob(ctx, in); exited {
			return code
		}
		p.lastJob = in
		if code, exited := p.afterJob(ctx); exited {
			return code
		}
	}
}

// runJob runs one job. exited reports that the process has exited with code.
func (p *runningPlugin) runJob(ctx context.Context, in receivedJob) (code int, exited bool) {
	p.host.scheduler.Do("begin", func() {
		p.host.startJob(Run{Execution: in.execution, Executor: p.Spec.ID, Image: p.Spec.Labels["runnerd.image"]})
	})
	behavior, err := readBehavior(in.key, in.input)
	if err != nil {
		p.host.add("contract: the plugin cannot read the input of %s: %v", in.execution, err)
		return 2, true
	}
	if p.RestartsAfterCrash && p.host.injectFault(CrashInJob) {
		_ = p.sleepThroughSignals(ctx, behavior.Duration/2)
		return exitCrashed, true
	}
	if behavior.DiskBytes > 0 {
		p.Fill(behavior.DiskBytes)
	}
	if behavior.Forks {
		p.Fork()
	}
	for _, line := range behavior.Lines {
		p.printForJob(in, line+"\n")
		if p.sleepThroughSignals(ctx, max(behavior.LineInterval, StepTime)) != nil {
			return exitKilled, true
		}
	}
	result, code, exited := p.work(ctx, behavior)
	if exited {
		return code, true
	}
	p.host.scheduler.Do("end job", func() { p.host.endJob(p.Spec.ID) })
	fileFirst := p.isPython() || p.host.injectFault(FileFirst)
	accepted := p.host.deliverResult(ctx, p.Process, in, resultOf(in.key, result), behavior, fileFirst)
	if !accepted && p.isPython() && p.host.injectFault(RereadURL) {
		if code, exited := p.rereadURL(ctx, in); exited {
			return code, true
		}
	}
	for _, line := range behavior.TrailingLines {
		if p.sleepThroughSignals(ctx, StepTime) != nil {
			return exitKilled, true
		}
		p.printForJob(in, line+"\n")
	}
	return 0, false
}

// printForJob prints text as output of a job.
func (p *runningPlugin) printForJob(of receivedJob, text string) {
	p.host.scheduler.Do("print", func() {
		if p.Print(text) {
			p.host.observer().Printed(of.execution, text)
		}
	})
}

// work runs for the job's duration and handles signals.
func (p *runningPlugin) work(ctx context.Context, behavior Behavior) (result, code int, exited bool) {
	end := time.Now().Add(behavior.Duration + StepTime)
	if behavior.Hangs {
		end = time.Time{}
	}
	stopped := 0
	killed := p.Until(ctx, "work", func() (bool, time.Time) {
		switch s := p.Signal(); {
		case s == msg.SIGABRT && !p.IgnoresAbort && !p.isPython():
			stopped = 134
		case s == msg.SIGTERM && !p.IgnoresTerm && p.isPython():
			stopped = 1
		case s == msg.SIGTERM && !p.IgnoresTerm:
			code, exited = 143, true
		case end.IsZero() || time.Now().Before(end):
			return false, end
		default:
			result, code, exited = behavior.ExitCode, behavior.DeathCode, behavior.DeathCode != 0
		}
		return true, end
	})
	if killed == nil && stopped != 0 {
		result, killed = stopped, p.sleepThroughSignals(ctx, p.AbortDelay)
	}
	if killed != nil {
		return 0, exitKilled, true
	}
	return result, code, exited
}

// afterJob does what the plugin does between two jobs.
func (p *runningPlugin) afterJob(ctx context.Context) (code int, exited bool) {
	switch {
	case p.HangsAfterJob:
		return p.sleepForever(ctx), true
	case p.ExitCodeAfterJob != 0:
		_ = p.sleepThroughSignals(ctx, StepTime)
		return p.ExitCodeAfterJob, true
	case p.Spec.Env[ModeVariable] != string(msg.Daemon) && p.host.injectFault(OddExit):
		return 255, true
	case p.Spec.Env[ModeVariable] != string(msg.Daemon):
		return 0, true
	}
	return p.sleep(ctx, p.PollDelay+StepTime)
}

func (p *runningPlugin) sleepForever(ctx context.Context) int {
	code, _ := p.sleep(ctx, 1<<62)
	return code
}

// sleep waits for d. SIGTERM or the end of the process ends it early.
func (p *runningPlugin) sleep(ctx context.Context, d time.Duration) (code int, exited bool) {
	end := time.Now().Add(d)
	if p.Until(ctx, "pause", func() (bool, time.Time) {
		for s := p.Signal(); s != ""; s = p.Signal() {
			code, exited = p.handleSignal(s)
		}
		return exited || !time.Now().Before(end), end
	}) != nil {
		return exitKilled, true
	}
	return code, exited
}

// handleSignal handles a signal to a plugin that has no job.
func (p *runningPlugin) handleSignal(s msg.Signal) (code int, exited bool) {
	return 143, s == msg.SIGTERM && !p.IgnoresTerm && !p.isPython()
}

// sleepThroughSignals waits for d and leaves signals for later.
func (p *runningPlugin) sleepThroughSignals(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	end := time.Now().Add(d)
	return p.host.scheduler.Until(ctx, "pass", func() (bool, <-chan struct{}, time.Time) {
		return !time.Now().Before(end), nil, end
	})
}
