package actors

import (
	"os/exec"
	"strings"
	"testing"

	"runnerd/tests/mutants"
)

// deliberateBug is a bug that is put into the production code, and the invariant that the exploration must report for it.
type deliberateBug struct {
	bug    string
	edits  []edit
	finds  string // the test that explores
	breaks string // the invariant's name, with which its error begins
}

// edit changes the source of this package.
type edit = mutants.Edit

const (
	slotsFile    = "dispatcher_slots.go"
	everySlot    = "TestDecisionInvariantsHoldInEveryState"
	everySession = "TestSessionInvariantsHoldInEveryState/slice/"
	bugStride    = 9 // without -wide, only every ninth bug is tried, because each has to be built and linked
)

var deliberateBugs = []deliberateBug{
	{"the capacity is exceeded by one", []edit{{slotsFile, "case alive < capacity:", "case alive <= capacity:"}}, everySlot, "capacity:"},
	{"an executor that starts is not counted", []edit{{slotsFile, "\t\t\talive++\n", ""}}, everySlot, "capacity:"},
	{"a stopping executor is not counted", []edit{{slotsFile, "case slotStopping:\n\t\t\tstopping++", "case slotStopping:\n\t\t\talive--"}}, everySlot, "stopping:"},
	{"an executor of another key is reused", []edit{{slotsFile, "s.key == key && (last", "(last"}}, everySlot, "key:"},
	{"an idle executor is used twice", []edit{{slotsFile, "idle = slices.Delete(idle, at, at+1)", "_ = at"}}, everySlot, "one use:"},
	{"tasks go before scripts", []edit{{slotsFile, "boolCompare(b.kind == msg.Script, a.kind == msg.Script)", "boolCompare(a.kind == msg.Script, b.kind == msg.Script)"}}, everySlot, "turn:"},
	{"low priorities go first", []edit{{slotsFile, "cmp.Compare(b.priority, a.priority)", "cmp.Compare(a.priority, b.priority)"}}, everySlot, "turn:"},
	{"the newest job goes first", []edit{{slotsFile, "cmp.Compare(a.order, b.order)", "cmp.Compare(b.order, a.order)"}}, everySlot, "turn:"},
	{"a waiting job blocks those behind it", []edit{{slotsFile, "\t\t\tfreeing--\n", "\t\t\treturn todo\n"}}, everySlot, "unneeded:"},
	{"a lowered capacity leaves idle executors", []edit{{slotsFile, "for alive-stopping > capacity && len(idle) > 0 {", "for false {"}}, everySlot, "lowered capacity:"},
	{"a job that gets a freed slot evicts an executor", []edit{{slotsFile, "case freeing > 0:", "case freeing > capacity:"}}, everySlot, "gain:"},
	{"one freed slot counts for every job", []edit{{slotsFile, "\t\t\tfreeing--\n", ""}}, everySlot, "unneeded:"},
	{"no executor is evicted for a job", []edit{{slotsFile, "case len(idle) > 0 && alive-stopping <= capacity:", "case false:"}}, everySlot, "unneeded:"},
	{"the executor idle longest is reused", []edit{{slotsFile, "compareIdle(s, idle[last]) > 0", "compareIdle(s, idle[last]) < 0"}}, everySlot, "newest:"},
	{"an unresponsive executor is given a job", []edit{{slotsFile, "idle = append(idle, slot{id: s.id, state: s.state})", "idle = append(idle, s)"}, {slotsFile, "if s.state == slotIdle && s.key == key", "if s.key == key"}}, everySlot, "one use:"},
	{"an unresponsive executor is never evicted", []edit{{slotsFile, "\t\t\tidle = append(idle, slot{id: s.id, state: s.state})\n", ""}}, everySlot, "lowered capacity:"},
	{"idle executors are evicted before unresponsive ones", []edit{{slotsFile, "idle = append(idle, slot{id: s.id, state: s.state})", "s.key, idle = msg.Key{}, append(idle, s)\n\t\t\tidle[len(idle)-1].since = time.Unix(1<<40, 0)"}}, everySlot, "unresponsive:"},
	{"the executor that became idle last is evicted", []edit{{slotsFile, "compareIdle(s, idle[least]))", "compareIdle(idle[least], s))"}}, everySlot, "longest:"},
	{"only one job at a time is started", []edit{{slotsFile, "case alive < capacity:", "case alive < capacity && len(todo) == 0:"}}, everySlot, "no blocking:"},
	{"only one executor at a time is reused", []edit{{slotsFile, "case reusable >= 0:", "case reusable >= 0 && len(todo) == 0:"}}, everySlot, "own:"},
	{"an executor usable by a job is evicted", []edit{{slotsFile, "boolCompare(n, needed)", "0*boolCompare(n, needed)"}}, everySlot, "wanted:"},

	{"a second process gets the job", []edit{{"session_requests.go", "case t.job.handOut == handedOut && t.job.delivered:", "case false:"}}, everySession + "go, two jobs, plugin restart", "once:"},
	{"an event is sent while a job runs", []edit{{"session_requests.go", "func (t *transition) mustNotNotify() bool {\n", "func (t *transition) mustNotNotify() bool {\n\tif t.mode == \"daemon\" {\n\t\treturn false\n\t}\n"}}, everySession + "go, two jobs, cut", "rule 2:"},
	{"a callback is answered before storing its result", []edit{{"session_result.go", "t.job.storing = append(t.job.storing, m.Request)", "t.answer(m.Request, msg.Accept{})"}}, everySession + "go, one job", "callback:"},
	{"a dying executor receives its job again", []edit{{"session_requests.go", "case t.job.abandoned:", "case false:"}}, everySession + "go, one job, cut, limit", "once:"},
	{"a late input counts as not delivered", []edit{{"session_container.go", "t.job.abandoned && !t.job.delivered)", "t.job.abandoned)"}}, everySession + "go, two jobs, limit", "once:"},
	{"an examination from before the hand-out counts", []edit{{"session_container.go", "&& m.NotHandedOut && !t.job.unstarted &&", "&& false &&"}}, everySession + "go, one job, crash, death", "record:"},
	{"a GET is served before inspecting the container", []edit{{"session_requests.go", "handingOut || isGet && !t.inspected {", "handingOut || isGet && false {"}}, everySession + "go, one job, crash, container restart", "once:"},
	{"a result during a repeated hand-out is lost", []edit{{"session_result.go", " || m.Verdict != msg.NoResult)", ")"}}, everySession + "go, two jobs, cut", "callback:"},
	{"a callback from before the hand-out proves something", []edit{{"session_result.go", " && m.Current == t.job.Execution:", ":"}}, everySession + "go, two jobs, cut", "once:"},
	{"a job's end is reported twice", []edit{{"session_job.go", "t.do(tellReporter{msg.Report{Execution: execution, ExecutorDone: true}})\n", "t.tell(msg.JobDone{Executor: t.id, Execution: execution})\n"}}, everySession + "go, one job", "done twice:"},
	{"an executor is idle without a waiting GET", []edit{{"session_job.go", "\t\tt.delayNotify(notifyDelay)\n", "\t\tt.do(tellIdle{t.last})\n"}}, everySession + "go, one job", "idle:"},
	{"a job without a result gets no ending", []edit{{"session_container.go", "case t.job.ending == nil:\n\t\tt.job.abort", "case false:\n\t\tt.job.abort"}}, everySession + "go, two jobs, death", "the goal is not reached"},
}

// This test checks all bugs, because a run without -wide compiles only some.
func TestEachDeliberateBugAppliesToSource(t *testing.T) {
	for _, b := range deliberateBugs {
		t.Run(b.bug, func(t *testing.T) { mutants.Apply(t, ".", b.edits) })
	}
}

func TestExplorationFindsDeliberateBugs(t *testing.T) {
	if raceEnabled {
		t.Skip("too slow with the race detector")
	}
	for n, b := range deliberateBugs {
		if !*wide && n%bugStride > 0 {
			continue
		}
		t.Run(b.bug, func(t *testing.T) {
			pattern := "^" + strings.ReplaceAll(strings.ReplaceAll(b.finds, " ", "_"), "/", "$/^") + "$"
			explore := exec.Command(mutants.Build(t, ".", ".", b.edits), "-test.run", pattern, "-test.timeout", "5m")
			if strings.HasPrefix(b.finds, everySession) {
				explore.Args = append(explore.Args, "-wide") // its slice may be explored only with -wide
			}
			out, err := explore.CombinedOutput()
			if err == nil || !strings.Contains(string(out), ": "+b.breaks) {
				t.Errorf("error %v, want the violation of %q in:\n%s", err, b.breaks, out)
				return
			}
			t.Logf("%s", out)
		})
	}
}
