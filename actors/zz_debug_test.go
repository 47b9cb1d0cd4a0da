package actors

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
)

func TestZZ(t *testing.T) {
	for _, m := range lives {
		if os.Getenv("LIFE") != "" && !strings.Contains(m.name, os.Getenv("LIFE")) {
			continue
		}
		hist := map[string]int{}
		x := m.exploration()
		seen := map[string]bool{}
		old := x.next
		n := 0
		x.next = func(w *world, visit func(lifeEvent, *world, error)) {
			var kinds []string
			for _, t := range w.tasks {
				kinds = append(kinds, taskNames[t.kind])
			}
			sort.Strings(kinds)
			tm := ""
			for k, d := range w.timers {
				if d != 0 {
					tm += timerNames[k] + ","
				}
			}
			hist[fmt.Sprintf("session %s plugin %d box %d", w.session.state, w.plugin.phase, w.box.state)]++
			hist["tasks "+strings.Join(kinds, ",")]++
			hist["timers "+tm]++
			hist[fmt.Sprintf("reqs %d queue %d", len(w.gate.requests), len(w.gate.queue))]++
			n++
			if n%20000 == 0 && os.Getenv("SHOW") != "" {
				fmt.Printf("%s\n   %+v\n", w.inWords(), *w)
			}
			old(w, visit)
		}
		s, err := x.explore()
		_ = seen
		fmt.Println(m.name, s, err)
		var all []string
		for k := range hist {
			all = append(all, k)
		}
		sort.Slice(all, func(i, j int) bool { return hist[all[i]] > hist[all[j]] })
		for _, k := range all[:min(60, len(all))] {
			fmt.Println(hist[k], k)
		}
	}
}
