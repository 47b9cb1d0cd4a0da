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
		var jobs []api.Job
		if "Bearer "+to.token != r.Header.Get("Authorization") {
			wait = -1 // registered again meanwhile: the caller is gone
		} else {
			jobs = s.offer(to, most)
		}
		work, lapse := s.work.wait(), time.NewTimer(s.nextLapse())
		s.mu.Unlock()
		if len(jobs) > 0 || wait < 0 {
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
