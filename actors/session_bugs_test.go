package actors

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sessionBug is a bug on purpose in step, the slice of the exploration that finds it, and what that must say.
type sessionBug struct {
	bug, file, from, to string
	slice, says         string
}

var sessionBugs = []sessionBug{
	{"a second process gets the job", "session_requests.go", "case t.job.stage == handedOut && t.job.delivered:", "case false:", "go, two jobs, plugin restart", "once:"},
	{"an event is sent while a job runs", "session_requests.go", "func (t *transition) isDeaf() bool {\n", "func (t *transition) isDeaf() bool {\n\tif t.mode == \"daemon\" {\n\t\treturn false\n\t}\n", "go, two jobs, cut", "rule 2:"},
	{"a callback is answered before its result is stored", "session_result.go", "t.job.storing = append(t.job.storing, m.Request)", "t.answer(m.Request, msg.Accept{})", "go, one job", "callback:"},
	{"an executor is stopped without giving its job back", "session_container.go", "if t.job.stage != noJob {\n\t\tt.giveBack(why)\n\t}", "", "go, two jobs, cut", "the goal is not reached"},
	{"a job is given again by an executor that is being killed", "session_requests.go", "case t.job.abandoned:", "case false:", "go, one job, cut, limit", "once:"},
	{"an input that arrives late is taken for none", "session_container.go", "t.job.abandoned && !t.job.delivered}", "t.job.abandoned}", "go, two jobs, limit", "once:"},
	{"an examination of before the hand-out counts", "session_container.go", "&& m.Back && !t.job.unstarted &&", "&& false &&", "go, one job, crash, death", "record:"},
	{"a GET is served before the engine is asked", "session_requests.go", "isGet && !t.found {", "isGet && false {", "go, one job, crash, container restart", "once:"},
	{"a result that overtakes a repeated hand-out is lost", "session_result.go", " || m.Verdict != msg.NoDelivery)", ")", "go, two jobs, cut", "callback:"},
	{"a callback that began before the hand-out proves something", "session_result.go", " && m.Current == t.job.Execution:", ":", "go, two jobs, cut", "once:"},
	{"a job's end is told twice", "session_job.go", "t.do(report{msg.Report{Execution: over, Over: true}})\n", "t.tell(msg.JobOver{Executor: t.id, Execution: over})\n", "go, one job", "over twice:"},
	{"an executor says that it waits, and no GET does", "session_job.go", "\t\tt.delayNotify(afterResult)\n", "\t\tt.do(isIdle{t.last})\n", "go, one job", "idle:"},
	{"a job that ends in its executor leaves its record open", "session_container.go", "case t.job.ending == nil:\n\t\tt.job.abort", "case false:\n\t\tt.job.abort", "go, two jobs, death", "the goal is not reached"},
}

// TestTheExplorationFindsDeliberateBugs builds the tests once for each bug, with the bug in an overlay.
func TestTheExplorationFindsDeliberateBugs(t *testing.T) {
	if !*wide {
		return // each costs a build
	}
	for _, b := range sessionBugs {
		t.Run(b.bug, func(t *testing.T) {
			out, err := exec.Command(b.build(t), "-test.run", "TestASessionKeepsItsInvariantsInEveryState/slice/"+strings.ReplaceAll(b.slice, " ", "_")+"$", "-wide").CombinedOutput()
			if err == nil || !strings.Contains(string(out), ": "+b.says) {
				t.Errorf("it is not found by %q:\n%.2000s", b.says, out)
			}
		})
	}
}

func (b sessionBug) build(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	file, err := filepath.Abs(b.file)
	source, err2 := os.ReadFile(b.file)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if n := strings.Count(string(source), b.from); n != 1 {
		t.Fatalf("%s has %q %d times: write this bug anew", b.file, b.from, n)
	}
	mutant, overlay, program := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "actors.test")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	for name, content := range map[string]string{mutant: strings.Replace(string(source), b.from, b.to, 1), overlay: string(text)} {
		if err == nil {
			err = os.WriteFile(name, []byte(content), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, out))
	}
	return program
}
