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

func TestAFloodOfOutputIsCutAndHarmsNoOtherJob(t *testing.T) {
	t.Parallel()
	const kept = 1 << 20
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Flags: []string{"--max-log", "1MiB"}})
	flood := w.Submit(shop.Blue, "sample.Misbehave", map[string]any{"how": "flood", "size": 100})
	other := w.Slow(shop.Green, 20)
	_, log := w.Completed(flood)
	if !strings.Contains(log, "the log ends here: of a job's log this runner keeps 1048576 bytes") || len(log) > kept+200 {
		t.Errorf("its log has %d bytes, and ends with %q", len(log), log[max(0, len(log)-200):])
	}
	_, log = w.Completed(other)
	w.WholeLog(w.ExecutorOf(other), log, 20)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
