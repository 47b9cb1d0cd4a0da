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

// offerTimeout is how long an offer waits to be confirmed before the job is offered again.
const offerTimeout = time.Minute

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
	violations
	publicKey []byte // of the runner

	mu           sync.Mutex // guards what follows
	config       msg.Config
	jobs         map[msg.JobID]*job
	order        []*job
	polls        int                     // number of long polls so far
	openPolls    map[int]context.Context // by number
	pendingStops []msg.StopOrder
	stream       eventStream
	unregistered bool
	changed      chan struct{}
}

// job is a submitted task.
type job struct {
	Task
	id          msg.JobID
	key         seal.Key
	sealed      []byte
	input       string
	offers      int
	execution   msg.ExecutionID // of the newest offer
	leaseEnds   time.Time       // zero: not offered
	confirmed   bool
	offeredAt   time.Time // of the newest offer
	confirmedAt time.Time
	abortReason string
	log         []byte
	total       int64
	finish      *Finished
	forgotten   bool // the server does not know the job any more
	abandoned   bool // the runner has unregistered
}

// Finished is the finish of a job. If there were several, it is the first.
type Finished struct {
	msg.Ending
	Result   string // decrypted
	At       time.Time
	LogBytes int // at the finish
}

// NewServer returns a server, in real time, for the runner with this public key.
func NewServer(publicKey []byte, config msg.Config) *Server {
	return NewServerWith(fake.NewFaults(fake.RealTime(), nil), publicKey, config)
}

// NewServerWith is like NewServer, with the scheduler of faults.
func NewServerWith(faults *fake.Faults, publicKey []byte, config msg.Config) *Server {
	return &Server{Faults: faults, publicKey: publicKey, config: config, jobs: map[msg.JobID]*job{}, openPolls: map[int]context.Context{},
		changed: make(chan struct{})}
}

// Submit submits a task.
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
		s.offerScript(j)
	}
	s.change()
	return j.id
}

func (s *Server) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Abort makes every heartbeat order the stop of a job until it is finished.
func (s *Server) Abort(id msg.JobID, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].abortReason = reason
}

// AbortOnce makes only the next heartbeat order the stop of a job.
func (s *Server) AbortOnce(id msg.JobID, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pendingStops = append(s.pendingStops, msg.StopOrder{ID: id, Execution: s.jobs[id].execution, Reason: reason})
}

// Forget makes the server forget a job.
func (s *Server) Forget(id msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].forgotten = true
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

// UnfinishedJobs lists the confirmed jobs without a finish.
func (s *Server) UnfinishedJobs() (ids []msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.confirmed && j.finish == nil && !j.forgotten {
			ids = append(ids, j.id)
		}
	}
	return ids
}

// CountOpenJobs counts the jobs without a finish. It skips forgotten jobs, and aborted ones that the runner has not confirmed.
func (s *Server) CountOpenJobs() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		if j.finish == nil && !j.forgotten && !(j.abortReason != "" && !j.confirmed) {
			n++
		}
	}
	return n
}

// IsExecutionConfirmed reports whether the runner has confirmed the job under this execution id.
func (s *Server) IsExecutionConfirmed(id msg.ExecutionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(string(id), "-")
	j := s.jobs[msg.JobID(name)]
	return j != nil && j.confirmed && j.execution == id
}

// JobInfo is the server's state of a job.
type JobInfo struct {
	Task
	ID          msg.JobID
	Execution   msg.ExecutionID // of the newest offer
	Confirmed   bool
	OfferedAt   time.Time // of the newest offer
	ConfirmedAt time.Time
	Aborted     bool // Abort was called
	Forgotten   bool
	Abandoned   bool // the runner has unregistered
	Finish      *Finished
	Log         string
	LogComplete bool
}

// Jobs lists all jobs, oldest first.
func (s *Server) Jobs() (all []JobInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.order {
		all = append(all, j.info())
	}
	return all
}

// JobOf returns a job by any of its execution ids.
func (s *Server) JobOf(id msg.ExecutionID) JobInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, _ := strings.Cut(string(id), "-")
	if j := s.jobs[msg.JobID(name)]; j != nil {
		return j.info()
	}
	return JobInfo{}
}

func (j *job) info() JobInfo {
	return JobInfo{Task: j.Task, ID: j.id, Execution: j.execution, Confirmed: j.confirmed, OfferedAt: j.offeredAt, ConfirmedAt: j.confirmedAt,
		Aborted: j.abortReason != "", Forgotten: j.forgotten, Abandoned: j.abandoned, Finish: j.finish, Log: string(j.log), LogComplete: j.total >= 0}
}

// LogOf returns a job's log, and whether it is complete.
func (s *Server) LogOf(id msg.JobID) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	return string(j.log), j.total >= 0
}

// ExecutionOf returns the execution id of a job's newest offer.
func (s *Server) ExecutionOf(id msg.JobID) msg.ExecutionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].execution
}

// IsJobConfirmed reports whether the runner has confirmed a job.
func (s *Server) IsJobConfirmed(id msg.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].confirmed
}

// Register registers the runner and returns its configuration.
func (s *Server) Register(ctx context.Context) (reg msg.Registration, err error) {
	err = s.Do(ctx, Register, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unregistered = false
		s.stream.registrations++
		s.stream.registeredID, s.stream.repeated = s.stream.lastID, nil
		reg = msg.Registration{RunnerID: "runner", AccessToken: "token", LastEventID: s.lastEventID(), Config: s.config}
		return nil
	})
	return reg, err
}

// FetchInput returns an input. The URL is the job's id.
func (s *Server) FetchInput(ctx context.Context, url string) (body io.ReadCloser, err error) {
	err = s.Do(ctx, Fetch, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unregistered {
			return refuse(Fetch, 401)
		}
		body = io.NopCloser(strings.NewReader(s.jobs[msg.JobID(url)].input))
		return nil
	})
	return body, err
}
