package actors

import (
	"testing"
	"time"

	msg "runnerd/messages"
)

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

var lives = everyLife()

func everyLife() (all []lifeModel) {
	names := [faultKinds]string{"crash", "kill", "power", "abort", "retire", "cut", "dies", "container", "limit", "process"}
	for _, sdk := range []msg.SDK{msg.GoSDK, msg.PythonSDK} {
		all = append(all, lifeModel{name: string(sdk) + ", two jobs", sdk: sdk, mode: msg.Daemon, jobs: 2})
		for f, name := range names {
			m := lifeModel{name: string(sdk) + ", two jobs, " + name, sdk: sdk, mode: msg.Daemon, jobs: 2}
			m.faults[f] = 1
			all = append(all, m)
		}
		for f, name := range names {
			for g, other := range names[:f] {
				m := lifeModel{name: string(sdk) + ", one job, " + name + ", " + other, sdk: sdk, mode: msg.Daemon, jobs: 1}
				m.faults[f], m.faults[g] = 1, 1
				all = append(all, m)
			}
		}
	}
	return all
}

func TestASessionKeepsItsInvariantsInEveryState(t *testing.T) {
	for _, m := range lives {
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			seen, err := m.exploration().explore()
			t.Logf("%v, %v", seen, time.Since(began).Round(time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
