package simulation

import (
	"errors"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// mood is how things are at present: how likely each of them goes wrong.
type mood struct {
	server, engine, disk, actors, plugins float64
	diskFull                              bool
	session                               bool          // the server has forgotten the runner, until it registers
	slow                                  time.Duration // the engine is, by up to so much
	late                                  time.Duration // it is with what a program prints, by up to so much
}

var (
	errNoAnswer = errors.New("no answer")
	errSabotage = errors.New("sabotage")
)

func refusal(op string, status int, after time.Duration) error {
	return &msg.Refusal{Op: op, Status: status, RetryAfter: after}
}

// fateOfServer says what becomes of a request.
func (w *world) fateOfServer(op string) fake.Call {
	w.oracle.asked(op)
	if op == fakes.Unregister {
		w.killsWhoLeaves()
	}
	call := fake.Call{Takes: w.between(time.Millisecond, 20*time.Millisecond)}
	if w.mood.session {
		if op != fakes.Register {
			call.Fails = refusal(op, 401, 0)
			return call
		}
		w.mood.session = false
	}
	if !w.strikes(w.mood.server) {
		return call
	}
	switch w.rng.IntN(8) {
	case 0:
		call.Takes, call.Fails = w.between(time.Second, time.Minute), errNoAnswer
	case 1:
		call.Fails = errNoAnswer
	case 2:
		call.Fails = refusal(op, 500, 0)
	case 3:
		call.Fails = refusal(op, 503, time.Duration(w.rng.IntN(30))*time.Second)
	case 4:
		call.Fails = refusal(op, 429, time.Duration(w.rng.IntN(30))*time.Second)
	case 5, 6:
		call.AnswerLost = errNoAnswer
	case 7:
		call.Takes = w.between(time.Second, 90*time.Second)
	}
	return call
}

// fateOfEngine says what becomes of a call to the engine.
func (w *world) fateOfEngine(op string) fake.Call {
	call := fake.Call{Takes: w.between(time.Millisecond, 20*time.Millisecond+w.mood.slow), AnswerTakes: w.between(0, 20*time.Millisecond)}
	if !w.strikes(w.mood.engine) {
		return call
	}
	waits := op == fake.Wait || op == fake.Logs // nothing bounds these, and nothing needs to
	w.oracle.troubleFor(100 * time.Second)      // a call may hang as long
	switch w.rng.IntN(4) {
	case 0:
		call.Fails = errNoAnswer
	case 1:
		call.AnswerLost = errNoAnswer
	case 2:
		call.Takes = w.between(time.Second, 90*time.Second)
	case 3:
		if call.Stalls = !waits; waits {
			call.Fails = errNoAnswer
		}
	}
	return call
}

// lag is how long the engine leaves an entry unread.
func (w *world) lag() time.Duration {
	if w.mood.late == 0 || w.chance(0.5) {
		return 0
	}
	return w.between(0, w.mood.late)
}

// fateOfOthers is that of the gateway and of the settings.
func (w *world) fateOfOthers(op string) fake.Call {
	call := fake.Call{Takes: w.between(10*time.Microsecond, time.Millisecond), AnswerTakes: w.between(0, time.Millisecond)}
	if w.strikes(w.mood.disk) {
		call.Fails = errNoAnswer
	} else if op == fakes.HandOut && w.strikes(w.mood.disk) {
		call.Takes = w.between(time.Second, 40*time.Second)
		w.oracle.troubleFor(call.Takes)
	}
	return call
}

func (w *world) happensToPlugins(what string) bool {
	odds := map[string]float64{fakes.FileFirst: 0.5, fakes.OddExit: 0.02, fakes.Refused: 0.5, fakes.ReadsURL: 0.5, fakes.Crashes: 0.5}[what]
	if what == fakes.AnswerCut || what == fakes.NoCall {
		odds = w.mood.plugins
	}
	happens := w.chance(odds)
	if happens && (what == fakes.AnswerCut || what == fakes.NoCall || what == fakes.Refused || what == fakes.Crashes) {
		w.trace.note("plugin: %s", what)
		w.oracle.trouble()
	}
	return happens
}

// point may crash an actor.
func (w *world) point(path string, message any) {
	p := w.mood.actors
	if message == nil { // there are many such moments
		p /= 10
	}
	if !strings.Contains(path, "/") {
		p /= 20 // the end of the root is the end of the process
	}
	if w.strikes(p) {
		w.trace.note("%s panics at %T", path, message)
		panic(errSabotage)
	}
}

// strikes is chance, for the worse.
func (w *world) strikes(p float64) bool {
	if p == 0 || !w.chance(p) {
		return false
	}
	w.oracle.trouble()
	return true
}
