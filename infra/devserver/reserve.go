package devserver

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"runnerd/infra/release/api"
)

func (a runnerAPI) Reserve(w http.ResponseWriter, r *http.Request, runnerID string, params api.ReserveParams) {
	caller, err := a.authenticateAs(r, runnerID)
	if err != nil {
		respond(w, err)
		return
	}
	wait, err := a.pollTime(params.Wait)
	if err == nil && params.Max < 1 {
		err = errorf(400, "max must be 1 or more")
	}
	if err != nil {
		respond(w, err)
		return
	}
	if !a.beginLongRequest() {
		respond(w, errClosing)
		return
	}
	defer a.longRequests.Done()
	a.checkCapacity(caller, params.Max)
	if jobs := a.poll(r, caller, params.Max, wait); len(jobs) > 0 {
		respondJSON(w, http.StatusOK, api.Offers{Jobs: jobs})
		return
	}
	respond(w, nil)
}

func (s *Server) pollTime(wait string) (time.Duration, error) {
	if wait == "" {
		return s.options.MaxPoll, nil
	}
	digits, ok := strings.CutSuffix(wait, "s")
	seconds, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil {
		return 0, errorf(400, "wait must be a whole number of seconds, such as 50s")
	}
	return min(time.Duration(seconds)*time.Second, s.options.MaxPoll), nil
}

func (s *Server) checkCapacity(r *runner, requested int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if requested > r.maxCapacity {
		s.ledger.recordViolation("I4", Entry{Op: "reserve", Runner: r.id,
			Detail: fmt.Sprintf("requested %d jobs; the capacity was never above %d", requested, r.maxCapacity)})
	}
}

// poll waits until there is a job to offer and returns up to limit jobs, or none after wait.
func (s *Server) poll(r *http.Request, to *runner, limit int, wait time.Duration) []api.Job {
	done := time.NewTimer(wait)
	defer done.Stop()
	for {
		s.mu.Lock()
		var jobs []api.Job
		if "Bearer "+to.token != r.Header.Get("Authorization") {
			wait = -1 // the runner has registered again: this poll belongs to its old session
		} else {
			jobs = s.offerTasks(to, limit)
		}
		work, expiry := s.work.wait(), time.NewTimer(s.untilNextExpiry())
		s.mu.Unlock()
		if len(jobs) > 0 || wait < 0 {
			expiry.Stop()
			return jobs
		}
		select {
		case <-work:
		case <-expiry.C:
		case <-done.C:
			wait = -1
		case <-r.Context().Done():
			wait = -1
		case <-s.closing.Done():
			wait = -1
		}
		expiry.Stop()
		if wait < 0 {
			return nil
		}
	}
}
