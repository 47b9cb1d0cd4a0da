package fakes

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// The server's side of a job: offer, confirm, log, finish.

// Reserve offers what waits, and what was offered and not confirmed in time.
func (s *Server) Reserve(ctx context.Context, most int, wait time.Duration) (offers []msg.Offer, err error) {
	poll := 0
	var over time.Time
	err = s.Until(ctx, Reserve, func() (done bool, changed <-chan struct{}, again time.Time, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left {
			return true, nil, again, refuse(Reserve, 401)
		}
		if poll == 0 {
			poll, over = s.reserves(ctx), time.Now().Add(wait)
		}
		offers, again = s.offer(most)
		if again.IsZero() || over.Before(again) {
			again = over
		}
		return len(offers) > 0 || !time.Now().Before(over), s.changed, again, nil
	})
	if err != nil { // the answer is lost
		offers = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reserving, poll)
	return offers, err
}

// reserves notes a long poll. One that its caller has given up counts no more. mu is held.
func (s *Server) reserves(ctx context.Context) int {
	for _, other := range s.reserving {
		if other.Err() == nil {
			s.add("intake: two reserves at a time")
		}
	}
	s.polls++
	s.reserving[s.polls] = ctx
	return s.polls
}

// offer makes offers, and says when the next lease ends. mu is held.
func (s *Server) offer(most int) (offers []msg.Offer, next time.Time) {
	for _, j := range s.order {
		switch {
		case j.confirmed || j.gone || j.abort != "" || j.Kind == msg.Script:
		case !j.leaseEnds.IsZero() && time.Now().Before(j.leaseEnds):
			if next.IsZero() || j.leaseEnds.Before(next) {
				next = j.leaseEnds
			}
		case len(offers) < most:
			j.offers++
			j.execution = msg.ExecutionID(fmt.Sprintf("%s-%d", j.id, j.offers))
			j.offered, j.leaseEnds = time.Now(), time.Now().Add(lease)
			offers = append(offers, j.offer())
		}
	}
	return offers, next
}

func (j *job) offer() msg.Offer {
	o := msg.Offer{SessionKey: j.sealed, Input: j.input, Job: msg.Job{
		ID: j.id, Execution: j.execution, Kind: cmp.Or(j.Kind, msg.Task), TaskID: string(j.id), TaskType: j.Type, Image: j.Image,
		Priority: j.Priority, Timeout: j.Timeout}}
	if j.Fetched {
		o.Input, o.InputURL = "", string(j.id)
	}
	return o
}

func refuse(op string, status int) *msg.Refusal { return &msg.Refusal{Op: op, Status: status} }

// Confirm gives the job to the runner.
func (s *Server) Confirm(ctx context.Context, id msg.JobID, execution msg.ExecutionID) error {
	return s.Do(ctx, Confirm, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[id]
		switch {
		case s.left:
			return refuse(Confirm, 401)
		case j == nil || j.gone || j.abandoned:
			return refuse(Confirm, 404)
		case j.execution != execution:
			return refuse(Confirm, 409)
		case j.confirmed:
			return nil
		case j.abort != "":
			return refuse(Confirm, 410)
		}
		j.confirmed, j.taken = true, time.Now()
		return nil
	})
}

// Heartbeat answers with the jobs that must end.
func (s *Server) Heartbeat(ctx context.Context, phases []msg.JobPhase) (orders []msg.StopOrder, err error) {
	err = s.Do(ctx, Heartbeat, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left {
			return refuse(Heartbeat, 401)
		}
		orders, s.once = s.once, nil
		for _, j := range s.order {
			if j.abort != "" && j.execution != "" && j.finish == nil {
				orders = append(orders, msg.StopOrder{ID: j.id, Execution: j.execution, Reason: j.abort})
			}
		}
		for _, p := range phases {
			if j := s.jobs[p.ID]; j == nil || j.gone {
				orders = append(orders, msg.StopOrder{ID: p.ID, Execution: p.Execution, Reason: "the server does not know it"})
			}
		}
		return nil
	})
	return orders, err
}

// AppendLog takes bytes in order.
func (s *Server) AppendLog(ctx context.Context, id msg.JobID, offset int64, text []byte, total int64) (size int64, err error) {
	err = s.Do(ctx, Log, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[id]
		switch {
		case s.left:
			return refuse(Log, 401)
		case j == nil || j.gone || j.abandoned:
			return refuse(Log, 404)
		}
		size = int64(len(j.log))
		switch {
		case !j.confirmed:
			s.add("I3: log of %s, which is not confirmed", id)
		case j.Kind == msg.Script:
			s.add("protocol: log of script %s", id)
		case offset < size && bytes.HasPrefix(j.log[offset:], text) && offset+int64(len(text)) == size && total == j.total && total >= 0:
			return nil // the end is repeated
		case offset != size:
			return &msg.Refusal{Op: Log, Status: 409, Offset: size}
		case j.total >= 0 && len(text) > 0:
			s.add("I7: log of %s goes on after its total", id)
		}
		j.log = append(j.log, text...)
		if size = int64(len(j.log)); total >= 0 {
			if total != size {
				s.add("I7: log of %s has %d bytes, and the total is %d", id, size, total)
			}
			j.total = total
		}
		return nil
	})
	return size, err
}

// Finish takes a job's ending: the first one counts, and no other may come.
func (s *Server) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	return s.Do(ctx, Finish, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[of.ID]
		switch {
		case s.left:
			return refuse(Finish, 401)
		case j == nil || j.gone || j.abandoned:
			return refuse(Finish, 404)
		case !j.confirmed:
			s.add("I3: finish of %s, which is not confirmed", of.ID)
		case j.execution != of.Execution:
			s.add("I1: finish of %s under the old execution %s", of.ID, of.Execution)
			return refuse(Finish, 409)
		}
		now := Finished{Ending: ending, At: time.Now(), LogBytes: len(j.log)}
		if len(result) > 0 {
			text, err := seal.Decrypt(j.key, result)
			if err != nil {
				s.add("I9: the result of %s is not encrypted with its key", of.ID)
			}
			now.Result = string(text)
		}
		if ending.Outcome == msg.Completed && len(result) == 0 {
			s.add("I1: %s is completed without a result", of.ID)
		}
		if j.finish != nil && (j.finish.Ending != now.Ending || j.finish.Result != now.Result) {
			s.add("I1: %s is finished twice: %+v and %+v", of.ID, *j.finish, now)
		}
		if j.finish == nil {
			j.finish = &now
		}
		return nil
	})
}
