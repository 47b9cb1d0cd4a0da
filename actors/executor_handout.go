package actors

import (
	"context"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// Effects on the job: its hand-out, its result and its ending. Each may block, so it runs as a task, whose outcome is the message that the
// comment beside its type names (session_effects.go).

// input is the input of a job, read and checked.
type input struct {
	text    string
	secrets []msg.Secret
	key     []byte // sealed by the keyring
	sealed  []byte // as the server sealed it
}

// readInput reads the input of a job and checks that the plugin will be able to decrypt it.
func readInput(deps ExecutorDeps, job msg.ExecutionID) (in input, err error) {
	rec, ok := deps.Spool.Job(job)
	if !ok {
		return in, fmt.Errorf("execution %q is not in the spool", job)
	}
	in.sealed = rec.SealedKey
	if in.text, err = deps.Spool.Input(job); err != nil {
		return in, err
	}
	in.secrets, in.key, err = deps.Keyring.Open(rec.SealedKey, in.text)
	return in, err
}

func (h handOut) do(e *executor, c *executorCtx) {
	deps, logs, before := e.ExecutorDeps, e.logs, e.session.last
	entry := msg.HandOut{Execution: h.execution, Executor: e.id, SDK: e.session.sdk, StartTimes: e.startTimes()}
	if h.again {
		before = e.session.previous
	}
	c.Go("hand out", func(context.Context) msg.ToExecutor {
		done := msg.HandOutDone{Execution: h.execution, Request: h.request}
		if h.again {
			deps.Gateway.ClearResults(entry.Executor)
		}
		in, err := readInput(deps, h.execution)
		if err != nil {
			done.Unreadable, done.Err = true, err
			return done
		}
		entry.From = time.Now()
		logs.open(h.execution, entry.From, in.secrets)
		if done.Env, done.Err = journalAndAnswer(deps, logs, entry, before, h.request, in); done.Err != nil && !h.again {
			logs.withdraw(h.execution)
		}
		rec, _ := deps.Spool.Job(h.execution)
		done.HandOuts = rec.HandOuts
		return done
	})
}

// startTimes returns the durations of the cold start that ends with this hand-out; both are zero for a warm executor.
func (e *executor) startTimes() msg.StartTimes {
	if e.session.jobs > 0 || e.pulledAt.IsZero() {
		return msg.StartTimes{}
	}
	return msg.StartTimes{Pull: e.pulledAt.Sub(e.assignedAt), Start: time.Since(e.pulledAt)}
}

// journalAndAnswer records the hand-out and answers the request. before is the execution before it in the executor, or empty. Without a
// request, the input is written to a file, and env names it.
func journalAndAnswer(deps ExecutorDeps, logs *logAttributor, entry msg.HandOut, before msg.ExecutionID, request msg.RequestID, in input) (env map[string]string, err error) {
	id := entry.Executor
	if entry.Mask, err = deps.Keyring.Seal(logs.maskedSecrets()); err != nil {
		return nil, err
	}
	entry.SessionKey = in.key
	urls := []msg.JobURL{{Execution: entry.Execution, SealedKey: in.sealed}}
	if before != "" {
		urls = append([]msg.JobURL{{Execution: before}}, urls...)
	}
	if err := deps.Gateway.OpenURLs(id, urls...); err != nil {
		return nil, err
	}
	if request == 0 {
		if env, err = deps.Gateway.WriteInput(id, entry.Execution, in.text); err != nil {
			return nil, err
		}
	} else if !deps.Gateway.IsWaiting(id, request) {
		return nil, msg.ErrNotPolling
	}
	if err := deps.Spool.HandOut(entry); err != nil {
		return nil, err
	}
	if request != 0 {
		deps.Gateway.Answer(id, request, msg.GiveJob{Execution: entry.Execution, Input: in.text})
	}
	return env, nil
}

func (r resendJob) do(e *executor, c *executorCtx) {
	spool, gateway, id := e.Spool, e.Gateway, e.id
	c.Go("resend job", func(context.Context) msg.ToExecutor {
		text, err := spool.Input(r.execution)
		if err == nil {
			gateway.Answer(id, r.request, msg.GiveJob{Execution: r.execution, Input: text})
		}
		return msg.InputRead{Execution: r.execution, Request: r.request, Err: err}
	})
}

func (clearResults) do(e *executor, c *executorCtx) {
	gateway, id := e.Gateway, e.id
	c.Go("clear results", func(context.Context) msg.ToExecutor {
		gateway.ClearResults(id)
		return msg.ResultsCleared{}
	})
}

func (r readFile) do(e *executor, c *executorCtx) {
	deps, id := e.ExecutorDeps, e.id
	c.Go("read result file", func(context.Context) msg.ToExecutor {
		delivery, stored, err := storeResultFile(deps, id, msg.ResultFile{Execution: r.execution, Previous: r.previous})
		return msg.FileRead{Execution: r.execution, ReceivedBody: delivery, Stored: stored, Err: err}
	})
}

// storeResultFile reads the result file and stores its content if that is a result.
func storeResultFile(deps ExecutorDeps, id msg.ExecutorID, file msg.ResultFile) (delivery msg.ReceivedBody, stored bool, err error) {
	rec, _ := deps.Spool.Job(file.Execution)
	file.Since = rec.HandedOutAt
	if delivery, err = deps.Gateway.ReadResult(id, file); err != nil || delivery.Verdict != msg.IsResult {
		return delivery, false, err
	}
	stored, err = storeOnce(deps.Spool, file.Execution, delivery.Result)
	delivery.Result.Body = nil
	return delivery, stored, err
}

// storeOnce stores a result unless the job has one. It reports whether the job has a result now.
func storeOnce(spool Spool, job msg.ExecutionID, result msg.Result) (bool, error) {
	stored, err := spool.StoreResult(job, result)
	if err != nil || stored {
		return stored, err
	}
	rec, ok := spool.Job(job)
	return ok && rec.HasResult, nil
}

func (s storeResult) do(e *executor, c *executorCtx) {
	spool := e.Spool
	c.Go("store result", func(context.Context) msg.ToExecutor {
		stored, err := storeOnce(spool, s.execution, s.result)
		if err == nil {
			s.result.Body = nil
		}
		return msg.ResultStored{Execution: s.execution, Request: s.request, Result: s.result, Stored: stored, Err: err}
	})
}

func (n recordVersion) do(e *executor, c *executorCtx) {
	spool, id := e.Spool, e.id
	c.Go("record version", func(context.Context) msg.ToExecutor {
		err := spool.UpdateExecutor(id, func(r *msg.ExecutorRecord) { r.Version, r.Notified = n.version, true })
		return msg.VersionRecorded{Version: n.version, Err: err}
	})
}

func (n recordStop) do(e *executor, c *executorCtx) {
	spool := e.Spool
	text := describeStop(n.last, n.answered, sinceEnding(spool, n.execution))
	c.Go("record stop", func(context.Context) msg.ToExecutor {
		_, err := spool.Stopped(n.execution, text)
		return msg.StopRecorded{Execution: n.execution, Err: err}
	})
}

func (d endJob) do(e *executor, c *executorCtx) {
	spool, logs := e.Spool, e.logs
	c.Go("end job", func(context.Context) msg.ToExecutor {
		if d.quote {
			d.ending.Message += lastLines(spool, d.execution)
		}
		ending, err := spool.End(d.execution, d.ending)
		if err == nil && !d.handedOut { // the spool does not know that this log is the executor's, so no later actor would close it
			err = logs.close(d.execution)
		}
		rec, ok := spool.Job(d.execution)
		return msg.JobEnded{Execution: d.execution, Ending: ending, HasResult: rec.HasResult, Removed: !ok, Err: err}
	})
}

func (e *executor) logJobEnd(c *executorCtx, m msg.JobEnded) {
	if m.Err == nil {
		e.debug(c).Str("execution", string(m.Execution)).Str("outcome", string(m.Ending.Outcome)).Str("reason", m.Ending.Message).Msg("job ended")
	}
}
