package devserver

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func (a runnerAPI) Reserve(w http.ResponseWriter, r *http.Request, runnerID string, params api.ReserveParams) {
	caller, err := a.self(r, runnerID)
	if err != nil {
		answer(w, err)
		return
	}
	wait, err := a.pollTime(params.Wait)
	if err == nil && params.Max < 1 {
		err = refuse(400, "max must be 1 or more")
	}
	if err != nil {
		answer(w, err)
		return
	}
	if !a.hold() {
		answer(w, errClosing)
		return
	}
	defer a.held.Done()
	a.checkRoom(caller, params.Max)
	if jobs := a.poll(r, caller, params.Max, wait); len(jobs) > 0 {
		answerJSON(w, http.StatusOK, api.Offers{Jobs: jobs})
		return
	}
	answer(w, nil)
}

func (s *Server) pollTime(wait string) (time.Duration, error) {
	if wait == "" {
		return s.options.LongestPoll, nil
	}
	digits, ok := strings.CutSuffix(wait, "s")
	seconds, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil {
		return 0, refuse(400, "wait must be seconds, such as 50s")
	}
	return min(time.Duration(seconds)*time.Second, s.options.LongestPoll), nil
}

func (s *Server) checkRoom(r *runner, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asked > r.largest {
		s.ledger.breach("I4", Entry{Op: "reserve", Runner: r.id,
			Detail: fmt.Sprintf("it asks for %d jobs; its capacity was never above %d", asked, r.largest)})
	}
}

// poll offers up to max jobs, as soon as there is one; none after wait.
func (s *Server) poll(r *http.Request, to *runner, most int, wait time.Duration) []api.Job {
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		s.mu.Lock()
		jobs := s.offer(to, most)
		work, lapse := s.work.wait(), time.NewTimer(s.nextLapse())
		s.mu.Unlock()
		if len(jobs) > 0 {
			lapse.Stop()
			return jobs
		}
		select {
		case <-work:
		case <-lapse.C:
		case <-over.C:
			wait = -1
		case <-r.Context().Done():
			wait = -1
		case <-s.closing.Done():
			wait = -1
		}
		lapse.Stop()
		if wait < 0 {
			return nil
		}
	}
}

// offer reserves up to most tasks, by priority and then by age.
func (s *Server) offer(to *runner, most int) []api.Job {
	if !to.config.Enabled || !slices.Contains(s.runners, to) {
		return nil
	}
	var ready []*task
	for _, t := range s.open {
		if t.view.Kind == api.KindTask && t.free() {
			ready = append(ready, t)
		}
	}
	slices.SortStableFunc(ready, func(a, b *task) int { return b.request.Priority - a.request.Priority })
	var jobs []api.Job
	for _, t := range ready[:min(most, len(ready))] {
		jobs = append(jobs, s.offerTask(t, to))
		t.lease = time.Now().Add(s.options.Lease)
	}
	return jobs
}

// free: it may be offered, for the first time or again.
func (t *task) free() bool {
	return t.view.State == Queued || t.view.State == Offered && !t.lease.IsZero() && !time.Now().Before(t.lease)
}

// nextLapse is how long the first of the leases still holds.
func (s *Server) nextLapse() time.Duration {
	next := s.options.LongestPoll
	for _, t := range s.open {
		if t.view.State == Offered && !t.lease.IsZero() {
			next = min(next, time.Until(t.lease))
		}
	}
	return next
}

// offerTask makes an offer under a fresh execution id and a fresh session key.
func (s *Server) offerTask(t *task, to *runner) api.Job {
	t.key = seal.NewKey()
	sealed, err := seal.SealKey(to.about.PublicKey, t.key)
	if err != nil {
		panic(err) // the key was tried at the registration
	}
	t.view.State, t.view.Runner, t.view.Execution = Offered, to.id, uuid.NewString()
	job := api.Job{
		JobID: t.view.ID, ExecutionID: t.view.Execution, Kind: t.view.Kind, TaskID: t.view.ID, TaskType: t.view.TaskType,
		Image: t.view.Image, ImagePullPolicy: t.request.ImagePullPolicy, Priority: t.request.Priority,
		SessionKey: sealed, TimeoutSeconds: t.request.TimeoutSeconds, Limits: t.request.Limits,
	}
	if input := seal.Encrypt(t.key, t.input); len(input) <= s.options.InlineInput {
		job.Input = input
	} else {
		t.sealed, job.InputURL = input, "/api/v1/jobs/"+t.view.ID+"/input"
	}
	s.ledger.record(t.entry("offer", ""))
	t.changed.ring()
	return job
}

// pushScripts sends the scripts that wait to the first runner that takes jobs. A script has no lease: its event is
// replayed until it is confirmed.
func (s *Server) pushScripts() {
	i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.config.Enabled })
	if i < 0 {
		return
	}
	for _, t := range s.open {
		if t.view.Kind == api.KindScript && t.view.State == Queued {
			s.events.send(s.runners[i].id, "ExecuteScript", t.view.ID, api.ExecuteScriptEvent{Job: s.offerTask(t, s.runners[i])})
		}
	}
}

func (a runnerAPI) Confirm(w http.ResponseWriter, r *http.Request, jobID string) {
	caller, err := a.caller(r)
	if err != nil {
		answer(w, err)
		return
	}
	var body api.Confirmation
	if err := read(w, r, smallBody, &body, "executionId"); err != nil {
		answer(w, err)
		return
	}
	answer(w, a.confirm(caller, jobID, body.ExecutionID))
}

func (s *Server) confirm(caller *runner, jobID, execution string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	if err != nil {
		return err
	}
	switch {
	case t.view.Runner != caller.id || t.view.Execution != execution:
		return refuse(409, "job %s is not offered to this runner as %s", jobID, execution)
	case !t.view.Started.IsZero():
		return nil
	case t.view.State.Done():
		return refuse(410, "job %s was aborted", jobID)
	case t.free():
		return refuse(409, "the offer %s of job %s has lapsed", execution, jobID)
	}
	t.view.State, t.view.Started = Running, time.Now()
	s.events.forget(caller.id, func(e event) bool { return e.job == jobID && e.name == "ExecuteScript" })
	s.ledger.record(t.entry("confirm", ""))
	t.changed.ring()
	return nil
}

func (a runnerAPI) Input(w http.ResponseWriter, r *http.Request, jobID string) {
	input, err := a.sealedInput(r, jobID)
	if err != nil {
		answer(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(input))
}

func (s *Server) sealedInput(r *http.Request, jobID string) (string, error) {
	caller, err := s.caller(r)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	switch {
	case err != nil:
		return "", err
	case t.view.State.Done() || t.view.Runner != caller.id:
		return "", refuse(410, "job %s is done, or not this runner's", jobID)
	case t.sealed == "":
		return "", refuse(404, "the input of job %s is in its offer", jobID)
	}
	return t.sealed, nil
}

func (a runnerAPI) Heartbeat(w http.ResponseWriter, r *http.Request, runnerID string) {
	caller, err := a.self(r, runnerID)
	if err != nil {
		answer(w, err)
		return
	}
	var body api.Phases
	if err := read(w, r, smallBody, &body, "jobs"); err != nil {
		answer(w, err)
		return
	}
	answerJSON(w, http.StatusOK, api.Orders{Abort: a.unwanted(caller, body.Jobs)})
}

// unwanted are the jobs that a runner has and should not have. One that is finished may still be sending its log.
func (s *Server) unwanted(caller *runner, jobs []api.JobPhase) []api.AbortJobEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	stops := []api.AbortJobEvent{}
	for _, j := range jobs {
		t := s.tasks[j.JobID]
		switch {
		case t == nil || t.view.Execution != j.ExecutionID || t.view.Runner != caller.id:
			stops = append(stops, api.AbortJobEvent{JobID: j.JobID, ExecutionID: j.ExecutionID, Reason: "the server does not know this job"})
		case t.view.AbortReason != "" && t.ending == nil:
			stops = append(stops, t.stop())
		}
	}
	return stops
}
