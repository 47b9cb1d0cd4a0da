package devserver

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func (a runnerAPI) Register(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(token), []byte(a.options.Token)) == 0 || token == "" {
		respond(w, errorf(401, "wrong registration token: give the runner the token that the server was started with"))
		return
	}
	var info api.Runner
	if err := decodeJSON(w, r, maxSmallBody, &info, "uuid", "name", "version", "publicKey"); err != nil {
		respond(w, err)
		return
	}
	if _, err := seal.SealKey(info.PublicKey, seal.NewKey()); err != nil {
		respond(w, errorf(400, "publicKey is invalid: %v", err))
		return
	}
	respondJSON(w, http.StatusOK, a.register(info))
}

func (s *Server) register(info api.Runner) api.Registration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *runner
	if i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.info.UUID == info.UUID }); i >= 0 {
		r = s.runners[i]
	} else {
		r = &runner{id: newID("runner"), config: s.options.Config, maxCapacity: s.options.Config.Capacity}
		s.runners = append(s.runners, r)
		s.events.open(r.id)
	}
	r.info, r.token, r.lastSeen = info, rand.Text(), time.Now()
	s.ledger.record(Entry{Op: "register", Runner: r.id, Detail: info.Name + " " + info.Version})
	s.options.Log.Info().Str("runner", r.id).Str("name", info.Name).Msg("runner registered")
	registration := api.Registration{
		RunnerID: r.id, AccessToken: r.token, LastEventID: s.events.startSession(r.id), Config: r.config,
	}
	s.work.notify()
	s.pushScripts()
	return registration
}

func (a runnerAPI) Unregister(w http.ResponseWriter, r *http.Request, runnerID string) {
	caller, err := a.authenticateAs(r, runnerID)
	if err != nil {
		respond(w, err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runners = slices.DeleteFunc(a.runners, func(r *runner) bool { return r == caller })
	a.events.remove(runnerID)
	a.releaseTasks(runnerID)
	a.ledger.record(Entry{Op: "unregister", Runner: runnerID})
	respond(w, nil)
}

// releaseTasks fails the tasks that an unregistered runner had confirmed, and queues its other ones again.
func (s *Server) releaseTasks(runnerID string) {
	for _, t := range slices.Clone(s.open) {
		switch {
		case t.view.Runner != runnerID:
		case t.view.State == Running:
			s.endTask(t, Failed, failureMessage("the runner unregistered before the job was finished"))
		case t.view.State == Offered:
			t.view.State, t.view.Runner, t.view.Execution = Queued, "", ""
		}
	}
	s.work.notify()
	s.pushScripts()
}

// newID returns a random id. It differs from all ids of earlier server processes, so a job that a runner still has from one
// of them is unknown here instead of mistaken for another.
func newID(kind string) string { return kind + "-" + strings.ToLower(rand.Text()[:12]) }
