package actors

import (
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// effect is one thing that a session wants done. The executor's actor does it; what comes of it comes back as a message.
//
//sumtype:decl
type effect interface{ do(*executor, *turn) }

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
		step int
		of   msg.ExecutionID // the job that is being stopped, if one is
	}
	// signalAgain repeats a signal that the engine did not take, or goes on to the next step when no time is left for it.
	signalAgain struct {
		step, failures int
		left           time.Duration
		err            error
	}
	examine struct { // msg.Examined
		job          msg.ExecutionID // that it has; empty: none
		last, before msg.ExecutionID
		stop         *stopSequence // nil: it was not being stopped
		unstarted    bool          // the job was proven not to have started
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
	// handOut journals that the job is the plugin's, and then answers the GET with it. again: it proved that it did not start.
	handOut struct { // msg.HandOutDone
		request   msg.RequestID // 0: mode Files
		execution msg.ExecutionID
		again     bool
	}
	repeatJob struct { // msg.InputRead
		request   msg.RequestID
		execution msg.ExecutionID
	}
	clearResults struct{}                                    // msg.ResultsCleared
	readFile     struct{ execution, before msg.ExecutionID } // msg.FileRead

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
		handOut   int // that the proof is of
		proof     string
	}
	recordRetirement struct{ reason string }
	recordStop       struct { // msg.StopRecorded
		execution msg.ExecutionID
		last      msg.Signal
		answered  bool
	}
	// endJob decides how the job ends, unless something did before. quote: the message is to have its last output.
	endJob struct { // msg.JobEnded
		execution msg.ExecutionID
		ending    msg.Ending
		handedOut bool
		quote     bool
	}

	// To other actors.
	tellDispatcher struct{ m msg.ToDispatcher }
	report         struct{ m msg.Report }
	isIdle         struct{ last msg.ExecutionID }
	notIdle        struct{}
	notPolling     struct{}

	// Later.
	startTimer struct {
		timer timer
		after time.Duration // 0: it does not fire
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
	jobStopped struct{ execution msg.ExecutionID }
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
