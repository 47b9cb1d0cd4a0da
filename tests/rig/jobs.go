package rig

import (
	"bytes"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"io"
	"strings"
)

// Slow is a job of many steps, each with a line in the log.
func (w *World) Slow(image string, steps int) string {
	w.T.Helper()
	return w.Submit(image, "sample.Slow", map[string]any{"steps": steps, "delayMillis": 100})
}

// Printed is all that an executor has printed, by the engine's own log.
func (w *World) Printed(executor string) string {
	w.T.Helper()
	c, ok := w.shop.Containers(w.T, w.UUID)[executor]
	if !ok {
		w.T.Fatalf("there is no executor %s", executor)
	}
	body, err := w.shop.Engine.ContainerLogs(w.T.Context(), c.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	Must(w.T, err)
	defer body.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, io.Reader(body))
	Must(w.T, err)
	return text.String()
}

// WholeLog checks that the log is what the executor has printed, to the byte. It must have had this job only.
func (w *World) WholeLog(executor, log string, steps int) {
	w.T.Helper()
	if printed := w.Printed(executor); log != printed {
		w.T.Errorf("the log is\n%s\nand the executor printed\n%s", log, printed)
	}
	if got := strings.Count(log, "step "); got != steps {
		w.T.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
}

// FinishedOnce looks in the ledger: one offer, one confirmed, one finish.
func (w *World) FinishedOnce(ids ...string) {
	w.T.Helper()
	for _, id := range ids {
		times := map[string]int{}
		for _, e := range w.Server.Ledger().Job(id) {
			times[e.Op]++
		}
		if times["offer"] != 1 || times["confirm"] != 1 || times["finish"] != 1 {
			w.T.Errorf("task %s: the ledger has %v", id, times)
		}
	}
}
