package actors

import (
	"sync"
	"testing"
	"time"

	msg "runnerd/messages"
)

// This test explores every reachable state of a session, in slices: with two jobs and one fault, and with one job and two faults of
// different kinds. The session_model_*_test.go files model the surroundings, without durations: a long timer fires when nothing else can
// happen, and earlier only as a fault.

func (m sessionModel) exploration() exploration[*modelState, modelEvent, string] {
	return exploration[*modelState, modelEvent, string]{
		start:    m.initial(),
		key:      (*modelState).key,
		next:     m.next,
		describe: m.describe,
		goal:     isGoal,
		helps:    func(e modelEvent) bool { return e.helps },
	}
}

var faultNames = [faultKinds]string{"crash", "kill", "power loss", "abort", "retirement", "cut", "death", "container restart", "limit", "plugin restart"}

// pairs are also explored without -wide, because each has found a bug.
var pairs = [][2]fault{{actorCrashes, pluginDies}, {actorCrashes, containerRestarted}, {connectionCut, limitPassed}}

func allModels() (all []sessionModel) {
	for _, sdk := range []msg.SDK{msg.GoSDK, msg.PythonSDK} {
		all = append(all, newSessionModel(sdk, 2), newSessionModel(sdk, 1))
		for f := range faultKinds {
			all = append(all, newSessionModel(sdk, 2, f))
			for g := range f {
				if *wide && (g != runnerKilled || f != pluginRestarted) { // see isDeliveryLost
					all = append(all, newSessionModel(sdk, 1, g, f))
				}
			}
		}
		for _, p := range pairs {
			if !*wide {
				all = append(all, newSessionModel(sdk, 1, p[:]...))
			}
		}
	}
	return all
}

func newSessionModel(sdk msg.SDK, jobs int, faults ...fault) sessionModel {
	m := sessionModel{name: string(sdk) + ", one job", sdk: sdk, mode: msg.Daemon, jobs: jobs}
	if jobs == 2 {
		m.name = string(sdk) + ", two jobs"
	}
	for _, f := range faults {
		m.faults[f]++
		m.name += ", " + faultNames[f]
	}
	return m
}

func TestSessionInvariantsHoldInEveryState(t *testing.T) {
	if raceEnabled {
		t.Skip("too slow with the race detector")
	}
	var mu sync.Mutex
	var total explored
	done := 0
	var happened [len(modelEventNames)]bool
	began := time.Now()
	t.Run("slice", func(t *testing.T) {
		for _, m := range allModels() {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				var mine [len(modelEventNames)]bool
				x, next := m.exploration(), m.next
				x.next = func(from *modelState, visit func(modelEvent, *modelState, error)) {
					next(from, func(e modelEvent, to *modelState, err error) {
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
		if !is && done == len(allModels()) { // otherwise -run selected only some
			t.Errorf("%q never happens", modelEventNames[kind])
		}
	}
}
