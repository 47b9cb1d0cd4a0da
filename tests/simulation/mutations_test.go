package simulation

import (
	"fmt"
	"strings"
	"testing"

	"runnerd/tests/mutants"
)

// mutation is a deliberate bug, and the violations by which the simulation must find it.
type mutation struct {
	name       string
	edits      []edit
	violations []string // the found violation must begin with one of these prefixes
}

// edit is a change of a source file.
type edit = mutants.Edit

var mutations = []mutation{
	{"a result is not synced", []edit{{"spool/result.go", "err = f.Sync()", "err = nil"}}, []string{"I1", "durability"}},
	{"an offer is not synced", []edit{{"spool/job.go", "append(line, input...), 0, true)", "append(line, input...), 0, false)"}}, []string{"I1", "I11", "durability"}},
	{"a job's transition is not synced", []edit{{"spool/transitions.go", "line, st.durable())", "line, false)"}}, []string{"I1", "I2", "I7"}},
	{"a job is handed out twice", []edit{
		{"actors/poller.go", "case msg.Confirmed:\n\t\t\tp", "case msg.Confirmed, msg.HandedOut:\n\t\t\tp"},
		{"actors/poller.go", "case msg.HandedOut, msg.Ended,", "case msg.Ended,"},
		{"actors/dispatcher.go", "if !exists || rec.Stage >= msg.HandedOut || waits", "if !exists || waits"},
		{"spool/transitions.go", "if rec.Stage == msg.HandedOut && rec.Executor != to {", "if false {"},
	}, []string{"I2"}},
	{"a reserved job is not confirmed again", []edit{{"actors/poller.go", "p.proceed(c, rec.Job)", "_ = rec"}}, []string{"I1", "I10", "I11"}},
	{"an unconfirmed job runs", []edit{{"actors/poller.go", "if m.Err != nil && m.Stored && !isFinal(m.Err) {", "if m.Stored && !isFinal(m.Err) {\n\t\tm.Err = nil\n\t}\n\tif false {"}}, []string{"I3"}},
	{"executors are evicted too early", []edit{{"actors/dispatcher_pool.go", "remaining := min(d.config.Eviction-", "remaining := min(d.config.Eviction/2-"}}, []string{"I5"}},
	{"idle time is not recorded", []edit{{"actors/executor_effects.go", "r.IdleSince = since", "_ = since"}}, []string{"I5"}},
	{"one executor too many may run", []edit{{"actors/dispatcher_slots.go", "case alive < capacity:", "case alive <= capacity:"}}, []string{"I4"}},
	{"a job runs in an executor with another key", []edit{{"actors/dispatcher_slots.go", "s.key == key && (last", "(last"}}, []string{"I6"}},
	{"a job is removed without a finish", []edit{{"actors/reporter.go", "return nextSend{what: sendFinish}", "return nextSend{what: sendRemoval}"}}, []string{"I1", "I11", "order"}}, // order: for the checker, a script that was removed still waits
	{"the first byte of every log chunk is dropped", []edit{{"actors/executor_job_log.go", "l.filter.Write(text, received)", "l.filter.Write(text[1:], received)"}}, []string{"I7"}},
	{"late log entries of the engine are attributed to the next job", []edit{{"actors/executor_log_attributor.go", "slices.Backward(a.started())", "slices.Backward(a.jobLogs)"}}, []string{"I7"}},
	{"secrets are not masked", []edit{{"actors/executor_log_attributor.go", "a.secrets = append(a.secrets, s)", "_ = s"}}, []string{"I8"}},
	{"a result of another job is accepted", []edit{{"tests/fakes/gateway.go", "text, err := seal.Decrypt(key, body)", "text, err := []byte(`{}`), error(nil)\n\t_ = seal.Decrypt"}}, []string{"I9"}},
	// The session.
	{"a second process gets the job", []edit{{"actors/session_requests.go", "case t.job.handOut == handedOut && t.job.delivered:", "case false:"}}, []string{"I2"}},
	{"a restart forgets that a job was delivered", []edit{{"actors/session_start.go", "delivered: rec.Delivered, ", ""}}, []string{"I2"}},
	{"a job is handed out before the hand-out is recorded", []edit{{"actors/executor_handout.go", "\tif err := deps.Spool.HandOut(", "\tdeps.Gateway.Answer(id, h.request, msg.GiveJob{Execution: h.execution, Input: in.text})\n\tif err := deps.Spool.HandOut("}}, []string{"I2", "I3", "I7"}},
	{"a callback is answered before its result is stored", []edit{{"actors/session_result.go", "\t\tt.do(storeResult{m.Request", "\t\tt.answer(m.Request, msg.Accept{})\n\t\tt.do(storeResult{m.Request"}}, []string{"I1"}},
	{"a watch event is sent while a job runs", []edit{{"actors/session_requests.go", " || t.job.handOut == handedOut && !t.job.unstarted", ""}}, []string{"rule 2"}},
	{"a plugin that delivers late gets the next job too early", []edit{{"actors/session_requests.go", "t.state == finishing && !t.asksForJob()", "false"}}, []string{"rule 3"}},
	{"an exit is not checked for a result", []edit{{"actors/session_container.go", "\t\tif t.exit != nil {\n\t\t\tt.examine()", "\t\tif false {\n\t\t\tt.examine()"}}, []string{"I1", "I4", "I10", "I11"}},
	{"the stop sequence ends with its first signal", []edit{{"actors/session_stop.go", "\t\tt.do(startTimer{stopTimer, t.stopWait(m.Step)", "\t\t_ = (startTimer{stopTimer, t.stopWait(m.Step)"}}, []string{"I11", "I1"}},
	{"a restart does not resume a stop sequence", []edit{{"actors/session_container.go", "\t\tt.resumeStop()\n", ""}}, []string{"I11", "I1"}},
	{"a failed write of an ending is not retried", []edit{{"actors/session_job.go", "\t\tt.retry(msg.RetryEnding, m.Err)\n", ""}}, []string{"I1", "I10", "I11"}},
	{"a restarted container keeps running", []edit{{"actors/session_container.go", "case m.Restarted:", "case false:"}}, []string{"I2"}},
	{"a callback is answered after a failed write of its result", []edit{{"actors/session_result.go", "\t\tt.do(retryStore{storeResult{m.Request, m.Execution, m.Result}, m.Err})", "\t\tt.answer(m.Request, msg.Accept{})"}}, []string{"I1"}},
	{"an executor is stopped while its start is in progress", []edit{{"actors/session_container.go", "case t.creating: // the launch", "case false: // the launch"}}, []string{"I4", "I7", "I10"}},
	{"aborts do not reach the executor", []edit{{"actors/dispatcher.go", "x.ref.Tell(msg.AbortJob{Execution: m.Execution, Reason: m.Reason})", "_ = x"}}, []string{"I11"}},
	{"executors are not removed from the engine", []edit{{"actors/executor_tasks.go", "if err := deps.Driver.Remove(ctx, id); err != nil {", "if err := ctx.Err(); err != nil {"}}, []string{"I4", "I10"}},
	{"stop orders in heartbeat answers are ignored", []edit{{"actors/runner_server.go", "r.dispatcher.Tell(msg.Abort(order))", "_ = order"}}, []string{"I11"}},
	{"an abort that arrives before its job is forgotten", []edit{{"actors/dispatcher.go", "d.pendingAborts.set(m.Execution, abortedBefore(m.Reason))", "[]msg.ExecutionID{}"}}, []string{"I11"}},
	{"a disabled runner reserves jobs", []edit{{"actors/runner_server.go", "r.recovery.Done && r.Config.Enabled &&", "r.recovery.Done &&"}}, []string{"disable"}},
	{"a disabled runner runs scripts", []edit{{"actors/poller.go", "paused: job.Kind == msg.Script && !p.open", "paused: false"}}, []string{"disable"}},
	{"an enable event is ignored", []edit{{"actors/runner_server.go", "r.enable(c, true)", "r.enable(c, r.Config.Enabled)"}}, []string{"config"}},
	{"an older configuration is applied", []edit{{"actors/runner_server.go", "if event.Config.Revision >= r.Config.Revision {", "if true {"}}, []string{"config"}},
	{"scripts run without the capability", []edit{{"actors/dispatcher.go", "!slices.Contains(d.config.Capabilities, scriptCapability)", "false"}}, []string{"capability"}},
	{"a lowered capacity kills running jobs", []edit{
		{"actors/dispatcher.go", "\t\t\td.keepWarm(c, x)\n\t\t}", "\t\t\td.keepWarm(c, x)\n\t\t} else if len(d.members) > config.Capacity && x.state == slotBusy {\n\t\t\tx.ref.Tell(msg.Retire{Reason: \"lowered\"})\n\t\t}"},
		{"actors/session_job.go", "\tt.retireAfterJob(reason)\n}", "\tt.retireAfterJob(reason)\n\tt.signal(killStep)\n}"},
	}, []string{"I4"}},
	{"a lowered capacity does not evict idle executors", []edit{{"actors/dispatcher_slots.go", "for alive-stopping > capacity && len(idle) > 0 {", "for false {"}}, []string{"I4"}},
	{"an eviction time of 0 does not evict idle executors", []edit{{"actors/dispatcher.go", "if x.state == slotIdle {\n\t\t\td.keepWarm", "if x.state == slotIdle && config.Eviction > 0 {\n\t\t\td.keepWarm"}}, []string{"I5"}},
	{"tasks start before scripts", []edit{{"actors/dispatcher_slots.go", "boolCompare(b.kind == msg.Script, a.kind == msg.Script)", "boolCompare(a.kind == msg.Script, b.kind == msg.Script)"}}, []string{"order"}},
	{"a dead event stream is not detected", []edit{{"actors/sse.go", "c.After(\"silence\", silenceTimeout, msg.SilenceDue{})", "_ = c"}}, []string{"config", "I1"}},
	{"a repeated old event is applied", []edit{{"actors/sse.go", "if s.isRepeated(m) {", "if false {"}}, []string{"config"}},
	{"a script that could not be stored is not requested again", []edit{{"actors/sse.go", "if s.saving == 0 && !s.incomplete {", "if true {"}}, []string{"I1"}},
	{"a finished script runs again", []edit{{"spool/job.go", "case s.recentlyFinished.has(o.Execution):", "case false:"}}, []string{"I1", "I2"}},
	{"a deletion does not abort jobs", []edit{{"actors/runner_end.go", "order.Abort = \"the server has deleted the runner\"", "_ = order"}}, []string{"deletion"}},
	{"a restart forgets a deletion", []edit{{"actors/runner_delete.go", "return msg.DeletionRecorded{Err: settings.RecordDeletion()}", "_ = settings; return msg.DeletionRecorded{}"}}, []string{"deletion"}},
	{"a deleted runner registers again", []edit{{"actors/runner_server.go", "r.registered || r.deleted {", "r.registered {"}}, []string{"deletion"}},
	{"a runner unregisters before its deletion is recorded", []edit{{"actors/runner_end.go", "r.deleted && (!r.recorded || r.registering)", "r.deleted && r.registering"}}, []string{"deletion"}},
}

// maxSeeds is enough to find any of the bugs.
const maxSeeds = 1000

// bugsOfTheDay returns as many mutations as one run has time for. Consecutive days get consecutive mutations, so that each gets its
// turn.
func bugsOfTheDay(t *testing.T) (todays []mutation) {
	n := *bugs
	if n <= 0 || n > len(mutations) {
		n = len(mutations)
	}
	first := *day * n % len(mutations)
	for i := range n {
		todays = append(todays, mutations[(first+i)%len(mutations)])
	}
	t.Logf("%d of %d deliberate bugs, from number %d; to repeat: go test -timeout 1h ./tests/simulation -run %s -args -bugs=%d -day=%d", n, len(mutations), first+1, t.Name(), *bugs, *day)
	return todays
}

// TestEveryDeliberateBugHasItsPlace checks the snippets of all mutations, because one run applies and compiles only a dozen of them.
func TestEveryDeliberateBugHasItsPlace(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) { mutants.Apply(t, "../..", m.edits) })
	}
}

func TestSimulationFindsDeliberateBugs(t *testing.T) {
	if raceEnabled || *seed > 0 || *worker {
		t.Skip("runs only without the race detector, -seed and -worker")
	}
	for _, m := range bugsOfTheDay(t) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			program := mutants.Build(t, "../..", "./tests/simulation", m.edits)
			seeds := 0
			for o := range runProcess(t, program, "GOMAXPROCS=1", fmt.Sprint("-seeds=", maxSeeds), "-once") {
				seeds++
				for _, violation := range o.Violations {
					if m.isFoundBy(violation) {
						t.Logf("found by seed %d: %s", o.Seed, violation)
						return
					}
					t.Errorf("seed %d: other violation: %s", o.Seed, violation)
				}
			}
			t.Errorf("not found by %d seeds", seeds)
		})
	}
}

// isFoundBy reports whether the violation is one that finds m. Violations of the fakes begin with a time.
func (m mutation) isFoundBy(violation string) bool {
	for _, prefix := range m.violations {
		if strings.HasPrefix(violation, prefix+":") || strings.Contains(violation, " "+prefix+":") {
			return true
		}
	}
	return false
}
