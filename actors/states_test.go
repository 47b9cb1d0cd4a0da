package actors

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "regenerate the diagrams")

const (
	executorDiagram = "../docs/executor-life.md"
	runnerDiagram   = "../docs/runner-life.md"
)

// draw returns a transition table as a Mermaid diagram.
func draw[S ~string](title string, next map[S][]S) []byte {
	var b bytes.Buffer
	b.WriteString(title + "\n\n```mermaid\nstateDiagram-v2\n")
	name := func(s S) string { return cmp.Or(string(s), "[*]") }
	for _, from := range slices.Sorted(maps.Keys(next)) {
		for _, to := range next[from] {
			fmt.Fprintf(&b, "    %s --> %s\n", name(from), name(to))
		}
		if len(next[from]) == 0 {
			fmt.Fprintf(&b, "    %s --> [*]\n", name(from))
		}
	}
	b.WriteString("```\n")
	return b.Bytes()
}

func TestStateDiagramsMatchTables(t *testing.T) {
	for file, want := range map[string][]byte{
		executorDiagram: draw("# The states of an executor\n\nGenerated from the table in `actors/session.go` (`go test ./actors -update`). After a restart an executor enters the state that the\n"+
			"spool shows.", nextStates),
		runnerDiagram: draw("# The states of a runner\n\nGenerated from the table in `actors/runner_state.go`, which describes the states (`go test ./actors -update`). Before the first,\n"+
			"`runnerd status` shows *starting*. The process may end in any state; the diagram omits that.", nextRunnerStates),
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if drawn, err := os.ReadFile(file); err != nil || !bytes.Equal(drawn, want) {
			t.Errorf("%s does not match the table: run go test ./actors -update (%v)", file, err)
		}
	}
}

func TestEveryStateIsReachableAndTerminates(t *testing.T) {
	reachesAll(t, nextStates, fresh, exited)
	reachesAll(t, nextRunnerStates, unstarted, deleting)
}

func reachesAll[S ~string](t *testing.T, next map[S][]S, first, last S) {
	reach := func(from S) map[S]bool {
		seen := map[S]bool{from: true}
		for queue := []S{from}; len(queue) > 0; queue = queue[1:] {
			for _, to := range next[queue[0]] {
				if !seen[to] {
					seen[to] = true
					queue = append(queue, to)
				}
			}
		}
		return seen
	}
	reachable := reach(first)
	for state := range next {
		if !reachable[state] {
			t.Errorf("%q is unreachable", state)
		}
		if !reach(state)[last] {
			t.Errorf("%q cannot reach %q", state, last)
		}
	}
	if len(next[last]) > 0 {
		t.Errorf("%q is not final", last)
	}
}

func TestIllegalTransitionPanics(t *testing.T) {
	for _, row := range []struct{ from, to state }{{exited, running}, {stopping, idle}, {pulling, running}, {idle, starting}, {running, idle}} {
		t.Run(fmt.Sprintf("from %s to %s", row.from, row.to), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			(&transition{session: session{state: row.from}}).enter(row.to)
		})
	}
}
