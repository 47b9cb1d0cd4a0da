package simulation

import (
	"fmt"
	"strings"
	"testing"

	"runnerd/tests/mutants"
)

// mutation is a bug on purpose, and what the simulation must say of it.
type mutation struct {
	bug   string
	edits []edit
	says  []string // a breach begins with one of these
}

// edit is a change of the source.
type edit = mutants.Edit

var mutations = []mutation{
	{"a result is not synced", []edit{{"spool/result.go", "err = f.Sync()", "err = nil"}}, []string{"I1", "durability"}},
	{"an offer is not synced", []edit{{"spool/job.go", "append(line, input...), 0, true)", "append(line, input...), 0, false)"}}, []string{"I1", "I11", "durability"}},
	{"a step is not synced", []edit{{"spool/verbs.go", "line, st.durable())", "line, false)"}}, []string{"I1", "I2", "I7"}},
	{"a job is handed out twice", []edit{
		{"actors/poller.go", "case msg.Confirmed:\n\t\t\tp", "case msg.Confirmed, msg.HandedOut:\n\t\t\tp"},
		{"actors/poller.go", "case msg.HandedOut, msg.Ended,", "case msg.Ended,"},
		{"actors/dispatcher.go", "if !there || rec.Stage >= msg.HandedOut || waits", "if !there || waits"},
		{"spool/verbs.go", "if rec.Stage == msg.HandedOut && rec.Executor != to {", "if false {"},
	}, []string{"I2"}},
	{"a reserved job is not confirmed again", []edit{{"actors/poller.go", "p.proceed(c, rec.Job)", "_ = rec"}}, []string{"I1", "I10", "I11"}},
	{"an unconfirmed job is run", []edit{{"actors/poller.go", "if m.Err != nil && m.Stored && !isFinal(m.Err) {", "if m.Stored && !isFinal(m.Err) {\n\t\tm.Err = nil\n\t}\n\tif false {"}}, []string{"I3"}},
	{"executors are evicted early", []edit{{"actors/dispatcher_pool.go", "left := min(d.config.Eviction-", "left := min(d.config.Eviction/2-"}}, []string{"I5"}},
	{"idle time is not recorded", []edit{{"actors/executor_effects.go", "r.IdleSince = since", "_ = since"}}, []string{"I5"}},
	{"the capacity is exceeded by one", []edit{{"actors/dispatcher_slots.go", "case alive < capacity:", "case alive <= capacity:"}}, []string{"I4"}},
	{"an executor of another key is reused", []edit{{"actors/dispatcher_slots.go", "s.key == key && (last", "(last"}}, []string{"I6"}},
	{"a job is removed instead of finished", []edit{{"actors/reporter.go", "return nextSend{what: sendFinish}", "return nextSend{what: sendRemoval}"}}, []string{"I1", "I11", "order"}}, // of a script that seems to wait
	{"a byte of every piece of a log is dropped", []edit{{"actors/executor_job_log.go", "l.filter.Write(text, came)", "l.filter.Write(text[1:], came)"}}, []string{"I7"}},
	{"the engine is taken for punctual", []edit{{"actors/executor_log_attributor.go", "slices.Backward(b.started())", "slices.Backward(b.jobLogs)"}}, []string{"I7"}},
	{"secrets are not learned", []edit{{"actors/executor_log_attributor.go", "b.secrets = append(b.secrets, s)", "_ = s"}}, []string{"I8"}},
	{"a result of another job is accepted", []edit{{"tests/fakes/gateway.go", "text, err := seal.Decrypt(key, body)", "text, err := []byte(`{}`), error(nil)\n\t_ = seal.Decrypt"}}, []string{"I9"}},
	// The session's rules.
	{"a second process gets the job", []edit{{"actors/session_requests.go", "case t.job.stage == handedOut && t.job.delivered:", "case false:"}}, []string{"I2"}},
	{"a restart does not know that a job was delivered", []edit{{"actors/session_start.go", "delivered: rec.Delivered, ", ""}}, []string{"I2"}},
	{"a job is answered before it is journaled", []edit{{"actors/executor_handout.go", "\tif err := deps.Spool.HandOut(", "\tdeps.Gateway.Answer(id, h.request, msg.GiveJob{Execution: h.execution, Input: in.text})\n\tif err := deps.Spool.HandOut("}}, []string{"I2", "I3", "I7"}},
	{"a callback is answered before its result is stored", []edit{{"actors/session_result.go", "\t\tt.do(storeResult{m.Request", "\t\tt.answer(m.Request, msg.Accept{})\n\t\tt.do(storeResult{m.Request"}}, []string{"I1"}},
	{"an event is sent while a job runs", []edit{{"actors/session_requests.go", " || t.job.stage == handedOut && !t.job.unstarted", ""}}, []string{"rule 2"}},
	{"a plugin that delivers late gets the next job", []edit{{"actors/session_requests.go", "t.state == finishing && !t.asksForJob()", "false"}}, []string{"rule 3"}},
	{"an exit is not examined", []edit{{"actors/session_container.go", "\t\tif t.exit != nil {\n\t\t\tt.examine()", "\t\tif false {\n\t\t\tt.examine()"}}, []string{"I1", "I4", "I10", "I11"}},
	{"the stop sequence ends with its first signal", []edit{{"actors/session_stop.go", "\t\tt.do(startTimer{stopTimer, t.stopWait(m.Step)", "\t\t_ = (startTimer{stopTimer, t.stopWait(m.Step)"}}, []string{"I11", "I1"}},
	{"a restart does not go on with a stop sequence", []edit{{"actors/session_container.go", "\t\tt.resumeStop()\n", ""}}, []string{"I11", "I1"}},
	{"an ending that could not be stored is not tried again", []edit{{"actors/session_job.go", "\t\tt.retry(msg.RetryEnding, m.Err)\n", ""}}, []string{"I1", "I10", "I11"}},
	{"another process in a restarted container goes on", []edit{{"actors/session_container.go", "case m.Restarted:", "case false:"}}, []string{"I2"}},
	{"a callback is answered although its result could not be stored", []edit{{"actors/session_result.go", "\t\tt.do(retryStore{storeResult{m.Request, m.Execution, m.Result}, m.Err})", "\t\tt.answer(m.Request, msg.Accept{})"}}, []string{"I1"}},
	{"a stop overtakes the launch", []edit{{"actors/session_container.go", "case t.busy: // its answer", "case false: // its answer"}}, []string{"I4", "I7", "I10"}},
	{"aborts are not handed on", []edit{{"actors/dispatcher.go", "x.ref.Tell(msg.AbortJob{Execution: m.Execution, Reason: m.Reason})", "_ = x"}}, []string{"I11"}},
	{"executors are not removed from the engine", []edit{{"actors/executor_tasks.go", "if err := deps.Driver.Remove(ctx, id); err != nil {", "if err := ctx.Err(); err != nil {"}}, []string{"I4", "I10"}},
	{"the aborts that a heartbeat brings are passed over", []edit{{"actors/runner_server.go", "r.dispatcher.Tell(msg.Abort(order))", "_ = order"}}, []string{"I11"}},
	{"an abort that overtakes its job is forgotten", []edit{{"actors/dispatcher.go", "d.pendingAborts.set(m.Execution, abortedBefore(m.Reason))", "[]msg.ExecutionID{}"}}, []string{"I11"}},
	{"a disabled runner asks for jobs", []edit{{"actors/runner_server.go", "r.recovery.Done && r.Config.Enabled &&", "r.recovery.Done &&"}}, []string{"disable"}},
	{"a disabled runner takes scripts", []edit{{"actors/poller.go", "paused: job.Kind == msg.Script && !p.open", "paused: false"}}, []string{"disable"}},
	{"an enable is not obeyed", []edit{{"actors/runner_server.go", "r.enable(c, true)", "r.enable(c, r.Config.Enabled)"}}, []string{"config"}},
	{"an older configuration counts", []edit{{"actors/runner_server.go", "if said.Config.Revision >= r.Config.Revision {", "if true {"}}, []string{"config"}},
	{"scripts run without the capability", []edit{{"actors/dispatcher.go", "!slices.Contains(d.config.Capabilities, remoteScript)", "false"}}, []string{"capability"}},
	{"a lowered capacity kills running jobs", []edit{
		{"actors/dispatcher.go", "\t\t\td.keepWarm(c, x)\n\t\t}", "\t\t\td.keepWarm(c, x)\n\t\t} else if len(d.members) > config.Capacity && x.state == slotBusy {\n\t\t\tx.ref.Tell(msg.Retire{Reason: \"lowered\"})\n\t\t}"},
		{"actors/session_job.go", "\tt.takeNoMore(reason)\n}", "\tt.takeNoMore(reason)\n\tt.signal(killStep)\n}"},
	}, []string{"I4"}},
	{"a lowered capacity leaves idle executors", []edit{{"actors/dispatcher_slots.go", "for alive-leaving > capacity && len(idle) > 0 {", "for false {"}}, []string{"I4"}},
	{"an eviction time of 0 comes late", []edit{{"actors/dispatcher.go", "if x.state == slotIdle {\n\t\t\td.keepWarm", "if x.state == slotIdle && config.Eviction > 0 {\n\t\t\td.keepWarm"}}, []string{"I5"}},
	{"tasks go before scripts", []edit{{"actors/dispatcher_slots.go", "boolCompare(b.kind == msg.Script, a.kind == msg.Script)", "boolCompare(a.kind == msg.Script, b.kind == msg.Script)"}}, []string{"order"}},
	{"a dead channel is not noticed", []edit{{"actors/sse.go", "c.After(\"silence\", silenceTimeout, msg.SilenceDue{})", "_ = c"}}, []string{"config", "I1"}},
	{"a command that comes late once more counts", []edit{{"actors/sse.go", "if s.isRepeated(m) {", "if false {"}}, []string{"config"}},
	{"a script that could not be kept is not asked for again", []edit{{"actors/sse.go", "if s.saving == 0 && !s.incomplete {", "if true {"}}, []string{"I1"}},
	{"a script that is over runs again", []edit{{"spool/job.go", "case s.over.has(o.Execution):", "case false:"}}, []string{"I1", "I2"}},
	{"a deletion aborts nothing", []edit{{"actors/runner_end.go", "order.Abort = \"the server has deleted the runner\"", "_ = order"}}, []string{"deletion"}},
	{"a deletion is forgotten by a restart", []edit{{"actors/runner_delete.go", "return msg.DeletionRecorded{Err: settings.RecordDeletion()}", "_ = settings; return msg.DeletionRecorded{}"}}, []string{"deletion"}},
	{"a deleted runner registers again", []edit{{"actors/runner_server.go", "r.registered || r.deleted {", "r.registered {"}}, []string{"deletion"}},
	{"a runner unregisters before a restart knows of its deletion", []edit{{"actors/runner_end.go", "r.deleted && (!r.recorded || r.registering)", "r.deleted && r.registering"}}, []string{"deletion"}},
}

// enough seeds to find any of them.
const enough = 1000

// bugsOfTheDay are as many of the mutations as one run can afford; consecutive days have consecutive ones, so that all have
// their turn.
func bugsOfTheDay(t *testing.T) (todays []mutation) {
	n := *bugs
	if n <= 0 || n > len(mutations) {
		n = len(mutations)
	}
	first := *day * n % len(mutations)
	for i := range n {
		todays = append(todays, mutations[(first+i)%len(mutations)])
	}
	t.Logf("%d of %d deliberate bugs, from number %d; again: go test -timeout 1h ./tests/simulation -run %s -args -bugs=%d -day=%d", n, len(mutations), first+1, t.Name(), *bugs, *day)
	return todays
}

// Only a dozen are compiled in each run.
func TestEveryBugThatIsMadeOnPurposeHasItsPlaceInTheSource(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.bug, func(t *testing.T) { mutants.Apply(t, "../..", m.edits) })
	}
}

func TestTheSimulationFindsBugsThatAreMadeOnPurpose(t *testing.T) {
	if raced || *seed > 0 || *worker {
		t.Skip("without the race detector only")
	}
	for _, m := range bugsOfTheDay(t) {
		t.Run(m.bug, func(t *testing.T) {
			t.Parallel()
			program := mutants.Build(t, "../..", "./tests/simulation", m.edits)
			seeds := 0
			for o := range run(t, program, "GOMAXPROCS=1", fmt.Sprint("-seeds=", enough), "-once") {
				seeds++
				for _, breach := range o.Breaches {
					if m.isSaidBy(breach) {
						t.Logf("found by seed %d: %s", o.Seed, breach)
						return
					}
					t.Errorf("seed %d says something else: %s", o.Seed, breach)
				}
			}
			t.Errorf("%d seeds have not found it", seeds)
		})
	}
}

// isSaidBy: breaches of the fakes bear the time.
func (m mutation) isSaidBy(breach string) bool {
	for _, says := range m.says {
		if strings.HasPrefix(breach, says+":") || strings.Contains(breach, " "+says+":") {
			return true
		}
	}
	return false
}
