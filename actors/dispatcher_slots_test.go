package actors

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	msg "runnerd/messages"
)

// poolOf parses "a:busy b:idle", the image and state of each executor. Its id is its position, and of two idle ones the first has been idle
// longer.
func poolOf(text string) (slots []slot) {
	for i, word := range strings.Fields(text) {
		image, state, _ := strings.Cut(word, ":")
		slots = append(slots, slot{id: msg.ExecutorID(fmt.Sprintf("x%d", i+1)), key: msg.Key{Image: image}, state: slotState(state),
			since: time.Unix(int64(i), 0)})
	}
	return slots
}

// queueOf parses "a b:script c:5", the image of each waiting job, and its kind or priority. Its id is its position.
func queueOf(text string) (jobs []waitingJob) {
	for i, word := range strings.Fields(text) {
		image, special, _ := strings.Cut(word, ":")
		w := waitingJob{id: msg.ExecutionID(fmt.Sprintf("j%d", i+1)), key: msg.Key{Image: image}, kind: msg.Task, order: uint64(i)}
		if special == "script" {
			w.kind = msg.Script
		} else if special != "" {
			fmt.Sscan(special, &w.priority)
		}
		jobs = append(jobs, w)
	}
	return jobs
}

func (d decision) String() string {
	switch {
	case d.evict != "":
		return fmt.Sprintf("evict %s", d.evict)
	case d.reuse != "":
		return fmt.Sprintf("%s in %s", d.job, d.reuse)
	default:
		return fmt.Sprintf("%s in a new one", d.job)
	}
}

func TestDecide(t *testing.T) {
	for _, row := range []struct {
		when       string
		capacity   int
		pool, wait string
		want       string
	}{
		{"nothing waits", 3, "a:busy b:idle", "", ""},
		{"there is a free slot", 2, "", "a", "j1 in a new one"},
		{"an executor of its key is idle", 2, "a:idle", "a", "j1 in x1"},
		{"the most recently idle one is reused", 3, "a:idle a:idle", "a", "j1 in x2"},
		{"another image is idle, a slot is free", 2, "b:idle", "a", "j1 in a new one"},
		{"capacity one, another image is idle", 1, "b:idle", "a", "evict x1"},
		{"a slot is already being freed", 1, "b:stopping", "a", ""},
		{"the one idle longest is evicted", 3, "b:idle c:idle d:busy", "a", "evict x1"},
		{"all are busy", 2, "a:busy b:busy", "a", ""},
		{"several jobs wait for one slot", 2, "b:busy c:idle", "a a a", "evict x2"},
		{"several jobs wait for several slots", 3, "b:busy c:idle d:idle", "a a a", "evict x2, evict x3"},
		{"one slot is free and one is freed", 2, "b:idle", "a a", "j1 in a new one, evict x1"},
		{"the first of two jobs gets the slot", 2, "b:busy c:idle", "a c", "evict x2"},
		{"a job must wait for a stopping executor", 1, "c:stopping", "a", ""},
		{"a free slot spares a later job's executor", 3, "c:idle", "a c", "j1 in a new one, j2 in x1"},
		{"scripts go first, then priority, then arrival", 9, "", "a b:5 c d:script e:5", "j4 in a new one, j2 in a new one, j5 in a new one, j1 in a new one, j3 in a new one"},
		{"lowered capacity with idle executors", 1, "a:idle b:busy c:idle", "", "evict x1, evict x3"},
		{"lowered capacity with busy executors", 1, "a:busy b:busy", "a", ""},
		{"above capacity a usable executor is evicted", 1, "b:busy a:idle", "a", "evict x2"},
		{"above capacity an unusable executor goes first", 2, "a:idle b:idle c:busy", "a", "evict x2, j1 in x1"},
		{"an unusable executor is evicted first", 3, "b:idle c:idle d:busy", "a b", "evict x2, j2 in x1"},
		{"a job needs one of three usable executors", 4, "b:idle b:idle b:idle d:busy", "a c b", "evict x1, evict x2, j3 in x3"},
		{"its executor is unresponsive, a slot is free", 2, "a:unresponsive", "a", "j1 in a new one"},
		{"capacity one, its executor is unresponsive", 1, "a:unresponsive", "a", "evict x1"},
		{"unresponsive executors are evicted before idle ones", 2, "b:idle c:unresponsive", "a", "evict x2"},
		{"capacity zero", 0, "a:idle", "a", "evict x1"},
	} {
		t.Run(row.when, func(t *testing.T) {
			var got []string
			for _, d := range decide(row.capacity, poolOf(row.pool), queueOf(row.wait)) {
				got = append(got, d.String())
			}
			if strings.Join(got, ", ") != row.want {
				t.Errorf("capacity %d, pool [%s], waiting [%s]: %q, want %q", row.capacity, row.pool, row.wait, strings.Join(got, ", "), row.want)
			}
		})
	}
}

func TestFreeSlotsCountBusyExecutorsAndWaitingJobs(t *testing.T) {
	for _, row := range []struct {
		capacity int
		pool     string
		waiting  int
		want     int
	}{
		{4, "", 0, 4},
		{4, "a:busy b:idle c:stopping", 0, 2},
		{4, "a:busy", 2, 1},
		{1, "a:idle", 0, 1},
		{1, "a:unresponsive", 0, 1},
		{1, "a:idle", 1, 0},
		{1, "a:busy b:busy", 1, 0},
	} {
		states := func(yield func(slotState) bool) {
			for _, s := range poolOf(row.pool) {
				if !yield(s.state) {
					return
				}
			}
		}
		if got := freeSlots(row.capacity, states, row.waiting); got != row.want {
			t.Errorf("capacity %d, pool [%s], %d waiting: %d free slots, want %d", row.capacity, row.pool, row.waiting, got, row.want)
		}
	}
}

func TestDecisionsUseCapacityFully(t *testing.T) {
	images := rapid.SampledFrom([]string{"a", "b", "c"})
	states := rapid.SampledFrom([]slotState{slotBusy, slotIdle, slotIdle, slotUnresponsive, slotStopping})
	rapid.Check(t, func(t *rapid.T) {
		var slots []slot
		for i := range rapid.IntRange(0, 6).Draw(t, "executors") {
			slots = append(slots, slot{id: msg.ExecutorID(fmt.Sprint("x", i)), key: msg.Key{Image: images.Draw(t, "image")},
				state: states.Draw(t, "state"), since: time.Unix(int64(rapid.IntRange(0, 3).Draw(t, "since")), 0)})
		}
		var jobs []waitingJob
		for i := range rapid.IntRange(0, 6).Draw(t, "jobs") {
			jobs = append(jobs, waitingJob{id: msg.ExecutionID(fmt.Sprint("j", i)), key: msg.Key{Image: images.Draw(t, "wants")},
				priority: rapid.IntRange(0, 1).Draw(t, "priority"), order: uint64(i)})
		}
		capacity := rapid.IntRange(0, 6).Draw(t, "capacity")
		checkDecisions(t, capacity, slots, jobs, decide(capacity, slots, jobs))
	})
}

func checkDecisions(t *rapid.T, capacity int, slots []slot, jobs []waitingJob, todo []decision) {
	started, used, placed := 0, map[msg.ExecutorID]string{}, map[msg.ExecutionID]bool{}
	stateOf := func(id msg.ExecutorID) slot {
		return slots[slices.IndexFunc(slots, func(s slot) bool { return s.id == id })]
	}
	for _, d := range todo {
		if x := d.reuse + d.evict; x != "" {
			if state := stateOf(x).state; state != slotIdle && (d.evict == "" || state != slotUnresponsive) || used[x] != "" {
				t.Fatalf("%v: executor is not idle, or used by %s", d, used[x])
			}
			used[x] = d.String()
		}
		if d.job == "" {
			continue
		}
		if placed[d.job] {
			t.Fatalf("%v: job has a slot already", d)
		}
		placed[d.job] = true
		wants := jobs[slices.IndexFunc(jobs, func(w waitingJob) bool { return w.id == d.job })].key
		if d.reuse != "" && stateOf(d.reuse).key != wants {
			t.Fatalf("%v: job needs %v", d, wants)
		}
		if d.reuse == "" {
			if started++; len(slots)+started > capacity {
				t.Fatalf("%v: %d are alive and the capacity is %d", d, len(slots)+started-1, capacity)
			}
		}
	}
	for _, w := range jobs { // a job that remains waiting could not have run
		free := slices.ContainsFunc(slots, func(s slot) bool { return s.state == slotIdle && s.key == w.key && used[s.id] == "" })
		if !placed[w.id] && (free || len(slots)+started < capacity) {
			t.Fatalf("%s for %s waits although it could run: %v", w.id, w.key.Image, todo)
		}
	}
}
