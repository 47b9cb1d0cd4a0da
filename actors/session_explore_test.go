package actors

import (
	"sync"
	"testing"
	"time"

	msg "runnerd/messages"
)

// Every state that a session can reach is explored, in slices: with two jobs and one fault of a kind; with one job and two faults of
// two kinds. The models beside this file are what happens around it. Time has no length in them: a timer fires when nothing else is
// complete to happen, and as a fault before that.

func (m lifeModel) exploration() exploration[*world, lifeEvent, string] {
	return exploration[*world, lifeEvent, string]{
		start:    m.begins(),
		key:      (*world).key,
		next:     m.next,
		describe: m.describe,
		goal:     isGoal,
		helps:    func(e lifeEvent) bool { return e.helps },
	}
}

var faultNames = [faultKinds]string{"crash", "kill", "power loss", "abort", "retirement", "cut", "death", "container restart", "limit", "plugin restart"}

// pairs are explored also without -wide: each has found a bug.
var pairs = [][2]fault{{actorCrashes, pluginDies}, {actorCrashes, containerRestarted}, {connectionCut, limitPassed}}

func everyLife() (all []lifeModel) {
	for _, sdk := range []msg.SDK{msg.GoSDK, msg.PythonSDK} {
		all = append(all, life(sdk, 2), life(sdk, 1))
		for f := range faultKinds {
			all = append(all, life(sdk, 2, f))
			for g := range f {
				if *wide && (g != runnerKilled || f != pluginRestarted) {
					all = append(all, life(sdk, 1, g, f))
				}
			}
		}
		for _, p := range pairs {
			if !*wide {
				all = append(all, life(sdk, 1, p[:]...))
			}
		}
	}
	return all
}

func life(sdk msg.SDK, jobs int, faults ...fault) lifeModel {
	m := lifeModel{name: string(sdk) + ", one job", sdk: sdk, mode: msg.Daemon, jobs: jobs}
	if jobs == 2 {
		m.name = string(sdk) + ", two jobs"
	}
	for _, f := range faults {
		m.faults[f]++
		m.name += ", " + faultNames[f]
	}
	return m
}

func TestASessionKeepsItsInvariantsInEveryState(t *testing.T) {
	if raced {
		t.Skip("nothing here runs at the same time")
	}
	var mu sync.Mutex
	var total explored
	done := 0
	var happened [len(lifeEventNames)]bool
	began := time.Now()
	t.Run("slice", func(t *testing.T) {
		for _, m := range everyLife() {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				var mine [len(lifeEventNames)]bool
				x, next := m.exploration(), m.next
				x.next = func(from *world, visit func(lifeEvent, *world, error)) {
					next(from, func(e lifeEvent, to *world, err error) {
						mine[e.kind] = true
						visit(e, to, err)
					})
				}
				seen, err := x.explore()
				t.Log(seen)
				if err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				total.states, total.events = total.states+seen.states, total.events+seen.events
				for kind, is := range mine {
					happened[kind] = happened[kind] || is
				}
			})
		}
	})
	t.Logf("%v, %v", total, time.Since(began).Round(time.Millisecond))
	for kind, is := range happened {
		if !is && done == len(everyLife()) { // else only some were asked for
			t.Errorf("%q never happens", lifeEventNames[kind])
		}
	}
}
