package actors

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	msg "runnerd/messages"
)

// Effects on the container. Each may block, so it runs as a task, whose outcome is the message that the comment beside its type
// names (session_effects.go).

// restore restores the secrets to mask and the open job logs, which the previous actor had in memory.
func (e *executor) restore(c *executorCtx) {
	deps, logs, rec := e.ExecutorDeps, e.logs, e.record
	c.Go("restore", func(context.Context) msg.ToExecutor {
		secrets, err := deps.Keyring.Unseal(rec.Mask)
		if err != nil {
			return msg.Restored{Err: err}
		}
		logs.addSecrets(secrets)
		jobs := deps.Spool.JobsOf(rec.ID)
		slices.SortFunc(jobs, func(a, b msg.JobRecord) int { return a.OutputFrom.Compare(b.OutputFrom) })
		for _, job := range jobs {
			if !job.Log.Closed {
				from := job.OutputFrom
				if rec.Jobs <= 1 { // the output of its start belongs to its first job
					from = time.Time{}
				}
				logs.open(job.Execution, from, nil)
			}
		}
		return msg.Restored{HasFile: deps.Gateway.HasResultFile(rec.ID)}
	})
}

// CallbackURLs returns the jobs of an executor whose callbacks may still arrive. The gateway must open their URLs before it serves,
// because a plugin that learns that a URL does not exist does not retry.
func CallbackURLs(spool interface {
	Job(msg.ExecutionID) (msg.JobRecord, bool)
}, rec msg.ExecutorRecord) (urls []msg.JobURL) {
	for _, u := range []msg.JobURL{{Execution: rec.PreviousJob, Key: rec.PreviousJobKey}, {Execution: rec.Job, Key: rec.JobKey}} {
		if u.Execution == "" {
			continue
		}
		if job, ok := spool.Job(u.Execution); ok {
			u.SealedKey = job.SealedKey
		}
		urls = append(urls, u)
	}
	return urls
}

func (prepare) do(e *executor, c *executorCtx) {
	deps, logs, rec, job := e.ExecutorDeps, e.logs, e.record, e.session.job.Execution
	c.Go("prepare", func(context.Context) msg.ToExecutor {
		in, err := readInput(deps, job)
		if err != nil {
			return msg.Prepared{Err: fmt.Errorf("the job cannot be run: %w", err)}
		}
		logs.open(job, time.Time{}, in.secrets) // the output of its start belongs to its first job
		if err := createDirectory(deps, rec, in.secrets); err != nil {
			return msg.Prepared{Err: fmt.Errorf("create the executor's directory: %w", err)}
		}
		return msg.Prepared{}
	})
}

func createDirectory(deps ExecutorDeps, rec msg.ExecutorRecord, secrets []msg.Secret) (err error) {
	if rec.Mask, err = deps.Keyring.Seal(secrets); err != nil {
		return err
	}
	access, err := deps.Gateway.Admit(rec)
	if err != nil {
		return err
	}
	return deps.Spool.CreateExecutor(rec, access.Files)
}

func (pull) do(e *executor, c *executorCtx) {
	drv, key := e.Driver, e.record.Key
	e.pullTask = c.Go("pull", func(ctx context.Context) msg.ToExecutor {
		image, err := drv.Pull(ctx, key.Image, key.PullPolicy, key.PullSecret)
		return msg.Pulled{Image: image, Err: err}
	})
}

func (l launch) do(e *executor, c *executorCtx) {
	deps, rec := e.ExecutorDeps, e.record
	c.Go("launch", func(ctx context.Context) msg.ToExecutor {
		if deps.Limits.Start == 0 {
			return msg.Launched{Err: createAndStart(ctx, deps, rec, l.env)}
		}
		ctx, cancel := context.WithTimeout(ctx, deps.Limits.Start)
		defer cancel()
		err := createAndStart(ctx, deps, rec, l.env)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("the engine did not start a container of image %s within %v. Check the engine, or raise --start-timeout: %w",
				rec.Key.Image, deps.Limits.Start, err)
		}
		return msg.Launched{Err: err}
	})
}

func createAndStart(ctx context.Context, deps ExecutorDeps, rec msg.ExecutorRecord, jobEnv map[string]string) error {
	err := deps.Spool.UpdateExecutor(rec.ID, func(r *msg.ExecutorRecord) { r.ImageID = rec.ImageID })
	if err != nil {
		return err
	}
	access, err := deps.Gateway.Admit(rec)
	if err != nil {
		return err
	}
	maps.Copy(access.Env, jobEnv)
	for i, mount := range access.Mounts {
		access.Mounts[i].Source = filepath.Join(deps.Spool.ExecutorDir(rec.ID), mount.Source)
	}
	spec := msg.ExecutorSpec{ID: rec.ID, Image: rec.ImageID, Limits: rec.Key.Limits, Env: access.Env, Mounts: access.Mounts,
		Labels: map[string]string{"runnerd.image": rec.Key.Image}}
	if err := deps.Driver.Create(ctx, spec); err != nil {
		return fmt.Errorf("create the executor: %w", err)
	}
	if err := deps.Driver.Start(ctx, rec.ID); err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	return nil
}

// recordStart records the start time of the process. After a restart of the runner a different start time means a different process. If the
// engine does not tell the time now, it is not asked again.
func (e *executor) recordStart(c *executorCtx) {
	drv, spool, id := e.Driver, e.Spool, e.id
	c.Go("record start", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		container, err := drv.Inspect(ctx, id)
		if err != nil || container.StartedAt.IsZero() {
			return nil
		}
		if err := spool.UpdateExecutor(id, func(r *msg.ExecutorRecord) { r.StartedAt = container.StartedAt }); err != nil {
			return msg.RecordNotUpdated{Err: err}
		}
		return nil
	})
}

func (findContainer) do(e *executor, c *executorCtx) {
	drv, id, started := e.Driver, e.id, e.record.StartedAt
	c.Go("find", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		switch container, err := drv.Inspect(ctx, id); {
		case errors.Is(err, msg.ErrNoExecutor):
			return msg.Found{}
		case err != nil:
			return msg.Found{Err: err}
		default:
			return msg.Found{Container: &container, Restarted: isRestarted(container, started)}
		}
	})
}

// isRestarted reports whether a running container has a process other than the one started at that time.
func isRestarted(c msg.Container, started time.Time) bool {
	return c.State == msg.ContainerRunning && !started.IsZero() && !c.StartedAt.Equal(started)
}

func (waitForExit) do(e *executor, c *executorCtx) {
	drv, id := e.Driver, e.id
	c.Go("wait", func(ctx context.Context) msg.ToExecutor {
		exit, err := drv.Wait(ctx, id)
		return msg.Exited{Exit: exit, Err: err}
	})
}

func (s sendSignal) do(e *executor, c *executorCtx) {
	drv, spool, id, sig := e.Driver, e.Spool, e.id, signals[s.step]
	c.Go("signal "+string(sig), func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		err := drv.Signal(ctx, id, sig)
		return msg.Signalled{Step: s.step, Elapsed: sinceEnding(spool, s.execution), Err: err}
	})
}

func (s retrySignal) do(e *executor, c *executorCtx) {
	wait := towardsEngine.after(s.failures, c.Jitter())
	if wait >= s.remaining {
		s.step, wait = s.step+1, max(0, s.remaining)
	}
	e.warn(c).Err(s.err).Dur("retry", wait).Msg("could not send a signal; will retry")
	c.After(string(stopTimer), wait, msg.StopStepDue{Step: s.step})
}

// sinceEnding returns the time since the job's ending was recorded.
func sinceEnding(spool Spool, job msg.ExecutionID) time.Duration {
	rec, _ := spool.Job(job)
	return max(0, time.Since(rec.EndedAt))
}

func (listen) do(e *executor, c *executorCtx) {
	gateway, id := e.Gateway, e.id
	c.Stream("requests", 16, func(ctx context.Context, emit func(msg.ToExecutor) error) msg.ToExecutor {
		return msg.RequestsLost{Err: gateway.Requests(ctx, id, func(v msg.SessionEvent) error { return emit(v) })}
	})
}

func (x examine) do(e *executor, c *executorCtx) {
	deps, logs, id, exitedAt := e.ExecutorDeps, e.logs, e.id, e.exitedAt
	c.Go("examine", func(context.Context) msg.ToExecutor {
		done, err := finalExamination(deps, logs, id, x, exitedAt)
		if err == nil {
			done.Closed, err = logs.closeAll()
		}
		done.Err = err
		return done
	})
}

func finalExamination(deps ExecutorDeps, logs *logAttributor, id msg.ExecutorID, x examine, exitedAt time.Time) (done msg.Examined, err error) {
	if x.unstarted && x.unacknowledged && deps.Gateway.WasDelivered(id, x.last) { // it came just before the exit
		x.unstarted = false
	}
	last, _ := deps.Spool.Job(x.last)
	if last.Executor == id && (last.Stage == msg.HandedOut || last.Stopping()) {
		delivery, _, err := storeResultFile(deps, id, msg.ResultFile{Execution: x.last, Previous: x.previous, Written: true})
		if err != nil {
			return done, err
		}
		switch {
		case delivery.Verdict == msg.TooLarge:
			done.Refused = tooLarge(delivery)
		case delivery.Verdict == msg.NotStarted && !x.unstarted && last.HandOuts >= maxHandOuts:
			done.Refused = neverStartedReason(last.HandOuts, notStartedProof)
		case (delivery.Verdict == msg.NotStarted || x.unstarted) && last.Stage == msg.HandedOut:
			// The session also records the proof, but that may not be written yet.
			if err := deps.Spool.NotStarted(x.last, last.HandOuts); err != nil {
				return done, err
			}
		}
	}
	if err := releaseUnstarted(deps.Spool, logs, id, x.last); err != nil {
		return done, err
	}
	rec, ok := deps.Spool.Job(x.job)
	if ok && x.stop != nil {
		text := describeStop(x.stop.signal(), rec.HasResult, max(0, exitedAt.Sub(rec.EndedAt)))
		if _, err := deps.Spool.Stopped(x.job, text); err != nil {
			return done, err
		}
	}
	done.HasEnding = !ok || rec.Stage >= msg.Ended
	done.NotHandedOut = ok && rec.Stage < msg.HandedOut
	done.Abort, done.HandOuts = rec.Abort, rec.HandOuts
	return done, nil
}

// releaseUnstarted lets a job move to another executor if the plugin of this exited one is proven not to have started it. The job's log
// continues there.
func releaseUnstarted(spool Spool, logs *logAttributor, id msg.ExecutorID, job msg.ExecutionID) error {
	rec, ok := spool.Job(job)
	if !ok || rec.Stage != msg.HandedOut || !rec.Unstarted || rec.Executor != id {
		return nil
	}
	return errors.Join(logs.release(job), spool.TakeBack(job))
}

func (remove) do(e *executor, c *executorCtx) {
	deps, logs, id := e.ExecutorDeps, e.logs, e.id
	c.Go("remove", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		if err := deps.Driver.Remove(ctx, id); err != nil {
			return msg.Removed{Err: err}
		}
		deps.Gateway.Dismiss(id)
		closed, err := logs.closeAll()
		if err == nil {
			err = deps.Spool.RemoveExecutor(id)
		}
		return msg.Removed{Closed: closed, Err: err}
	})
}
