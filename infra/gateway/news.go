package gateway

import (
	"context"
	"errors"
	"slices"

	msg "runnerd/messages"
)

// news is what happened at a door and was told to nobody. It does not grow with time: a hold that comes and goes leaves
// nothing, and everything else belongs to a job, of which the watcher itself gives out the next.
type news struct {
	visits  []msg.Visit
	changed chan struct{}
	stop    context.CancelCauseFunc // of the watch that is told
	sdk     msg.SDK
}

var errNewerWatch = errors.New("a newer watch took over")

func newNews() news { return news{changed: make(chan struct{}, 1)} }

func (n *news) add(v msg.Visit) {
	if i := slices.Index(n.visits, msg.Visit(msg.Held{})); i >= 0 && v == (msg.HoldLost{}) {
		n.visits = slices.Delete(n.visits, i, i+1)
		return
	}
	n.visits = append(n.visits, v)
	n.wake()
}

func (n *news) wake() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// meet notes which SDK the executor's client belongs to.
func (n *news) meet(sdk msg.SDK) {
	if n.sdk == "" {
		n.sdk = sdk
		n.add(msg.Introduced{SDK: sdk})
	}
}

func (n *news) end(cause error) {
	if n.stop != nil {
		n.stop(cause)
	}
}

// Watch reports what happens at the executor's door until ctx ends: first what is so now (which SDK it is, the result of its
// newest job if the spool still has that job or it is to retire, a GET that is held), then every change. A newer watch ends the older.
func (g *Gateway) Watch(ctx context.Context, id msg.ExecutorID, emit func(msg.Visit) error) error {
	d, err := g.find(id)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.tellAfresh(stop)
	for {
		for v := range d.visits(ctx) {
			if err := emit(v); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.news.changed:
		}
	}
}

// visits takes the news one by one, as long as ctx has not ended.
func (d *door) visits(ctx context.Context) func(func(msg.Visit) bool) {
	take := func() (msg.Visit, bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if ctx.Err() != nil || len(d.news.visits) == 0 {
			return nil, false
		}
		v := d.news.visits[0]
		d.news.visits = slices.Delete(d.news.visits, 0, 1)
		return v, true
	}
	return func(yield func(msg.Visit) bool) {
		for v, ok := take(); ok && yield(v); v, ok = take() {
		}
	}
}

// tellAfresh makes stop's watch the one that is told, and begins with what is so now: the one before may have been told,
// and have crashed on it.
func (d *door) tellAfresh(stop context.CancelCauseFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.news.end(errNewerWatch)
	d.news.stop = stop
	if d.closed {
		d.news.end(errDismissed)
	}
	pending := slices.DeleteFunc(d.news.visits, func(v msg.Visit) bool {
		switch v.(type) {
		case msg.Held, msg.HoldLost, msg.Introduced, msg.ResultStored:
			return true
		default:
			return false
		}
	})
	var visits []msg.Visit
	if d.news.sdk != "" {
		visits = append(visits, msg.Introduced{SDK: d.news.sdk})
	}
	visits = append(visits, pending...)
	if d.result != nil {
		if _, kept := d.g.Store.Job(d.result.Execution); kept || d.result.Retire != "" {
			visits = append(visits, *d.result)
		}
	}
	if d.hold != nil {
		visits = append(visits, msg.Held{})
	}
	d.news.visits = visits
	d.news.wake()
}
