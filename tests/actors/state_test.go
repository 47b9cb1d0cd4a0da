package actors_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// transition is a transition of the runner's state.
type transition struct{ from, to string }

// enterState maps each state to a function that starts the runner and brings it into that state.
var enterState = map[string]func(*env){
	"recovering": func(e *env) {
		e.engine.Down(errNoAnswer)
		e.start()
	},
	"registering": func(e *env) {
		e.server.Down(errNoAnswer)
		e.start()
	},
	"online": func(e *env) { e.start() },
	"offline": func(e *env) {
		e.start()
		e.advance(time.Second)
		e.server.Script(fakes.Heartbeat, fakes.Call{Err: refusal(401, 0)})
		e.server.Script(fakes.Register, fakes.Call{Delay: time.Hour})
		e.advance(20 * time.Second)
	},
	"draining": func(e *env) {
		e.start()
		e.awaitRun(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Minute}}))
		e.root.Tell(msg.Drain{Done: func() {}})
	},
	"detaching": func(e *env) {
		e.start()
		e.advance(time.Second)
		e.root.Tell(msg.Detach{Ready: func() {}})
	},
}

func startDrain(e *env)  { e.root.Tell(msg.Drain{Done: func() {}}) }
func startDetach(e *env) { e.root.Tell(msg.Detach{Ready: func() {}}) }
func sendDelete(e *env)  { e.server.SendEvent(msg.Delete{}) }

// lateDelete delivers the server's Delete event after the runner's registration has ended.
func lateDelete(e *env) { e.root.Tell(msg.ServerEvent{Event: msg.Delete{}}) }

// crashDispatcher crashes the dispatcher while the engine is unreachable.
func crashDispatcher(e *env) {
	e.engine.Down(errNoAnswer)
	e.scheduler.(*faultInjector).crashNext("dispatcher")
	e.configure(daemonMode(2))
	e.root.Tell(msg.PoolRequested{Reply: func(msg.Pool) {}})
}

// transitions maps each transition to a function that causes it.
var transitions = map[transition]func(*env){
	{"recovering", "registering"}: func(e *env) { e.server.Down(errNoAnswer); e.restart(); e.advance(time.Second); e.engine.Down(nil) },
	{"recovering", "online"}:      func(e *env) { e.advance(time.Second); e.engine.Down(nil) },
	{"recovering", "offline"}: func(e *env) {
		e.server.Script(fakes.Heartbeat, fakes.Call{Err: refusal(401, 0)})
		e.server.Script(fakes.Register, fakes.Call{}, fakes.Call{Delay: time.Hour})
		e.restart()
		e.advance(20 * time.Second)
		e.engine.Down(nil)
	},
	{"recovering", "draining"}:    startDrain,
	{"recovering", "detaching"}:   startDetach,
	{"recovering", "deleting"}:    sendDelete,
	{"registering", "online"}:     func(e *env) { e.server.Down(nil) },
	{"registering", "recovering"}: crashDispatcher,
	{"registering", "draining"}:   startDrain,
	{"registering", "detaching"}:  startDetach,
	{"online", "offline"}:         func(e *env) { e.server.Down(errNoAnswer); e.server.SetSilent(true) },
	{"online", "recovering"}:      crashDispatcher,
	{"online", "draining"}:        startDrain,
	{"online", "detaching"}:       startDetach,
	{"online", "deleting"}:        sendDelete,
	{"offline", "online"}:         func(*env) {},
	{"offline", "recovering"}:     crashDispatcher,
	{"offline", "draining"}:       startDrain,
	{"offline", "detaching"}:      startDetach,
	{"offline", "deleting"}:       lateDelete,
	{"draining", "detaching"}:     startDetach,
	{"draining", "deleting"}:      sendDelete,
	{"detaching", "deleting"}:     sendDelete,
}

func (e *env) runnerState() string {
	s, err := actorrt.Ask(context.Background(), e.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		e.t.Error(err)
	}
	return s.State
}

func TestEveryRunnerStateTransition(t *testing.T) {
	for c, cause := range transitions {
		t.Run(fmt.Sprintf("from %s to %s", c.from, c.to), func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.scheduler = newFaultInjector(point{})
				enterState[c.from](e)
				e.until("the runner is "+c.from, time.Minute, func() bool { return e.runnerState() == c.from })
				cause(e)
				e.until("the runner is "+c.to, 2*time.Hour, func() bool { return e.runnerState() == c.to })
				if line := fmt.Sprintf(`"from":"%s","to":"%s","message":"runner state changed"`, c.from, c.to); !strings.Contains(e.log.text(), line) {
					t.Errorf("the log has no %s", line)
				}
				e.engine.Down(nil)
				e.server.Down(nil)
				e.server.SetSilent(false)
			})
		})
	}
}

func TestEveryDrawnStateTransitionIsTested(t *testing.T) {
	diagram, err := os.ReadFile("../../docs/runner-life.md")
	if err != nil {
		t.Fatal(err)
	}
	notDrawn := maps.Clone(transitions)
	for _, drawn := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+)$`).FindAllStringSubmatch(string(diagram), -1) {
		c := transition{drawn[1], drawn[2]}
		if transitions[c] == nil {
			t.Errorf("no test covers the transition from %s to %s", c.from, c.to)
		}
		delete(notDrawn, c)
	}
	for c := range notDrawn {
		t.Errorf("the transition from %s to %s is not drawn", c.from, c.to)
	}
}
