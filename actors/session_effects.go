package actors

import (
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// effect is an action that a session requests. The executor's actor carries it out; its outcome returns as a message, which the comment
// beside each type names.
//
//sumtype:decl
type effect interface{ do(*executor, *executorCtx) }

type (
	// On the container.
	prepare       struct{} // msg.Prepared
	pull          struct{} // msg.Pulled
	cancelPull    struct{}
	launch        struct{ env map[string]string } // msg.Launched
	findContainer struct{}                        // msg.Found
	readLogs      struct{}                        // msg.LogsEnded
	waitForExit   struct{}                        // msg.Exited
	sendSignal    struct {                        // msg.Signalled
		step      int
		execution msg.ExecutionID // the job that is being stopped; empty: none
	}
	// retrySignal repeats a signal that the engine did not accept, or sends that of the next step when this one's time is up.
	retrySignal struct {
		step, failures int
		remaining      time.Duration
		err            error
	}
	examine struct { // msg.Examined
		job            msg.ExecutionID // its job; empty: none
		last, previous msg.ExecutionID
		stop           *stopSequence // nil: the job was not being stopped
		unstarted      bool          // the plugin is proven not to have started the job
		unacknowledged bool          // unstarted follows only from the missing acknowledgement of its input
	}
	remove    struct{} // msg.Removed
	stopActor struct{}

	// At the gateway.
	listen        struct{} // msg.RequestsLost, after every msg.SessionEvent
	answerRequest struct {
		request msg.RequestID
		answer  msg.Answer
	}
	sendEvent struct {
		watch msg.RequestID
		event msg.WatchEvent
	}
	// handOut records the hand-out in the spool and then answers the GET with the job. again: the plugin proved that it did not start it.
	handOut struct { // msg.HandOutDone
		request   msg.RequestID // 0: mode Files
		execution msg.ExecutionID
		again     bool
	}
	resendJob struct { // msg.InputRead
		request   msg.RequestID
		execution msg.ExecutionID
	}
	clearResults struct{}                                      // msg.ResultsCleared
	readFile     struct{ execution, previous msg.ExecutionID } // msg.FileRead

	// In the spool.
	storeResult struct { // msg.ResultStored
		request   msg.RequestID
		execution msg.ExecutionID
		result    msg.Result
	}
	retryStore struct {
		storeResult
		err error
	}
	recordVersion    struct{ version uint64 } // msg.VersionRecorded
	recordDelivered  struct{ execution msg.ExecutionID }
	recordNotStarted struct {
		execution msg.ExecutionID
		handOut   int // the hand-out that the proof is about
		proof     string
	}
	recordRetirement struct{ reason string }
	recordStop       struct { // msg.StopRecorded
		execution msg.ExecutionID
		last      msg.Signal
		answered  bool
	}
	// endJob records the job's ending, unless it has one. quote: append its last output to the message.
	endJob struct { // msg.JobEnded
		execution msg.ExecutionID
		ending    msg.Ending
		handedOut bool
		quote     bool
	}

	// To other actors.
	tellDispatcher struct{ m msg.ToDispatcher }
	tellReporter   struct{ m msg.Report }
	tellIdle       struct{ last msg.ExecutionID }
	tellNotIdle    struct{}
	tellNotPolling struct{}

	// Later.
	startTimer struct {
		timer timer
		after time.Duration // 0: the timer is only cancelled
		m     msg.ToExecutor
	}
	cancelTimer struct{ timer timer }
	retryLater  struct {
		what msg.Retry
		err  error
	}
	checkDisk struct{}

	closeOlderLogs struct{}

	// For the runner's log.
	logLine struct {
		level  zerolog.Level
		text   string
		fields []any
	}
	logStopped struct{ execution msg.ExecutionID }
)

// timer names one of an executor's timers.
type timer string

const (
	limitTimer    timer = "limit"
	pollTimer     timer = "poll"
	deliveryTimer timer = "delivery"
	notifyTimer   timer = "notify"
	stopTimer     timer = "stop step"
)
