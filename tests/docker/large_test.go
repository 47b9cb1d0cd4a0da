package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"runnerd/tests/harness"
)

func TestLargeInputsAndResultsAreDelivered(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		how     string
		options harness.Options
	}{
		{how: "daemon mode", options: harness.Options{Eviction: time.Minute}},
		{how: "single-job mode", options: harness.Options{}},
		{how: "processes", options: harness.Options{Eviction: time.Minute, Flags: []string{"--driver", "process"}}},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			if shared != nil && row.how == "processes" {
				row.options.Flags = append(row.options.Flags, "--process-image", shared.Blue+"="+shared.Plugin)
			}
			env := shared.NewEnv(t, row.options)
			text := strings.Repeat(env.Marker+" and so on. ", 3<<20/len(env.Marker))
			echo := env.Submit(shared.Blue, "sample.Large", map[string]any{"text": text})
			more := env.Submit(shared.Blue, "sample.Large", map[string]any{"text": text, "size": 9 << 20})

			view, _ := env.WaitCompleted(echo)
			if got, _ := view.OutputProperties["text"].(string); got != text {
				t.Errorf("sent %d bytes, got %d back", len(text), len(got))
			}
			view, _ = env.WaitCompleted(more)
			got, _ := view.OutputProperties["text"].(string)
			if len(got) != 9<<20 || view.OutputProperties["textSha256"] != digest(got) || view.OutputProperties["inputSha256"] != digest(text) {
				t.Errorf("got %d wrong bytes back", len(got))
			}
		})
	}
}

func TestLargeInputIsComplete(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Flags: []string{"--executor-memory", "2GiB"}})
	for _, size := range []int{1 << 10, harness.Size(20, 100) << 20} { // the small one is the control: the offer contains its input
		text := strings.Repeat(env.Marker+" and so on. ", size/len(env.Marker))[:size]
		view, _ := env.WaitCompleted(env.Submit(shared.Blue, "sample.Large", map[string]any{"text": text, "size": 1}))
		if view.OutputProperties["inputSha256"] != digest(text) {
			t.Errorf("the plugin got a wrong input of %d bytes", size)
		}
	}
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
