package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"runnerd/tests/rig"
)

func TestInputsAndResultsAboveOneMebibyteTravelBothWays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		how  string
		plan rig.Plan
	}{
		{how: "daemon mode", plan: rig.Plan{Eviction: time.Minute}},
		{how: "normal mode", plan: rig.Plan{}},
		{how: "processes", plan: rig.Plan{Eviction: time.Minute, Flags: []string{"--driver", "process"}}},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			if shop != nil && row.how == "processes" {
				row.plan.Flags = append(row.plan.Flags, "--process-image", shop.Blue+"="+shop.Plugin)
			}
			w := shop.World(t, row.plan)
			text := strings.Repeat(w.Marker+" and so on. ", 3<<20/len(w.Marker))
			echo := w.Submit(shop.Blue, "sample.Large", map[string]any{"text": text})
			more := w.Submit(shop.Blue, "sample.Large", map[string]any{"text": text, "size": 9 << 20})

			view, _ := w.Completed(echo)
			if got, _ := view.OutputProperties["text"].(string); got != text {
				t.Errorf("of %d bytes %d came back", len(text), len(got))
			}
			view, _ = w.Completed(more)
			got, _ := view.OutputProperties["text"].(string)
			if len(got) != 9<<20 || view.OutputProperties["textSha256"] != digest(got) || view.OutputProperties["inputSha256"] != digest(text) {
				t.Errorf("%d bytes came back, and not the right ones", len(got))
			}
		})
	}
}

func TestALargeInputComesWhole(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Flags: []string{"--executor-memory", "2GiB"}})
	for _, size := range []int{1 << 10, rig.Size(20, 100) << 20} { // the control is in its offer
		text := strings.Repeat(w.Marker+" and so on. ", size/len(w.Marker))[:size]
		view, _ := w.Completed(w.Submit(shop.Blue, "sample.Large", map[string]any{"text": text, "size": 1}))
		if view.OutputProperties["inputSha256"] != digest(text) {
			t.Errorf("of %d bytes others came to the plugin", size)
		}
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
