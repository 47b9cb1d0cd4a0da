package crash

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// load keeps the runner busy, and remembers what it was given.
type load struct {
	w      *rig.World
	images []string
	bell   *rig.Bell

	working sync.WaitGroup
	stopped chan struct{}

	mu   sync.Mutex // guards what follows
	jobs []job
}

// job is a task of the load.
type job struct {
	id    string
	name  string // by which it rings
	steps int
}

// begin keeps so many jobs open, one after another, until end.
func (l *load) begin(open int) {
	l.stopped = make(chan struct{})
	for range open {
		l.working.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				default:
				}
				id, err := l.submit()
				if err != nil {
					l.w.T.Errorf("submit a job: %v", err)
					return
				}
				if !l.over(id) {
					return
				}
			}
		})
	}
}

func (l *load) over(id string) bool {
	ctx, cancel := context.WithTimeoutCause(context.Background(), rig.Patience, errors.New("not done in time"))
	defer cancel()
	view, err := l.w.Server.Wait(ctx, id)
	if err != nil {
		l.w.T.Errorf("job %s: %v; it is %s\n%s", id, err, view.State, l.w.Heard(id))
	}
	return err == nil
}

// end returns when all that was begun is over.
func (l *load) end() {
	close(l.stopped)
	l.working.Wait()
}

func (l *load) submit() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.jobs)
	j := job{name: fmt.Sprintf("%s-%d", l.w.Marker, n), steps: 3 + n%8}
	id, err := l.w.Server.Submit(devserver.TaskRequest{
		Image: l.images[n/5%len(l.images)], TaskType: "sample.Slow", // in runs: a change costs the idle executors
		Properties: map[string]any{"steps": j.steps, "delayMillis": 40, "name": j.name, "tell": l.bell.Address},
	})
	j.id = id
	l.jobs = append(l.jobs, j)
	return id, err
}
