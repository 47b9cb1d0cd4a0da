package actors

import (
	"context"
	"errors"
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
			return msg.Prepared{Err: fmt.Errorf("the job cannot be run: %w", err)}
		}
		book.open(job.Execution, time.Time{}, secrets) // what it prints at its start belongs to its first job
		if err := makeRoom(shop, rec, secrets); err != nil {
			return msg.Prepared{Err: fmt.Errorf("the executor's directory cannot be made: %w", err)}
		}
		return msg.Prepared{}
	})
}

// makeRoom makes the executor's directory and its door.
func makeRoom(shop Shop, rec msg.ExecutorRecord, secrets []msg.Secret) (err error) {
	if rec.Mask, err = shop.Vault.Seal(secrets); err != nil {
		return err
	}
	access, err := shop.Gateway.Admit(rec)
	if err != nil {
		return err
	}
	return shop.Spool.CreateExecutor(rec, access.Files)
}

func (e *executor) prepared(c *shell.Ctx[msg.ToExecutor], err error) {
	e.inFlight = false
	switch {
	case e.state == stopping: // it ended meanwhile
		e.remove(c)
	case err != nil:
		e.notStarted(c, err.Error())
	default:
		e.pull(c)
	}
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

// launch creates and starts the container. All of it may be repeated. Its end is waited for, even when it comes too late:
// until then nobody knows whether there is a container to be removed.
func (e *executor) launch(c *shell.Ctx[msg.ToExecutor], jobEnv map[string]string) {
	e.inFlight = true
	shop, rec := e.Shop, e.record
	c.Go("launch", func(ctx context.Context) msg.ToExecutor {
		if shop.Limits.Start == 0 {
			return msg.Launched{Err: launch(ctx, shop, rec, jobEnv)}
		}
		ctx, cancel := context.WithTimeout(ctx, shop.Limits.Start)
		defer cancel()
		err := launch(ctx, shop, rec, jobEnv)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("the engine did not start a container of image %s within %v. Check the engine, or raise the start limit: %w",
				rec.Key.Image, shop.Limits.Start, err)
		}
		return msg.Launched{Err: err}
	})
}

func launch(ctx context.Context, shop Shop, rec msg.ExecutorRecord, jobEnv map[string]string) error {
	err := shop.Spool.UpdateExecutor(rec.ID, func(r *msg.ExecutorRecord) { r.ImageID = rec.ImageID })
	if err != nil {
		return err
	}
	access, err := shop.Gateway.Admit(rec)
	if err != nil {
		return err
	}
	maps.Copy(access.Env, jobEnv)
	for i, mount := range access.Mounts {
		access.Mounts[i].Source = filepath.Join(shop.Spool.ExecutorDir(rec.ID), mount.Source)
	}
	spec := msg.ExecutorSpec{ID: rec.ID, Image: rec.ImageID, Limits: rec.Key.Limits, Env: access.Env, Mounts: access.Mounts,
		Labels: map[string]string{"runnerd.image": rec.Key.Image}}
	if err := shop.Driver.Create(ctx, spec); err != nil {
		return fmt.Errorf("create the executor: %w", err)
	}
	if err := shop.Driver.Start(ctx, rec.ID); err != nil {
		return fmt.Errorf("start the executor: %w", err)
	}
	return nil
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
