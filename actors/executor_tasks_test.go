package actors

import (
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// acknowledging is a gateway that knows whether the input was acknowledged.
type acknowledging struct {
	Gateway
	delivered bool
}

func (a acknowledging) WasDelivered(msg.ExecutorID, msg.ExecutionID) bool { return a.delivered }

func (acknowledging) ReadResult(msg.ExecutorID, msg.ResultFile) (msg.ReceivedBody, error) {
	return msg.ReceivedBody{}, nil
}

// The plugin may receive its input while it is being killed for not having received it. The session may learn that only after the exit.
func TestAcknowledgementDuringExitKeepsJob(t *testing.T) {
	for delivered, moves := range map[bool]bool{false: true, true: false} {
		store, err := spool.Open(memfs.New(), spool.Options{})
		noError(t, err)
		noError(t, store.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: "job"}}))
		noError(t, store.Confirm("job"))
		noError(t, store.CreateExecutor(msg.ExecutorRecord{ID: "x"}, nil))
		noError(t, store.HandOut(msg.HandOut{Execution: "job", Executor: "x", From: time.Now()}))
		deps := ExecutorDeps{Spool: store, Gateway: acknowledging{delivered: delivered}}
		done, err := finalExamination(deps, &logAttributor{spool: store, executor: "x"}, "x", examine{job: "job", last: "job", unstarted: true, unacknowledged: true}, time.Now())
		noError(t, err)
		if done.NotHandedOut != moves {
			t.Errorf("delivered %v: job moves to another executor: %v, want %v", delivered, done.NotHandedOut, moves)
		}
		noError(t, store.Close())
	}
}
