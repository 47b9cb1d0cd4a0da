package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func TestInputsAndResultsAboveOneMebibyteTravelBothWays(t *testing.T) {
	for _, row := range []struct {
		how  string
		plan plan
	}{
		{how: "daemon mode", plan: plan{eviction: time.Minute}},
		{how: "normal mode", plan: plan{}},
		{how: "processes", plan: plan{eviction: time.Minute, flags: []string{"--driver", "process"}}},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			if shop != nil && row.how == "processes" {
				row.plan.flags = append(row.plan.flags, "--process-image", shop.blue+"="+shop.plugin)
			}
			w := newWorld(t, row.plan)
			text := strings.Repeat(w.marker+" and so on. ", 3<<20/len(w.marker))
			echo := w.submit(shop.blue, "sample.Large", map[string]any{"text": text})
			more := w.submit(shop.blue, "sample.Large", map[string]any{"text": text, "size": 9 << 20})

			view, _ := w.completed(echo)
			if got, _ := view.OutputProperties["text"].(string); got != text {
				t.Errorf("of %d bytes %d came back", len(text), len(got))
			}
			view, _ = w.completed(more)
			got, _ := view.OutputProperties["text"].(string)
			if len(got) != 9<<20 || view.OutputProperties["textSha256"] != digest(got) || view.OutputProperties["inputSha256"] != digest(text) {
				t.Errorf("%d bytes came back, and not the right ones", len(got))
			}
		})
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
