package devserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/release/api"
)

// runnerAPI is the Server as runners see it: the generated interface, kept away from the Go API of the Server.
type runnerAPI struct{ *Server }

var (
	_ api.ServerInterface = runnerAPI{}

	errClosing = refuse(http.StatusServiceUnavailable, "the server is closing")
	errToken   = refuse(http.StatusUnauthorized, "the access token is missing, wrong or has ended: register again")
)

// runner is one that has registered. Guarded by Server.mu.
type runner struct {
	id, token string
	about     api.Runner
	config    api.Config
	largest   int // capacity that it ever had
	seen      time.Time
}

// RunnerView is a runner as people see it.
type RunnerView struct {
	ID           string            `json:"id"`
	UUID         string            `json:"uuid"`
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	Capabilities []string          `json:"capabilities,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Config       api.Config        `json:"config"`
	Seen         time.Time         `json:"seen"` // its last request
}

// Runners lists those that are registered, in the order of their first registration.
func (s *Server) Runners() []RunnerView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]RunnerView, 0, len(s.runners))
	for _, r := range s.runners {
		views = append(views, RunnerView{r.id, r.about.UUID, r.about.Name, r.about.Version, r.about.Capabilities,
			r.about.Metadata, r.config, r.seen})
	}
	return views
}

// Configure changes the configuration of a runner, gives it the next revision, and tells the runner. A change of Enabled
// goes as Enable or Disable as well.
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
	r.largest = max(r.largest, r.config.Capacity)
	s.events.send(r.id, "Configure", "", api.ConfigureEvent{Config: r.config})
	switch {
	case r.config.Enabled && !before.Enabled:
		s.events.send(r.id, "Enable", "", struct{}{})
	case before.Enabled && !r.config.Enabled:
		s.events.send(r.id, "Disable", "", struct{}{})
	}
	s.work.ring()
	s.pushScripts()
	return nil
}

func checkConfig(c api.Config) error {
	if c.Capacity < 0 {
		return refuse(400, "capacity: no runner takes %d: give the number of executors, or 0 for none", c.Capacity)
	}
	return checkSeconds("evictionSeconds", c.EvictionSeconds, "for one executor per task")
}

func (s *Server) enable(runnerID string, enabled bool) error {
	return s.Configure(runnerID, func(c *api.Config) { c.Enabled = enabled })
}

func (s *Server) pingNow(runnerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runner(runnerID)
	if err == nil {
		s.events.send(r.id, "Ping", "", struct{}{})
	}
	return err
}

// Delete tells a runner that it is no more: it aborts its jobs and unregisters.
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
		return nil, refuse(404, "there is no runner %q", id)
	}
	return s.runners[i], nil
}

// caller finds the runner whose access token a request carries.
func (s *Server) caller(r *http.Request) (*runner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	i := slices.IndexFunc(s.runners, func(r *runner) bool { return r.token == token })
	if !ok || i < 0 {
		return nil, errToken
	}
	s.runners[i].seen = time.Now()
	return s.runners[i], nil
}

// self is caller where the path names the runner as well.
func (s *Server) self(r *http.Request, runnerID string) (*runner, error) {
	caller, err := s.caller(r)
	if err == nil && caller.id != runnerID {
		err = refuse(404, "this access token is not of runner %q: register again", runnerID)
	}
	return caller, err
}

// untilClose is ctx that ends with the server too.
func (s *Server) untilClose(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}
