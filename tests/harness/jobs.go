package harness

import (
	"bytes"
	"io"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// SubmitSlow submits a job of many steps, each of which logs a line. It returns the task's id.
func (e *Env) SubmitSlow(image string, steps int) string {
	e.T.Helper()
	return e.Submit(image, "sample.Slow", map[string]any{"steps": steps, "delayMillis": 100})
}

// ContainerLog returns everything an executor has printed, from the engine's log.
func (e *Env) ContainerLog(executor string) string {
	e.T.Helper()
	c, ok := e.harness.Containers(e.T, e.UUID)[executor]
	if !ok {
		e.T.Fatalf("there is no executor %s", executor)
	}
	body, err := e.harness.Engine.ContainerLogs(e.T.Context(), c.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	Must(e.T, err)
	defer body.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, io.Reader(body))
	Must(e.T, err)
	return text.String()
}

// CheckLog checks that log has that many steps and is byte for byte what the executor has printed. The executor must have run only this
// job.
func (e *Env) CheckLog(executor, log string, steps int) {
	e.T.Helper()
	if printed := e.ContainerLog(executor); log != printed {
		e.T.Errorf("the log is\n%s\nbut the executor printed\n%s", log, printed)
	}
	if got := strings.Count(log, "step "); got != steps {
		e.T.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
}

// CheckFinishedOnce checks that the ledger has exactly one offer, one confirm and one finish of each task.
func (e *Env) CheckFinishedOnce(ids ...string) {
	e.T.Helper()
	for _, id := range ids {
		times := map[string]int{}
		for _, entry := range e.Server.Ledger().Job(id) {
			times[entry.Op]++
		}
		if times["offer"] != 1 || times["confirm"] != 1 || times["finish"] != 1 {
			e.T.Errorf("task %s: the ledger has %v", id, times)
		}
	}
}
