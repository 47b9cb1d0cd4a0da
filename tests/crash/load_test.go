package crash

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// load keeps the runner busy and stores the submitted jobs.
type load struct {
	env      *harness.Env
	images   []string
	notifier *harness.Notifier

	workers sync.WaitGroup
	stopped chan struct{}

	mu   sync.Mutex // guards jobs
	jobs []job
}

// job is a task of the load.
type job struct {
	id    string
	name  string // its name at the notifier
	steps int
}

// start keeps a number of jobs open until stop.
func (l *load) start(open int) {
	l.stopped = make(chan struct{})
	for range open {
		l.workers.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				default:
				}
				id, err := l.submit()
				if err != nil {
					l.env.T.Errorf("submit a job: %v", err)
					return
				}
				if !l.waitDone(id) {
					return
				}
			}
		})
	}
}

func (l *load) waitDone(id string) bool {
	ctx, cancel := context.WithTimeoutCause(context.Background(), harness.Timeout, errors.New("not done in time"))
	defer cancel()
	view, err := l.env.Server.Wait(ctx, id)
	if err != nil {
		l.env.T.Errorf("job %s: %v; state %s\n%s", id, err, view.State, l.env.GrepLog(id))
	}
	return err == nil
}

// stop submits no more jobs and waits until all are done.
func (l *load) stop() {
	close(l.stopped)
	l.workers.Wait()
}

func (l *load) submit() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.jobs)
	j := job{name: fmt.Sprintf("%s-%d", l.env.Marker, n), steps: 3 + n%8}
	id, err := l.env.Server.Submit(devserver.TaskRequest{
		Image: l.images[n/5%len(l.images)], TaskType: "sample.Slow", // the image changes every five jobs, because a change evicts the idle executors
		Properties: map[string]any{"steps": j.steps, "delayMillis": 40, "name": j.name, "notify": l.notifier.Address},
	})
	j.id = id
	l.jobs = append(l.jobs, j)
	return id, err
}
