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

var lives = []lifeModel{
	{name: "Go, one job", sdk: msg.GoSDK, mode: msg.Daemon, jobs: 1},
	{name: "Go, two jobs", sdk: msg.GoSDK, mode: msg.Daemon, jobs: 2},
	{name: "Python, two jobs", sdk: msg.PythonSDK, mode: msg.Daemon, jobs: 2},
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
