package main

import (
	"cmp"
	"context"
	"math"
	"os"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/spool"
)

// statusDocument is the output of `runnerd status -o json`. docs/operations.md explains it.
type statusDocument struct {
	Running  bool      `json:"running"` // false: no runner answered, and the rest is from the spool
	Version  string    `json:"version,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	StateDir string    `json:"stateDir"`

	State    string   `json:"state,omitempty"` // starting, recovering, registering, online, offline, draining, detaching, deleting, no answer
	NotReady []string `json:"notReady"`        // reasons; empty: ready

	Server    *serverStatus        `json:"server,omitempty"`
	Recovery  *msg.Recovery        `json:"recovery,omitempty"`
	Executors []executorStatus     `json:"executors"`
	Jobs      []jobStatus          `json:"jobs"` // waiting and running
	Backlog   backlogStatus        `json:"backlog"`
	Spool     spoolStatus          `json:"spool"`
	Actors    []actorrt.NodeStatus `json:"actors,omitempty"`
}

type serverStatus struct {
	URL         string    `json:"url"`
	RunnerID    string    `json:"runnerId,omitempty"`
	LastContact time.Time `json:"lastContact,omitzero"` // last answer to a registration or a heartbeat, or last event
	Revision    int64     `json:"revision"`             // of the server's configuration
	Enabled     bool      `json:"enabled"`
	Capacity    int       `json:"capacity"`
	Eviction    int64     `json:"evictionSeconds"`
}

type executorStatus struct {
	ID            msg.ExecutorID  `json:"id"`
	Image         string          `json:"image"`
	State         string          `json:"state,omitempty"` // busy, idle, unresponsive, stopping, gone
	Since         time.Time       `json:"since,omitzero"`  // start of being idle, of its job, or of the executor
	Created       time.Time       `json:"created,omitzero"`
	Jobs          int             `json:"jobs"` // number handed out to it so far
	Job           msg.ExecutionID `json:"job,omitempty"`
	RetiredReason string          `json:"retiredReason,omitempty"` // why it takes no more jobs
}

type jobStatus struct {
	ID          msg.JobID       `json:"jobId"`
	Execution   msg.ExecutionID `json:"executionId"`
	Kind        msg.Kind        `json:"kind"`
	TaskType    string          `json:"taskType"`
	Image       string          `json:"image"`
	Stage       string          `json:"stage"` // reserved, confirmed, handed out, ended, finished
	Since       time.Time       `json:"since"` // time of the hand-out, or of being added to the spool
	Executor    msg.ExecutorID  `json:"executor,omitempty"`
	AbortReason string          `json:"abortReason,omitempty"` // why it was aborted
}

// backlogStatus counts the jobs that have ended and are not fully reported.
type backlogStatus struct {
	Jobs   int        `json:"jobs"`
	Oldest *jobStatus `json:"oldest,omitempty"`
}

type spoolStatus struct {
	Waiting    int     `json:"waiting"` // jobs that are not handed out
	Running    int     `json:"running"`
	Unreported int     `json:"unreported"` // ended jobs that are not fully reported
	Rejected   int     `json:"rejected"`   // jobs that the server rejected, kept for an operator
	Corrupt    int     `json:"corrupt"`    // unreadable records, quarantined for an operator
	Free       uint64  `json:"freeBytes"`
	FreeInodes *uint64 `json:"freeInodes,omitempty"`    // nil: the file system does not limit them
	LowWater   uint64  `json:"lowWaterBytes,omitempty"` // no jobs are taken below this
}

// status returns the status even if no actor answers, so that a hanging one is visible.
func (d *daemon) status(ctx context.Context) statusDocument {
	doc := statusDocument{
		Running: true, Version: thisBuild().Version, PID: os.Getpid(), Started: d.started, StateDir: d.config.Self.StateDir,
		State: "starting", NotReady: append([]string{}, d.health.reasons()...), Server: &serverStatus{URL: d.config.Release.URL},
	}
	if runner, err := askRunner(ctx, d, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} }); err == nil {
		c := runner.Config
		doc.State, doc.Recovery = runner.State, &runner.Recovery
		doc.Server = &serverStatus{d.config.Release.URL, runner.RunnerID, runner.LastContact, c.Revision, c.Enabled, c.Capacity, int64(c.Eviction / time.Second)}
	}
	if doc.Recovery == nil && d.tree.Load() != nil {
		doc.State = "no answer"
	}
	pool, _ := askRunner(ctx, d, func(reply func(msg.Pool)) msg.ToRunner { return msg.PoolRequested{Reply: reply} }) // on error, the spool alone
	if tree := d.tree.Load(); tree != nil {
		doc.Actors = tree.system.Tree()
	}
	doc.addJobs(d.spool.Jobs())
	doc.addExecutors(d.spool.Executors(), pool)
	if free, err := d.spool.Free(); err == nil {
		doc.Spool.setFree(free)
	}
	doc.Spool.LowWater = d.spool.RequiredSpace()
	doc.Spool.Rejected, doc.Spool.Corrupt, _ = d.spool.CountRejectedAndCorrupt()
	return doc
}

func (s *spoolStatus) setFree(free spool.Space) {
	s.Free = free.Bytes
	if free.Inodes != math.MaxUint64 {
		s.FreeInodes = &free.Inodes
	}
}

// addJobs adds the jobs of the spool, oldest first.
func (s *statusDocument) addJobs(jobs []msg.JobRecord) {
	s.Jobs = []jobStatus{}
	for _, job := range jobs {
		status := newJobStatus(job)
		switch {
		case job.Stage >= msg.Ended:
			s.Spool.Unreported++
			if s.Backlog.Jobs++; s.Backlog.Oldest == nil {
				s.Backlog.Oldest = &status
			}
			continue
		case job.Stage == msg.HandedOut:
			s.Spool.Running++
		default:
			s.Spool.Waiting++
		}
		s.Jobs = append(s.Jobs, status)
	}
}

func newJobStatus(job msg.JobRecord) jobStatus {
	since := job.HandedOutAt
	if since.IsZero() {
		since = job.Added
	}
	return jobStatus{job.ID, job.Execution, job.Kind, job.TaskType, job.Image, job.Stage.String(), since, job.Executor, job.Abort}
}

// addExecutors joins the records with the dispatcher's view: an executor that is being created has no record yet.
func (s *statusDocument) addExecutors(records []msg.ExecutorRecord, pool msg.Pool) {
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
		x := executorStatus{ID: r.ID, Image: r.Key.Image, State: views[r.ID].State, Since: r.Created, Created: r.Created, Jobs: r.Jobs, RetiredReason: r.Retired}
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
