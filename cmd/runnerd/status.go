package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// statusDocument is what `runnerd status -o json` prints. docs/operations.md explains it: what is there stays there.
type statusDocument struct {
	Running  bool      `json:"running"` // a runner has answered; else all is what its spool says
	Version  string    `json:"version,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	StateDir string    `json:"stateDir"`

	Phase    string   `json:"phase,omitempty"` // starting, recovering, registering, online, offline, draining, leaving, deleting, no answer
	NotReady []string `json:"notReady"`        // why; empty: ready

	Server    *serverStatus      `json:"server,omitempty"`
	Recovery  *msg.Recovery      `json:"recovery,omitempty"`
	Executors []executorStatus   `json:"executors"`
	Jobs      []jobStatus        `json:"jobs"` // that wait or run
	Backlog   backlogStatus      `json:"backlog"`
	Spool     spoolStatus        `json:"spool"`
	Actors    []actorrt.NodeStatus `json:"actors,omitempty"`
}

type serverStatus struct {
	URL         string    `json:"url"`
	RunnerID    string    `json:"runnerId,omitempty"`
	LastContact time.Time `json:"lastContact,omitzero"` // its last answer to a registration or a heartbeat, or the last event
	Revision    int64     `json:"revision"`             // of its configuration
	Enabled     bool      `json:"enabled"`
	Capacity    int       `json:"capacity"`
	Eviction    int64     `json:"evictionSeconds"`
}

type executorStatus struct {
	ID      msg.ExecutorID  `json:"id"`
	Image   string          `json:"image"`
	State   string          `json:"state,omitempty"` // busy, idle, unresponsive, stopping, gone
	Since   time.Time       `json:"since,omitzero"`  // idle, or at its job, or made
	Created time.Time       `json:"created,omitzero"`
	Jobs    int             `json:"jobs"` // handed out to it so far
	Job     msg.ExecutionID `json:"job,omitempty"`
	Retired string          `json:"retired,omitempty"` // why it takes no more jobs
}

type jobStatus struct {
	ID        msg.JobID       `json:"jobId"`
	Execution msg.ExecutionID `json:"executionId"`
	Kind      msg.Kind        `json:"kind"`
	TaskType  string          `json:"taskType"`
	Image     string          `json:"image"`
	Stage     string          `json:"stage"` // reserved, confirmed, handed out, ended, finished
	Since     time.Time       `json:"since"` // handed out, or taken from the server
	Executor  msg.ExecutorID  `json:"executor,omitempty"`
	Abort     string          `json:"abort,omitempty"` // why its end was asked for
}

// backlogStatus is about the jobs that are over and not reported to the end.
type backlogStatus struct {
	Jobs   int        `json:"jobs"`
	Oldest *jobStatus `json:"oldest,omitempty"`
}

type spoolStatus struct {
	Waiting  int    `json:"waiting"` // jobs
	Running  int    `json:"running"`
	Over     int    `json:"over"`     // not reported to the end
	Rejected int    `json:"rejected"` // refused by the server, kept for a person
	Corrupt  int    `json:"corrupt"`  // records that could not be read, kept for a person
	Free     uint64 `json:"freeBytes"`
	LowWater uint64 `json:"lowWaterBytes,omitempty"` // below which no jobs are taken
}

// status needs no actor to answer: one that hangs is seen hanging.
func (d *daemon) status(ctx context.Context) statusDocument {
	doc := statusDocument{
		Running: true, Version: thisBuild().Version, PID: os.Getpid(), Started: d.started, StateDir: d.config.Self.StateDir,
		Phase: "starting", NotReady: append([]string{}, d.health.reasons()...), Server: &serverStatus{URL: d.config.Release.URL},
	}
	if runner, err := ask(ctx, d, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} }); err == nil {
		c := runner.Config
		doc.Phase, doc.Recovery = runner.State, &runner.Recovery
		doc.Server = &serverStatus{d.config.Release.URL, runner.RunnerID, runner.LastContact, c.Revision, c.Enabled, c.Capacity, int64(c.Eviction / time.Second)}
	}
	if doc.Recovery == nil && d.tree.Load() != nil {
		doc.Phase = "no answer"
	}
	pool, _ := ask(ctx, d, func(reply func(msg.Pool)) msg.ToRunner { return msg.PoolRequested{Reply: reply} }) // else as the spool has it
	if tree := d.tree.Load(); tree != nil {
		doc.Actors = tree.system.Tree()
	}
	doc.count(d.spool.Jobs())
	doc.executors(d.spool.Executors(), pool)
	doc.Spool.Free, _ = d.spool.Free() // 0, which it then nearly is
	doc.Spool.LowWater = d.spool.RoomFrom()
	doc.Spool.Rejected, doc.Spool.Corrupt, _ = d.spool.Kept()
	return doc
}

// count sorts the jobs of the spool, oldest first, into what waits, what runs, and what is over.
func (s *statusDocument) count(jobs []msg.JobRecord) {
	s.Jobs = []jobStatus{}
	for _, job := range jobs {
		of := statusOf(job)
		switch {
		case job.Stage >= msg.Ended:
			s.Spool.Over++
			if s.Backlog.Jobs++; s.Backlog.Oldest == nil {
				s.Backlog.Oldest = &of
			}
			continue
		case job.Stage == msg.HandedOut:
			s.Spool.Running++
		default:
			s.Spool.Waiting++
		}
		s.Jobs = append(s.Jobs, of)
	}
}

func statusOf(job msg.JobRecord) jobStatus {
	since := job.HandedOutAt
	if since.IsZero() {
		since = job.Added
	}
	return jobStatus{job.ID, job.Execution, job.Kind, job.TaskType, job.Image, job.Stage.String(), since, job.Executor, job.Abort}
}

// executors joins what their records say with what the dispatcher knows: of one that is being made there is no record yet.
func (s *statusDocument) executors(records []msg.ExecutorRecord, pool msg.Pool) {
	s.Executors = []executorStatus{}
	views := map[msg.ExecutorID]msg.ExecutorView{}
	for _, v := range pool.Executors {
		views[v.ID] = v
	}
	open := map[msg.ExecutorID]jobStatus{}
	for _, job := range s.Jobs {
		if job.Executor != "" {
			open[job.Executor] = job
		}
	}
	for _, r := range records {
		x := executorStatus{ID: r.ID, Image: r.Key.Image, State: views[r.ID].State, Since: r.Created, Created: r.Created, Jobs: r.Jobs, Retired: r.Retired}
		x.Job = cmp.Or(open[r.ID].Execution, views[r.ID].Job)
		if !r.IdleSince.IsZero() {
			x.Since = r.IdleSince
		} else if job, ok := open[r.ID]; ok {
			x.Since = job.Since
		}
		delete(views, r.ID)
		s.Executors = append(s.Executors, x)
	}
	for _, v := range views {
		s.Executors = append(s.Executors, executorStatus{ID: v.ID, Image: v.Image, State: v.State, Job: v.Job})
	}
	slices.SortStableFunc(s.Executors, func(a, b executorStatus) int { return cmp.Compare(a.ID, b.ID) })
}
