package simulation

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

// outcome is what became of a seed.
type outcome struct {
	Seed     uint64
	Breaches []string
	Hash     uint64
	Steps    int
	Virtual  time.Duration
	Jobs     int
	Hits     map[string]int
	Last     string // of trace and log
}

// history lives through a seed. keep: so many lines of what happened are kept; traced: the hash is wanted.
func history(t *testing.T, seed uint64, keep int, traced bool) (o outcome) {
	identity()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		tr := newTrace(keep)
		tr.off = keep == 0 && !traced
		w := newWorld(rand.New(rand.NewPCG(seed, 0)), tr)
		w.log.hears = w.oracle.hears
		w.live()
		o = outcome{Seed: seed, Breaches: w.oracle.breaches, Hash: tr.hash, Steps: w.steps, Virtual: time.Since(began), Jobs: w.oracle.tasks, Hits: w.oracle.hits}
		o.Last = tr.last() + "\n\n" + strings.Join(w.log.lines[max(0, len(w.log.lines)-keep):], "\n")
		w.leave()
	})
	return o
}

// live is a history: a while in which things befall the runner, and then peace, in which everything must come to its end.
func (w *world) live() {
	w.furnish()
	w.submits = true
	over := false
	for _, b := range blows {
		if w.chance(0.4) {
			w.awaits(b, &over)
		}
	}
	w.brings(w.between(20*time.Second, 5*time.Minute))
	w.oracle.watchTime()
	w.boot()
	w.lasts(time.Now().Add(w.between(10*time.Minute, 90*time.Minute)))
	over = true
	w.peace()
	w.until("the server has everything and the spool is empty", 2*time.Hour, func() bool {
		return w.sys != nil && w.server.Open() == 0 && len(w.server.Unfinished()) == 0 && len(w.spool.Jobs()) == 0
	})
	w.retire()
	if !w.oracle.wrong() && w.disks() != "" { // what a bad disk kept from being taken away is gone after another start
		w.boot()
		w.lasts(time.Now().Add(10 * time.Minute))
		w.retire()
	}
	if !w.oracle.wrong() {
		w.oracle.account()
		w.oracle.nothingIsLeft()
	}
}

// peace ends all that is wrong.
func (w *world) peace() {
	w.trace.note("PEACE")
	w.mood = mood{}
	w.holds = nil
	w.server.Down(nil)
	w.engine.Down(nil)
	w.disk.Space = math.MaxUint64
	w.server.FallSilent(false)
	w.wanted.Enabled, w.wanted.Capacity, w.wanted.Capabilities = true, 4, []string{"remote-script"}
	w.reconfigures()
	w.oracle.trouble()
	w.submits, w.peaceful = false, true
}

func (w *world) until(what string, within time.Duration, so func() bool) {
	for end := time.Now().Add(within); !w.oracle.wrong() && !so(); {
		if !time.Now().Before(end) {
			w.oracle.breach("I1: after %v in peace it is not so that %s: %s", within, what, w.picture())
			return
		}
		w.lasts(time.Now().Add(10 * time.Second))
	}
}

// retire drains the runner for good.
func (w *world) retire() {
	w.retired = true
	w.stop()
	w.until("the runner has gone", 10*time.Minute, func() bool { return w.sys == nil })
}

// disks is what the spool still has; empty: nothing.
func (w *world) disks() (left string) {
	if w.wiped {
		return ""
	}
	for _, dir := range []string{"jobs", "executors"} {
		entries, err := w.disk.ReadDir(dir)
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".spare-") })
		if err != nil || len(entries) > 0 {
			left += fmt.Sprintf("%s: %v %v ", dir, entries, err)
		}
	}
	return left
}

// picture is how things stand.
func (w *world) picture() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d open, unfinished %v, alive %v", w.server.Open(), w.server.Unfinished(), w.oracle.living())
	if w.sys != nil {
		for _, job := range w.spool.Jobs() {
			fmt.Fprintf(&b, "\n  job %s %s in %q, log %+v, ending %+v", job.Execution, job.Stage, job.Executor, job.Log, job.Ending)
		}
		for _, x := range w.spool.Executors() {
			fmt.Fprintf(&b, "\n  executor %s job %q retired %q", x.ID, x.Job, x.Retired)
		}
	}
	return b.String()
}

// leave ends everything that still goes on.
func (w *world) leave() {
	if w.life != nil {
		w.life.kill()
	}
	if w.gateway != nil {
		w.gateway.Close()
	}
	w.after, w.holds = func() {}, nil
	w.engine.Halt()
	for range 1000 { // programs see that they are dead
		w.timers = nil
		w.run(time.Now())
		if len(w.actors) == 0 {
			return
		}
	}
	for _, r := range w.actors {
		panic("the program " + r.path + " outlives its executor")
	}
}

// nothingIsLeft is I10.
func (o *oracle) nothingIsLeft() {
	w := o.w
	if list := w.engine.Containers(); len(list) > 0 {
		o.breach("I10: containers are left: %v", list)
	}
	if len(o.alive) > 0 {
		o.breach("I10: containers live: %v", o.living())
	}
	if left := w.disks(); left != "" {
		o.breach("I10: in the spool are left %s", left)
	}
}

func sumHits(all map[string]int, hits map[string]int) {
	for what, n := range hits {
		all[what] += n
	}
}

func showHits(hits map[string]int) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(hits)) {
		fmt.Fprintf(&b, "%6d %s\n", hits[what], what)
	}
	return b.String()
}
