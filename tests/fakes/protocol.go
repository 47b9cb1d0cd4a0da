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

// Reserve offers the waiting tasks, and those that were offered and not confirmed in time.
func (s *Server) Reserve(ctx context.Context, limit int, wait time.Duration) (offers []msg.Offer, err error) {
	poll := 0
	var deadline time.Time
	err = s.Until(ctx, Reserve, func() (done bool, changed <-chan struct{}, again time.Time, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unregistered {
			return true, nil, again, refuse(Reserve, 401)
		}
		if poll == 0 {
			poll, deadline = s.openPoll(ctx), time.Now().Add(wait)
		}
		offers, again = s.offer(limit)
		if again.IsZero() || deadline.Before(again) {
			again = deadline
		}
		return len(offers) > 0 || !time.Now().Before(deadline), s.changed, again, nil
	})
	if err != nil { // the answer is lost
		offers = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.openPolls, poll)
	return offers, err
}

// openPoll records a long poll and returns its number. Two polls at a time are a violation, unless the first one's context has ended.
// mu is held.
func (s *Server) openPoll(ctx context.Context) int {
	for _, other := range s.openPolls {
		if other.Err() == nil {
			s.add("intake: two reserve calls at the same time")
		}
	}
	s.polls++
	s.openPolls[s.polls] = ctx
	return s.polls
}

// offer makes offers, and returns when the next offer expires. mu is held.
func (s *Server) offer(limit int) (offers []msg.Offer, next time.Time) {
	for _, j := range s.order {
		switch {
		case j.confirmed || j.forgotten || j.abortReason != "" || j.Kind == msg.Script:
		case !j.leaseEnds.IsZero() && time.Now().Before(j.leaseEnds):
			if next.IsZero() || j.leaseEnds.Before(next) {
				next = j.leaseEnds
			}
		case len(offers) < limit:
			j.offers++
			j.execution = msg.ExecutionID(fmt.Sprintf("%s-%d", j.id, j.offers))
			j.offeredAt, j.leaseEnds = time.Now(), time.Now().Add(offerTimeout)
			offers = append(offers, j.offer())
		}
	}
	return offers, next
}

func (j *job) offer() msg.Offer {
	o := msg.Offer{SessionKey: j.sealed, Input: j.input, Job: msg.Job{
		ID: j.id, Execution: j.execution, Kind: cmp.Or(j.Kind, msg.Task), TaskID: string(j.id), TaskType: j.Type, Image: j.Image,
		Priority: j.Priority, Timeout: j.Timeout}}
	if j.InputByURL {
		o.Input, o.InputURL = "", string(j.id)
	}
	return o
}

func refuse(op string, status int) *msg.Refusal { return &msg.Refusal{Op: op, Status: status} }

// Confirm assigns the job to the runner.
func (s *Server) Confirm(ctx context.Context, id msg.JobID, execution msg.ExecutionID) error {
	return s.Do(ctx, Confirm, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[id]
		switch {
		case s.unregistered:
			return refuse(Confirm, 401)
		case j == nil || j.forgotten || j.abandoned:
			return refuse(Confirm, 404)
		case j.execution != execution:
			return refuse(Confirm, 409)
		case j.confirmed:
			return nil
		case j.abortReason != "":
			return refuse(Confirm, 410)
		}
		j.confirmed, j.confirmedAt = true, time.Now()
		return nil
	})
}

// Heartbeat returns stop orders for the jobs that must end.
func (s *Server) Heartbeat(ctx context.Context, phases []msg.JobPhase) (orders []msg.StopOrder, err error) {
	err = s.Do(ctx, Heartbeat, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unregistered {
			return refuse(Heartbeat, 401)
		}
		orders, s.pendingStops = s.pendingStops, nil
		for _, j := range s.order {
			if j.abortReason != "" && j.execution != "" && j.finish == nil {
				orders = append(orders, msg.StopOrder{ID: j.id, Execution: j.execution, Reason: j.abortReason})
			}
		}
		for _, p := range phases {
			if j := s.jobs[p.ID]; j == nil || j.forgotten {
				orders = append(orders, msg.StopOrder{ID: p.ID, Execution: p.Execution, Reason: "the server does not know it"})
			}
		}
		return nil
	})
	return orders, err
}

// AppendLog appends to a job's log. Bytes must arrive in order.
func (s *Server) AppendLog(ctx context.Context, id msg.JobID, offset int64, text []byte, total int64) (size int64, err error) {
	err = s.Do(ctx, Log, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[id]
		switch {
		case s.unregistered:
			return refuse(Log, 401)
		case j == nil || j.forgotten || j.abandoned:
			return refuse(Log, 404)
		}
		size = int64(len(j.log))
		switch {
		case !j.confirmed:
			s.add("I3: log of unconfirmed job %s", id)
		case j.Kind == msg.Script:
			s.add("protocol: log of script %s", id)
		case offset < size && bytes.HasPrefix(j.log[offset:], text) && offset+int64(len(text)) == size && total == j.total && total >= 0:
			return nil // a repeated request
		case offset != size:
			return &msg.Refusal{Op: Log, Status: 409, Offset: size}
		case j.total >= 0 && len(text) > 0:
			s.add("I7: log of %s continues after its total", id)
		}
		j.log = append(j.log, text...)
		if size = int64(len(j.log)); total >= 0 {
			if total != size {
				s.add("I7: log of %s has %d bytes, but its total is %d", id, size, total)
			}
			j.total = total
		}
		return nil
	})
	return size, err
}

// Finish records a job's ending. The first one counts, and a different second one is a violation.
func (s *Server) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	return s.Do(ctx, Finish, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		j := s.jobs[of.ID]
		switch {
		case s.unregistered:
			return refuse(Finish, 401)
		case j == nil || j.forgotten || j.abandoned:
			return refuse(Finish, 404)
		case !j.confirmed:
			s.add("I3: finish of unconfirmed job %s", of.ID)
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
