package actors

import (
	"context"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// Effects on the job: it is handed out, its result is stored, and its ending. Each may block, so it runs beside the actor, and comes
// back as the message that its type names.

// input is a job's, read and checked.
type input struct {
	text    string
	secrets []msg.Secret
	key     []byte // sealed
	sealed  []byte // as the server sealed it
}

// readInput reads the input, and checks that the plugin will be able to.
func readInput(shop Shop, job msg.ExecutionID) (in input, err error) {
	rec, ok := shop.Spool.Job(job)
	if !ok {
		return in, fmt.Errorf("the spool has no job of execution %q", job)
	}
	in.sealed = rec.SealedKey
	if in.text, err = shop.Spool.Input(job); err != nil {
		return in, err
	}
	in.secrets, in.key, err = shop.Vault.Open(rec.SealedKey, in.text)
	return in, err
}

func (h handOut) do(e *executor, c *turn) {
	shop, book, id, before := e.Shop, e.book, e.id, e.session.last
	if h.again {
		before = e.session.before
	}
	c.Go("hand out", func(context.Context) msg.ToExecutor {
		done := msg.HandOutDone{Execution: h.execution, Request: h.request}
		if h.again {
			shop.Gateway.ClearResults(id)
		}
		in, err := readInput(shop, h.execution)
		if err != nil {
			done.Unreadable, done.Err = true, err
			return done
		}
		from := time.Now()
		book.open(h.execution, from, in.secrets)
		if done.Env, done.Err = give(shop, book, id, before, h, in, from); done.Err != nil && !h.again {
			book.withdraw(h.execution)
		}
		rec, _ := shop.Spool.Job(h.execution)
		done.HandOuts = rec.HandOuts
		return done
	})
}

func give(shop Shop, book *logbook, id msg.ExecutorID, before msg.ExecutionID, h handOut, in input, from time.Time) (env map[string]string, err error) {
	mask, err := shop.Vault.Seal(book.known())
	if err != nil {
		return nil, err
	}
	urls := []msg.JobURL{{Execution: h.execution, SealedKey: in.sealed}}
	if before != "" {
		urls = append([]msg.JobURL{{Execution: before}}, urls...)
	}
	if err := shop.Gateway.OpenURLs(id, urls...); err != nil {
		return nil, err
	}
	if h.request == 0 {
		if env, err = shop.Gateway.WriteInput(id, h.execution, in.text); err != nil {
			return nil, err
		}
	} else if !shop.Gateway.IsWaiting(id, h.request) {
		return nil, msg.ErrNotPolling
	}
	if err := shop.Spool.HandOut(msg.HandOut{Execution: h.execution, Executor: id, From: from, Key: in.key, Mask: mask}); err != nil {
		return nil, err
	}
	if h.request != 0 {
		shop.Gateway.Answer(id, h.request, msg.GiveJob{Execution: h.execution, Input: in.text})
	}
	return env, nil
}

func (r repeatJob) do(e *executor, c *turn) {
	spool, gateway, id := e.Spool, e.Gateway, e.id
	c.Go("repeat job", func(context.Context) msg.ToExecutor {
		text, err := spool.Input(r.execution)
		if err == nil {
			gateway.Answer(id, r.request, msg.GiveJob{Execution: r.execution, Input: text})
		}
		return msg.InputRead{Execution: r.execution, Request: r.request, Err: err}
	})
}

func (clearResults) do(e *executor, c *turn) {
	gateway, id := e.Gateway, e.id
	c.Go("clear results", func(context.Context) msg.ToExecutor {
		gateway.ClearResults(id)
		return msg.ResultsCleared{}
	})
}

func (r readFile) do(e *executor, c *turn) {
	shop, id := e.Shop, e.id
	c.Go("read result file", func(context.Context) msg.ToExecutor {
		got, kept, err := takeFile(shop, id, msg.ResultFile{Execution: r.execution, Before: r.before})
		return msg.FileRead{Execution: r.execution, Delivery: got, Kept: kept, Err: err}
	})
}

// takeFile stores the result that is in the file, if that is one.
func takeFile(shop Shop, id msg.ExecutorID, file msg.ResultFile) (got msg.Delivery, kept bool, err error) {
	rec, _ := shop.Spool.Job(file.Execution)
	file.Since = rec.HandedOutAt
	if got, err = shop.Gateway.ReadResult(id, file); err != nil || got.Verdict != msg.IsResult {
		return got, false, err
	}
	kept, err = keep(shop.Spool, file.Execution, got.Result)
	got.Result.Body = nil
	return got, kept, err
}

// keep stores a result. True: the job has one now.
func keep(spool Spool, job msg.ExecutionID, result msg.Result) (bool, error) {
	stored, err := spool.StoreResult(job, result)
	if err != nil || stored {
		return stored, err
	}
	rec, ok := spool.Job(job)
	return ok && rec.HasResult, nil
}

func (s storeResult) do(e *executor, c *turn) {
	spool := e.Spool
	c.Go("store result", func(context.Context) msg.ToExecutor {
		kept, err := keep(spool, s.execution, s.result)
		if err == nil {
			s.result.Body = nil
		}
		return msg.ResultKept{Execution: s.execution, Request: s.request, Result: s.result, Kept: kept, Err: err}
	})
}

func (n noteVersion) do(e *executor, c *turn) {
	spool, id := e.Spool, e.id
	c.Go("note version", func(context.Context) msg.ToExecutor {
		err := spool.UpdateExecutor(id, func(r *msg.ExecutorRecord) { r.Version, r.Notified = n.version, true })
		return msg.VersionNoted{Version: n.version, Err: err}
	})
}

func (n noteStop) do(e *executor, c *turn) {
	spool := e.Spool
	how := howItEnded(n.last, n.answered, sinceEnding(spool, n.execution))
	c.Go("note stop", func(context.Context) msg.ToExecutor {
		_, err := spool.Stopped(n.execution, how)
		return msg.StopNoted{Execution: n.execution, Err: err}
	})
}

func (d endJob) do(e *executor, c *turn) {
	spool, book := e.Spool, e.book
	c.Go("end job", func(context.Context) msg.ToExecutor {
		if d.quote {
			d.ending.Message += lastLines(spool, d.execution)
		}
		stands, err := spool.End(d.execution, d.ending)
		if err == nil && !d.handedOut { // no actor but this one knows whose the log is
			err = book.close(d.execution)
		}
		rec, there := spool.Job(d.execution)
		return msg.JobEnded{Execution: d.execution, Ending: stands, HasResult: rec.HasResult, Gone: !there, Err: err}
	})
}

func (e *executor) logEnded(c *turn, m msg.JobEnded) {
	if m.Err == nil {
		e.info(c).Str("job", string(m.Execution)).Str("outcome", string(m.Ending.Outcome)).Str("reason", m.Ending.Message).Msg("job ended")
	}
}
