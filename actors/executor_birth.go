package actors

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// An executor's birth, from nothing to a running container.

// prepare makes everything that must be there before the container: the job's secrets known to the mask, the directory, the
// door.
func (e *executor) prepare(c *shell.Ctx[msg.ToExecutor]) {
	e.inFlight = true
	shop, book, rec, job := e.Shop, e.book, e.record, e.job.job
	c.Go("prepare", func(context.Context) msg.ToExecutor {
		secrets, err := openInput(shop, job.Execution)
		if err != nil {
			return msg.GivenJob{Execution: job.Execution, Unreadable: true, Err: err}
		}
		if rec.Mask, err = shop.Vault.Seal(secrets); err != nil {
			return msg.Prepared{Err: err}
		}
		book.open(job.Execution, time.Time{}, secrets) // what it prints at its start belongs to its first job
		access, err := shop.Gateway.Admit(rec)
		if err != nil {
			return msg.Prepared{Err: err}
		}
		return msg.Prepared{Err: shop.Spool.CreateExecutor(rec, access.Files)}
	})
}

func (e *executor) prepared(c *shell.Ctx[msg.ToExecutor], err error) {
	e.inFlight = false
	if err != nil || e.state == stopping {
		e.notStarted(c, fmt.Sprintf("the executor's directory cannot be made: %v", err))
		return
	}
	e.pull(c)
}

func (e *executor) pull(c *shell.Ctx[msg.ToExecutor]) {
	drv, key := e.Driver, e.record.Key
	e.pullTask = c.Go("pull", func(ctx context.Context) msg.ToExecutor {
		image, err := drv.Pull(ctx, key.Image, key.PullPolicy, key.PullSecret)
		return msg.Pulled{Image: image, Err: err}
	})
}

func (e *executor) pulled(c *shell.Ctx[msg.ToExecutor], m msg.Pulled) {
	switch {
	case e.state != pulling: // it is to stop
	case m.Err != nil:
		e.notStarted(c, m.Err.Error())
	default:
		e.record.ImageID = m.Image
		e.dispatcher.Tell(msg.ImageFound{Executor: e.id, Image: m.Image})
		e.enter(c, starting)
		if e.record.Mode == msg.Files {
			e.give(c)
		} else {
			e.launch(c, nil)
		}
	}
}

// launch creates and starts the container. All of it may be repeated.
func (e *executor) launch(c *shell.Ctx[msg.ToExecutor], jobEnv map[string]string) {
	e.inFlight = true
	shop, rec := e.Shop, e.record
	c.Go("launch", func(ctx context.Context) msg.ToExecutor {
		err := shop.Spool.UpdateExecutor(rec.ID, func(r *msg.ExecutorRecord) { r.ImageID = rec.ImageID })
		if err != nil {
			return msg.Launched{Err: err}
		}
		access, err := shop.Gateway.Admit(rec)
		if err != nil {
			return msg.Launched{Err: err}
		}
		maps.Copy(access.Env, jobEnv)
		for i, mount := range access.Mounts {
			access.Mounts[i].Source = filepath.Join(shop.Spool.ExecutorDir(rec.ID), mount.Source)
		}
		spec := msg.ExecutorSpec{ID: rec.ID, Image: rec.ImageID, Limits: rec.Key.Limits, Env: access.Env, Mounts: access.Mounts,
			Labels: map[string]string{"runnerd.image": rec.Key.Image}}
		if err := shop.Driver.Create(ctx, spec); err != nil {
			return msg.Launched{Err: fmt.Errorf("create the executor: %w", err)}
		}
		if err := shop.Driver.Start(ctx, rec.ID); err != nil {
			return msg.Launched{Err: fmt.Errorf("start the executor: %w", err)}
		}
		return msg.Launched{}
	})
}

func (e *executor) launched(c *shell.Ctx[msg.ToExecutor], err error) {
	e.inFlight = false
	if err != nil {
		e.notStarted(c, err.Error())
		return
	}
	e.observe(c)
	switch e.state {
	case starting:
		e.limit(c, e.Limits.PickUp)
	case stopping:
		e.signal(c, killStep)
	case unborn, pulling, running, settling, idle, gone:
	}
}
