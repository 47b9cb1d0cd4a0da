package fakes

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// lease is how long the server keeps an offer for the runner that it was made to.
const lease = time.Minute

// Operations of the server, for Script and Calls.
const (
	Register   = "register"
	Events     = "events"
	Reserve    = "reserve"
	Fetch      = "fetch"
	Confirm    = "confirm"
	Heartbeat  = "heartbeat"
	Log        = "log"
	Finish     = "finish"
	Unregister = "unregister"
)

// Server is a Release server for one runner.
type Server struct {
	*fake.Faults
	breaches
	publicKey []byte // of the runner

	mu        sync.Mutex // guards what follows
	config    msg.Config
	jobs      map[msg.JobID]*job
	order     []*job
	polls     int
	reserving map[int]context.Context // by number
	once      []msg.StopOrder
	channel   channel
	left      bool // the runner has unregistered
	changed   chan struct{}
}

// job is a task on its way.
type job struct {
	Task
	id        msg.JobID
	key       seal.Key
	sealed    []byte
	input     string
	offers    int
	execution msg.ExecutionID // of the newest offer
	leaseEnds time.Time       // zero: not offered
	confirmed bool
	offered   time.Time // the newest offer
	taken     time.Time // when it was confirmed
	abort     string
	log       []byte
	total     int64
	finish    *Finished
	gone      bool // the server has forgotten it
	abandoned bool // its runner has left for good
}

// Finished is a job's finish in effect.
type Finished struct {
	msg.Ending
	Result   string // decrypted
	At       time.Time
	LogBytes int // that were there
}

// NewServer is a server for the runner that has the private half of the key.
func NewServer(publicKey []byte, config msg.Config) *Server {
	return NewServerOn(fake.On(fake.Live(), nil), publicKey, config)
}

// NewServerOn is NewServer, on the stage of these faults.
func NewServerOn(faults *fake.Faults, publicKey []byte, config msg.Config) *Server {
	return &Server{Faults: faults, publicKey: publicKey, config: config, jobs: map[msg.JobID]*job{}, reserving: map[int]context.Context{},
		changed: make(chan struct{})}
}

// Submit puts a task into the queue.
func (s *Server) Submit(t Task) msg.JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &job{Task: t, id: msg.JobID(fmt.Sprintf("job%d", len(s.order)+1)), key: seal.NewKey(), total: -1}
	var err error
	if j.input, err = t.input(j.key); err != nil {
		panic(err)
	}
	if j.sealed, err = seal.SealKey(s.publicKey, j.key); err != nil {
		panic(err)
	}
	s.jobs[j.id] = j
	s.order = append(s.order, j)
	if j.Kind == msg.Script {
		s.push(j)
	}
	s.change()
	return j.id
}

func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Abort asks for the end of a job, with every heartbeat until it is finished.
func (s *Server) Abort(id msg.JobID, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].abort = reason
}

// AbortOnce asks for the end of a job with the next heartbeat, and not again.
func (s *Server) AbortOnce(id msg.JobID, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.once = append(s.once, msg.StopOrder{ID: id, Execution: s.jobs[id].execution, Reason: reason})
}

// Forget lets the server know nothing of a job any more.
func (s *Server) Forget(id msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].gone = true
}

// FinishOf returns how a job ended.
func (s *Server) FinishOf(id msg.JobID) (Finished, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.jobs[id].finish; f != nil {
		return *f, true
	}
	return Finished{}, false
}

// Unfinished lists the jobs that the runner owes a finish for.
func (s *Server) Unfinished() (ids []msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.confirmed && j.finish == nil && !j.gone {
			ids = append(ids, j.id)
		}
	}
	return ids
}

// Open counts the jobs that have no finish.
func (s *Server) Open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.finish == nil && !j.gone && !(j.abort != "" && !j.confirmed) {
			n++
		}
	}
	return n
}

// IsConfirmed reports whether the runner has a job under this id.
func (s *Server) IsConfirmed(id msg.ExecutionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(string(id), "-")
	j := s.jobs[msg.JobID(name)]
	return j != nil && j.confirmed && j.execution == id
}

// Account is what the server knows of a job.
type Account struct {
	Task
	ID        msg.JobID
	Execution msg.ExecutionID // of the newest offer
	Confirmed bool
	Offered   time.Time // the newest offer
	Taken     time.Time // when it was confirmed
	Aborted   bool      // somebody asked for its end
	Forgotten bool
	Abandoned bool // its runner has left for good
	Finish    *Finished
	Log       string
	LogEnded  bool
}

// Accounts lists all jobs, oldest first.
func (s *Server) Accounts() (all []Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		all = append(all, j.account())
	}
	return all
}

// AccountOf returns one, by any of its offers.
func (s *Server) AccountOf(id msg.ExecutionID) Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(string(id), "-")
	if j := s.jobs[msg.JobID(name)]; j != nil {
		return j.account()
	}
	return Account{}
}

func (j *job) account() Account {
	return Account{Task: j.Task, ID: j.id, Execution: j.execution, Confirmed: j.confirmed, Offered: j.offered, Taken: j.taken,
		Aborted: j.abort != "", Forgotten: j.gone, Abandoned: j.abandoned, Finish: j.finish, Log: string(j.log), LogEnded: j.total >= 0}
}

// LogOf returns a job's log, and whether its total is known.
func (s *Server) LogOf(id msg.JobID) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	return string(j.log), j.total >= 0
}

// ExecutionOf returns the newest offer of a job.
func (s *Server) ExecutionOf(id msg.JobID) msg.ExecutionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].execution
}

// Confirmed reports whether the runner has a job.
func (s *Server) Confirmed(id msg.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].confirmed
}

// Register answers with the configuration.
func (s *Server) Register(ctx context.Context) (reg msg.Registration, err error) {
	err = s.Do(ctx, Register, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left = false
		s.channel.sessions++
		s.channel.counted, s.channel.late = s.channel.last, nil
		reg = msg.Registration{RunnerID: "runner", AccessToken: "token", LastEventID: s.lastEvent(), Config: s.config}
		return nil
	})
	return reg, err
}

// FetchInput serves an input by the job's id.
func (s *Server) FetchInput(ctx context.Context, url string) (body io.ReadCloser, err error) {
	err = s.Do(ctx, Fetch, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left {
			return refuse(Fetch, 401)
		}
		body = io.NopCloser(strings.NewReader(s.jobs[msg.JobID(url)].input))
		return nil
	})
	return body, err
}
