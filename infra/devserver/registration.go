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
		answer(w, refuse(401, "the registration token is wrong: give the runner the one that the server was started with"))
		return
	}
	var about api.Runner
	if err := read(w, r, smallBody, &about, "uuid", "name", "version", "publicKey"); err != nil {
		answer(w, err)
		return
	}
	if _, err := seal.SealKey(about.PublicKey, seal.NewKey()); err != nil {
		answer(w, refuse(400, "nothing can be sealed to the publicKey: %v", err))
		return
	}
	answerJSON(w, http.StatusOK, a.register(about))
}

func (s *Server) register(about api.Runner) api.Registration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r *runner
	if i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.about.UUID == about.UUID }); i >= 0 {
		r = s.runners[i]
	} else {
		r = &runner{id: newID("runner"), config: s.options.Config, largest: s.options.Config.Capacity}
		s.runners = append(s.runners, r)
		s.events.open(r.id)
	}
	r.about, r.token, r.seen = about, rand.Text(), time.Now()
	s.ledger.record(Entry{Op: "register", Runner: r.id, Detail: about.Name + " " + about.Version})
	s.options.Log.Info().Str("runner", r.id).Str("name", about.Name).Msg("runner registered")
	registration := api.Registration{
		RunnerID: r.id, AccessToken: r.token, LastEventID: s.events.register(r.id), Config: r.config,
	}
	s.work.ring()
	s.pushScripts()
	return registration
}

func (a runnerAPI) Unregister(w http.ResponseWriter, r *http.Request, runnerID string) {
	caller, err := a.self(r, runnerID)
	if err != nil {
		answer(w, err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runners = slices.DeleteFunc(a.runners, func(r *runner) bool { return r == caller })
	a.events.shut(runnerID)
	a.abandon(runnerID)
	a.ledger.record(Entry{Op: "unregister", Runner: runnerID})
	answer(w, nil)
}

// abandon deals with the jobs of a runner that left: what it had confirmed has failed, the rest is free.
func (s *Server) abandon(runnerID string) {
	for _, t := range slices.Clone(s.open) {
		switch {
		case t.view.Runner != runnerID:
		case t.view.State == Running:
			s.done(t, Failed, failure("the runner left for good before the job was finished"))
		case t.view.State == Offered:
			t.view.State, t.view.Runner, t.view.Execution = Queued, "", ""
		}
	}
	s.work.ring()
	s.pushScripts()
}

// newID is an id that no earlier process of the server has used, so that what a runner still has from then is unknown here
// rather than taken for something else.
func newID(kind string) string { return kind + "-" + strings.ToLower(rand.Text()[:12]) }
