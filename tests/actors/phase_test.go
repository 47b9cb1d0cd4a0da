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

// change is how a runner comes from one phase to another.
type change struct{ from, to string }

// Ways into a phase; the runner has been started by them.
var into = map[string]func(*world){
	"recovering": func(w *world) {
		w.engine.Down(errNoAnswer)
		w.start()
	},
	"registering": func(w *world) {
		w.server.Down(errNoAnswer)
		w.start()
	},
	"online": func(w *world) { w.start() },
	"offline": func(w *world) {
		w.start()
		w.passes(time.Second)
		w.server.Script(fakes.Heartbeat, fakes.Call{Fails: refusal(401, 0)})
		w.server.Script(fakes.Register, fakes.Call{Takes: time.Hour})
		w.passes(20 * time.Second)
	},
	"draining": func(w *world) {
		w.start()
		w.begins(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Minute}}))
		w.root.Tell(msg.Drain{Done: func() {}})
	},
	"leaving": func(w *world) {
		w.start()
		w.passes(time.Second)
		w.root.Tell(msg.Detach{Ready: func() {}})
	},
}

func drains(w *world)  { w.root.Tell(msg.Drain{Done: func() {}}) }
func leaves(w *world)  { w.root.Tell(msg.Detach{Ready: func() {}}) }
func deletes(w *world) { w.server.Say(msg.Delete{}) }

// late is a word of the server that arrives after its registration has ended.
func late(w *world) { w.root.Tell(msg.ServerEvent{Event: msg.Delete{}}) }

// forgets lets the dispatcher crash, while the engine is away.
func forgets(w *world) {
	w.engine.Down(errNoAnswer)
	w.scheduler.(*saboteur).soon("dispatcher")
	w.configure(daemonMode(2))
	w.root.Tell(msg.PoolRequested{Reply: func(msg.Pool) {}})
}

var changes = map[change]func(*world){
	{"recovering", "registering"}: func(w *world) { w.server.Down(errNoAnswer); w.restart(); w.passes(time.Second); w.engine.Down(nil) },
	{"recovering", "online"}:      func(w *world) { w.passes(time.Second); w.engine.Down(nil) },
	{"recovering", "offline"}: func(w *world) {
		w.server.Script(fakes.Heartbeat, fakes.Call{Fails: refusal(401, 0)})
		w.server.Script(fakes.Register, fakes.Call{}, fakes.Call{Takes: time.Hour})
		w.restart()
		w.passes(20 * time.Second)
		w.engine.Down(nil)
	},
	{"recovering", "draining"}:    drains,
	{"recovering", "leaving"}:     leaves,
	{"recovering", "deleting"}:    deletes,
	{"registering", "online"}:     func(w *world) { w.server.Down(nil) },
	{"registering", "recovering"}: forgets,
	{"registering", "draining"}:   drains,
	{"registering", "leaving"}:    leaves,
	{"online", "offline"}:         func(w *world) { w.server.Down(errNoAnswer); w.server.FallSilent(true) },
	{"online", "recovering"}:      forgets,
	{"online", "draining"}:        drains,
	{"online", "leaving"}:         leaves,
	{"online", "deleting"}:        deletes,
	{"offline", "online"}:         func(*world) {},
	{"offline", "recovering"}:     forgets,
	{"offline", "draining"}:       drains,
	{"offline", "leaving"}:        leaves,
	{"offline", "deleting"}:       late,
	{"draining", "leaving"}:       leaves,
	{"draining", "deleting"}:      deletes,
	{"leaving", "deleting"}:       deletes,
}

func (w *world) phase() string {
	s, err := actorrt.Ask(context.Background(), w.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		w.t.Error(err)
	}
	return s.State
}

func TestEveryChangeOfTheRunnersPhase(t *testing.T) {
	for c, happens := range changes {
		t.Run(fmt.Sprintf("from %s to %s", c.from, c.to), func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.scheduler = newSaboteur(point{})
				into[c.from](w)
				w.until("it is "+c.from, time.Minute, func() bool { return w.phase() == c.from })
				happens(w)
				w.until("it is "+c.to, 2*time.Hour, func() bool { return w.phase() == c.to })
				if move := fmt.Sprintf(`"from":"%s","to":"%s","message":"runner changes"`, c.from, c.to); !strings.Contains(w.log.text(), move) {
					t.Errorf("the log has no %s", move)
				}
				w.engine.Down(nil)
				w.server.Down(nil)
				w.server.FallSilent(false)
			})
		})
	}
}

func TestThePictureOfTheRunnersLifeIsTestedWhole(t *testing.T) {
	picture, err := os.ReadFile("../../docs/runner-life.md")
	if err != nil {
		t.Fatal(err)
	}
	untested := maps.Clone(changes)
	for _, drawn := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+)$`).FindAllStringSubmatch(string(picture), -1) {
		c := change{drawn[1], drawn[2]}
		if changes[c] == nil {
			t.Errorf("no test brings a runner from %s to %s", c.from, c.to)
		}
		delete(untested, c)
	}
	for c := range untested {
		t.Errorf("from %s to %s is not drawn", c.from, c.to)
	}
}
