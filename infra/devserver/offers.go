package devserver

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

// offerTasks offers up to limit tasks to a runner, by priority and then by age.
func (s *Server) offerTasks(to *runner, limit int) []api.Job {
	if !to.config.Enabled || !slices.Contains(s.runners, to) {
		return nil
	}
	var ready []*task
	for _, t := range s.open {
		if t.view.Kind == api.KindTask && t.offerable() && to.canRun(t) {
			ready = append(ready, t)
		}
	}
	slices.SortStableFunc(ready, func(a, b *task) int { return b.request.Priority - a.request.Priority })
	var jobs []api.Job
	for _, t := range ready[:min(limit, len(ready))] {
		jobs = append(jobs, s.offerTask(t, to))
		t.lease = time.Now().Add(s.options.Lease)
	}
	return jobs
}

// offerable reports whether the task may be offered, for the first time or again.
func (t *task) offerable() bool {
	return t.view.State == Queued || t.view.State == Offered && !t.lease.IsZero() && !time.Now().Before(t.lease)
}

// untilNextExpiry returns the time until the first lease expires.
func (s *Server) untilNextExpiry() time.Duration {
	next := s.options.MaxPoll
	for _, t := range s.open {
		if t.view.State == Offered && !t.lease.IsZero() && !t.offerable() {
			next = min(next, time.Until(t.lease))
		}
	}
	return next
}

// offerTask makes an offer with a new execution id and a new session key.
func (s *Server) offerTask(t *task, to *runner) api.Job {
	t.key = seal.NewKey()
	sealed, err := seal.SealKey(to.info.PublicKey, t.key)
	if err != nil {
		panic(err) // cannot happen: Register has checked the key
	}
	t.view.State, t.view.Runner, t.view.Execution = Offered, to.id, uuid.NewString()
	job := api.Job{
		JobID: t.view.ID, ExecutionID: t.view.Execution, Kind: t.view.Kind, TaskID: t.view.ID, TaskType: t.view.TaskType,
		Image: t.view.Image, ImagePullPolicy: t.request.ImagePullPolicy, Priority: t.request.Priority,
		SessionKey: sealed, TimeoutSeconds: t.request.TimeoutSeconds, Limits: t.request.Limits,
	}
	if input := seal.Encrypt(t.key, t.input); len(input) <= s.options.MaxInlineInput {
		job.Input = input
	} else {
		t.sealed, job.InputURL = input, "/api/v1/jobs/"+t.view.ID+"/input"
	}
	s.ledger.record(t.entry("offer", ""))
	t.changed.notify()
	return job
}

// pushScripts sends each queued script to the runner with the most recent request that can run it. A script has no lease: its
// event is replayed until it is confirmed.
func (s *Server) pushScripts() {
	for _, t := range s.open {
		if t.view.Kind != api.KindScript || t.view.State != Queued {
			continue
		}
		if to := s.mostRecentRunner(t); to != nil {
			s.events.send(to.id, "ExecuteScript", t.view.ID, api.ExecuteScriptEvent{Job: s.offerTask(t, to)})
		}
	}
}

func (s *Server) mostRecentRunner(t *task) (to *runner) {
	for _, r := range s.runners {
		if r.config.Enabled && r.canRun(t) && (to == nil || r.lastSeen.After(to.lastSeen)) {
			to = r
		}
	}
	return to
}

// remoteScript is the capability to run scripts.
const remoteScript = "remote-script"

func (t *task) requiredCapabilities() []string {
	if t.view.Kind == api.KindScript {
		return append(slices.Clone(t.request.Capabilities), remoteScript)
	}
	return t.request.Capabilities
}

// canRun reports whether the runner has the task's required capabilities. Configured capabilities replace the registered ones.
func (r *runner) canRun(t *task) bool {
	has := r.config.Capabilities
	if len(has) == 0 {
		has = r.info.Capabilities
	}
	return !slices.ContainsFunc(t.requiredCapabilities(), func(need string) bool { return !slices.Contains(has, need) })
}
