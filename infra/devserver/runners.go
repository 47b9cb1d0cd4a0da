package devserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/release/api"
)

// runnerAPI implements the generated interface of the Runner API, so that its methods are not part of the Server's Go API.
type runnerAPI struct{ *Server }

var (
	_ api.ServerInterface = runnerAPI{}

	errClosing      = errorf(http.StatusServiceUnavailable, "the server is closing")
	errUnauthorized = errorf(http.StatusUnauthorized, "the access token is missing, wrong or expired: register again")
)

// runner is a registered runner. Guarded by Server.mu.
type runner struct {
	id, token   string
	info        api.Runner
	config      api.Config
	maxCapacity int // highest capacity so far
	lastSeen    time.Time
}

// RunnerView is a runner in the REST API.
type RunnerView struct {
	ID           string            `json:"id"`
	UUID         string            `json:"uuid"`
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	Capabilities []string          `json:"capabilities,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Config       api.Config        `json:"config"`
	LastSeen     time.Time         `json:"seen"` // time of its last request
}

// Runners returns the registered runners in the order of their first registration.
func (s *Server) Runners() []RunnerView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]RunnerView, 0, len(s.runners))
	for _, r := range s.runners {
		views = append(views, RunnerView{r.id, r.info.UUID, r.info.Name, r.info.Version, r.info.Capabilities,
			r.info.Metadata, r.config, r.lastSeen})
	}
	return views
}

// Configure changes the configuration of a runner, increments its revision, and sends it to the runner. A change of Enabled
// is also sent as Enable or Disable.
func (s *Server) Configure(runnerID string, change func(*api.Config)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runner(runnerID)
	if err != nil {
		return err
	}
	before, after := r.config, r.config
	change(&after)
	if err := checkConfig(after); err != nil {
		return err
	}
	after.Revision = before.Revision + 1
	r.config = after
	r.maxCapacity = max(r.maxCapacity, r.config.Capacity)
	s.events.send(r.id, "Configure", "", api.ConfigureEvent{Config: r.config})
	switch {
	case r.config.Enabled && !before.Enabled:
		s.events.send(r.id, "Enable", "", struct{}{})
	case before.Enabled && !r.config.Enabled:
		s.events.send(r.id, "Disable", "", struct{}{})
	}
	s.work.notify()
	s.pushScripts()
	return nil
}

func checkConfig(c api.Config) error {
	if c.Capacity < 0 {
		return errorf(400, "capacity is %d: give the number of executors, or 0 for none", c.Capacity)
	}
	return checkSeconds("evictionSeconds", c.EvictionSeconds, "for one executor per task")
}

func (s *Server) enable(runnerID string, enabled bool) error {
	return s.Configure(runnerID, func(c *api.Config) { c.Enabled = enabled })
}

func (s *Server) sendPing(runnerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runner(runnerID)
	if err == nil {
		s.events.send(r.id, "Ping", "", struct{}{})
	}
	return err
}

// Delete disables a runner and sends it the Delete event. The runner then aborts its jobs and unregisters.
func (s *Server) Delete(runnerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runner(runnerID)
	if err != nil {
		return err
	}
	r.config.Enabled = false
	s.events.send(r.id, "Delete", "", struct{}{})
	return nil
}

func (s *Server) runner(id string) (*runner, error) {
	i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.id == id })
	if i < 0 {
		return nil, errorf(404, "runner %q not found", id)
	}
	return s.runners[i], nil
}

// authenticate returns the runner whose access token the request has.
func (s *Server) authenticate(r *http.Request) (*runner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.token == token })
	if !ok || i < 0 {
		return nil, errUnauthorized
	}
	s.runners[i].lastSeen = time.Now()
	return s.runners[i], nil
}

// authenticateAs also checks that the access token belongs to the runner in the path.
func (s *Server) authenticateAs(r *http.Request, runnerID string) (*runner, error) {
	caller, err := s.authenticate(r)
	if err == nil && caller.id != runnerID {
		err = errorf(404, "the access token does not belong to runner %q: register again", runnerID)
	}
	return caller, err
}

// untilClose returns a context that also ends with the server.
func (s *Server) untilClose(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}
