package fake

import (
	"context"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// pull is a pull in progress, shared by concurrent callers. It ends when the last caller gives up.
type pull struct {
	image   *image
	due     time.Time
	waiters int
}

// Pull copies an image from the registry to the engine as policy says.
func (d *Driver) Pull(ctx context.Context, ref string, policy msg.PullPolicy, secret string) (id msg.ImageID, err error) {
	key := ref + " " + secret
	var joined *pull
	err = d.Until(ctx, Pull, func() (done bool, _ <-chan struct{}, again time.Time, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if joined == nil {
			if i := d.local[ref]; i != nil && policy != msg.PullAlways {
				id = i.id
				return true, nil, again, nil
			}
			if policy == msg.PullNever {
				return true, nil, again, fmt.Errorf("pull %s: %w: no local image, and the pull policy is never", ref, msg.ErrNoImage)
			}
			if joined, err = d.join(key, ref, secret); err != nil {
				return true, nil, again, err
			}
		}
		if time.Now().Before(joined.due) {
			return false, nil, joined.due, nil
		}
		if d.pulling[key] == joined { // the first caller to see that it is done
			delete(d.pulling, key)
			d.local[ref] = joined.image
		}
		id = joined.image.id
		return true, nil, again, nil
	})
	if joined != nil {
		d.leave(key, joined)
	}
	return id, err
}

// join joins the pull in progress or starts one. The caller holds mu.
func (d *Driver) join(key, ref, secret string) (*pull, error) {
	i := d.registry[ref]
	if i == nil || i.Secret != "" && i.Secret != secret {
		return nil, fmt.Errorf("pull %s: %w: not in the registry", ref, msg.ErrNoImage)
	}
	p := d.pulling[key]
	if p == nil {
		p = &pull{image: i, due: time.Now().Add(i.PullDelay)}
		d.pulling[key] = p
	}
	p.waiters++
	return p, nil
}

func (d *Driver) leave(key string, p *pull) {
	d.scheduler.Do("leave pull", func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if p.waiters--; p.waiters == 0 && d.pulling[key] == p {
			delete(d.pulling, key)
		}
	})
}
