package devserver_test

import (
	"testing"
	"testing/synctest"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

func TestUnconfirmedOfferIsRepeatedWithNewExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		r := newRunner(t, s)
		submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
		first := r.reserve(1, "50s")[0]
		start := time.Now()
		if jobs := r.reserve(1, "50s"); jobs != nil {
			t.Fatalf("offered again after %v", time.Since(start))
		}
		second := r.reserve(1, "50s")[0]
		if after := time.Since(start); after != time.Minute {
			t.Errorf("offered again after %v, want 1m", after)
		}
		if second.JobID != first.JobID || second.ExecutionID == first.ExecutionID {
			t.Errorf("offered %s as %s, then %s as %s", first.JobID, first.ExecutionID, second.JobID, second.ExecutionID)
		}
		if status := r.confirm(first); status != 409 {
			t.Errorf("confirm of the older offer: status %d, want 409", status)
		}
		if status := r.confirm(second); status != 204 {
			t.Errorf("confirm of the newer offer: status %d, want 204", status)
		}
		time.Sleep(2 * time.Minute)
		if jobs := r.reserve(1, "50s"); jobs != nil {
			t.Errorf("a confirmed job is offered again: %v", jobs)
		}
	})
}

func TestExpiredOfferCannotBeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		r := newRunner(t, s)
		submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
		job := r.reserve(1, "0s")[0]
		time.Sleep(time.Minute)
		if status := r.confirm(job); status != 409 {
			t.Errorf("status %d, want 409", status)
		}
	})
}

func TestReserveWaitsForJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		r := newRunner(t, s)
		start := time.Now()
		if jobs := r.reserve(1, "300s"); jobs != nil || time.Since(start) != 50*time.Second {
			t.Errorf("%v after %v, want none after 50s", jobs, time.Since(start))
		}
		got := make(chan []api.Job)
		start = time.Now()
		go func() { got <- r.reserve(1, "50s") }()
		time.Sleep(7 * time.Second)
		submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
		if jobs := <-got; len(jobs) != 1 || time.Since(start) != 7*time.Second {
			t.Errorf("%v after %v, want one job after 7s", jobs, time.Since(start))
		}
	})
}

func TestDisabledRunnerGetsNoOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		r := newRunner(t, s)
		submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
		r.reserve(1, "0s")
		if err := s.Configure(r.RunnerID, func(c *api.Config) { c.Enabled = false }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if jobs := r.reserve(1, "50s"); jobs != nil {
			t.Errorf("a disabled runner is offered %v", jobs)
		}
		if err := s.Configure(r.RunnerID, func(c *api.Config) { c.Enabled = true }); err != nil {
			t.Fatal(err)
		}
		if jobs := r.reserve(1, "0s"); len(jobs) != 1 {
			t.Error("an enabled runner is offered nothing")
		}
	})
}

func TestPollOfPreviousRegistrationEndsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		before := newRunner(t, s)
		got := make(chan []api.Job)
		go func() { got <- before.reserve(1, "50s") }()
		synctest.Wait()
		again := registerRunner(t, s, before.identity)
		if jobs := <-got; jobs != nil {
			t.Errorf("the poll of the old session is offered %v", jobs)
		}
		submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
		if jobs := again.reserve(1, "0s"); len(jobs) != 1 {
			t.Error("the newer session is offered nothing")
		}
	})
}

func TestCloseAnswersPendingReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, devserver.Options{})
		r := newRunner(t, s)
		got := make(chan []api.Job)
		start := time.Now()
		go func() { got <- r.reserve(1, "50s") }()
		synctest.Wait()
		s.Close()
		if <-got; time.Since(start) != 0 {
			t.Errorf("the reserve ended after %v", time.Since(start))
		}
	})
}
