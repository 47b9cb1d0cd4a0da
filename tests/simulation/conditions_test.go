package simulation

import (
	"errors"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// conditions are the present probabilities of faults, by component, and the other faults that are present.
type conditions struct {
	server, engine, disk, actors, plugins float64
	diskFull                              bool
	sessionLost                           bool          // the server has forgotten the runner, which must register again
	engineDelay                           time.Duration // maximum delay of the engine's calls
	logDelay                              time.Duration // maximum delay of the engine's log entries
}

var (
	errNoAnswer = errors.New("no answer")
	errInjected = errors.New("injected panic")
)

func refusal(op string, status int, after time.Duration) error {
	return &msg.Refusal{Op: op, Status: status, RetryAfter: after}
}

// decideServerCall decides the outcome of a request to the server.
func (e *env) decideServerCall(op string) fake.Call {
	e.checker.serverCalled(op)
	if op == fakes.Unregister {
		e.maybeKillDuringUnregister()
	}
	call := fake.Call{Delay: e.randomDuration(time.Millisecond, 20*time.Millisecond)}
	if e.conditions.sessionLost {
		if op != fakes.Register {
			call.Err = refusal(op, 401, 0)
			return call
		}
		e.conditions.sessionLost = false
	}
	if !e.faultOccurs(e.conditions.server) {
		return call
	}
	switch e.rng.IntN(8) {
	case 0:
		call.Delay, call.Err = e.randomDuration(time.Second, time.Minute), errNoAnswer
	case 1:
		call.Err = errNoAnswer
	case 2:
		call.Err = refusal(op, 500, 0)
	case 3:
		call.Err = refusal(op, 503, time.Duration(e.rng.IntN(30))*time.Second)
	case 4:
		call.Err = refusal(op, 429, time.Duration(e.rng.IntN(30))*time.Second)
	case 5, 6:
		call.AnswerErr = errNoAnswer
	case 7:
		call.Delay = e.randomDuration(time.Second, 90*time.Second)
	}
	return call
}

// decideEngineCall decides the outcome of a call to the engine.
func (e *env) decideEngineCall(op string) fake.Call {
	call := fake.Call{Delay: e.randomDuration(time.Millisecond, 20*time.Millisecond+e.conditions.engineDelay), AnswerDelay: e.randomDuration(0, 20*time.Millisecond)}
	if !e.faultOccurs(e.conditions.engine) {
		return call
	}
	waits := op == fake.Wait || op == fake.Logs // these calls have no time limit, and need none
	e.checker.disturbFor(100 * time.Second)     // a call may hang for so long
	switch e.rng.IntN(4) {
	case 0:
		call.Err = errNoAnswer
	case 1:
		call.AnswerErr = errNoAnswer
	case 2:
		call.Delay = e.randomDuration(time.Second, 90*time.Second)
	case 3:
		if call.Stalls = !waits; waits {
			call.Err = errNoAnswer
		}
	}
	return call
}

// randomLogDelay returns how long the engine takes until a log entry can be read.
func (e *env) randomLogDelay() time.Duration {
	if e.conditions.logDelay == 0 || e.chance(0.5) {
		return 0
	}
	return e.randomDuration(0, e.conditions.logDelay)
}

// decideOtherCall decides the outcome of a call to the gateway or the settings.
func (e *env) decideOtherCall(op string) fake.Call {
	call := fake.Call{Delay: e.randomDuration(10*time.Microsecond, time.Millisecond), AnswerDelay: e.randomDuration(0, time.Millisecond)}
	if e.faultOccurs(e.conditions.disk) {
		call.Err = errNoAnswer
	} else if op == fakes.HandOut && e.faultOccurs(e.conditions.disk) {
		call.Delay = e.randomDuration(time.Second, 40*time.Second)
		e.checker.disturbFor(call.Delay)
	}
	return call
}

// injectPluginFault decides whether a plugin shows a fault, or a rare but correct behavior, now.
func (e *env) injectPluginFault(what string) bool {
	odds := map[string]float64{fakes.FileFirst: 0.5, fakes.OddExit: 0.02, fakes.GetRefused: 0.5, fakes.RereadURL: 0.5, fakes.CrashInJob: 0.5}[what]
	if what == fakes.AnswerCut || what == fakes.CallbackLost {
		odds = e.conditions.plugins
	}
	happens := e.chance(odds)
	if happens && (what == fakes.AnswerCut || what == fakes.CallbackLost || what == fakes.GetRefused || what == fakes.CrashInJob) {
		e.trace.recordf("plugin: %s", what)
		e.checker.disturb()
	}
	return happens
}

// maybePanic panics with the probability of conditions.actors. It is called in actors and in their tasks.
func (e *env) maybePanic(path string, message any) {
	p := e.conditions.actors
	if message == nil { // a task's point, of which there are many
		p /= 10
	}
	if !strings.Contains(path, "/") {
		p /= 20 // when the root fails, the process ends
	}
	if e.faultOccurs(p) {
		e.trace.recordf("%s panics at %T", path, message)
		panic(errInjected)
	}
}

// faultOccurs reports, with probability p, that a fault occurs now.
func (e *env) faultOccurs(p float64) bool {
	if p == 0 || !e.chance(p) {
		return false
	}
	e.checker.disturb()
	return true
}
