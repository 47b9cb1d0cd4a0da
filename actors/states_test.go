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

var update = flag.Bool("update", false, "write the pictures of lives anew")

const (
	executorPicture = "../docs/executor-life.md"
	runnerPicture   = "../docs/runner-life.md"
)

// draw is a table as a picture that code hosts draw.
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

func TestThePicturesOfLivesAreTheTables(t *testing.T) {
	for picture, want := range map[string][]byte{
		executorPicture: draw("# The life of an executor\n\nDrawn from the table in `actors/session.go` by its test (`go test ./actors -update`). An executor that is found after a restart\n"+
			"enters where the spool sees it.", nextStates),
		runnerPicture: draw("# The life of a runner\n\nDrawn from the table in `actors/runner_state.go`, which says what the phases are, by its test (`go test ./actors -update`). "+
			"`runnerd status`\nsays *starting* before the first. The process may end in each of them; that is not drawn.", nextRunnerStates),
	} {
		if *update {
			if err := os.WriteFile(picture, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if drawn, err := os.ReadFile(picture); err != nil || !bytes.Equal(drawn, want) {
			t.Errorf("%s is not what the table says: run go test ./actors -update (%v)", picture, err)
		}
	}
}

func TestEveryStateIsReachedAndLeadsToTheEnd(t *testing.T) {
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
	born := reach(first)
	for state := range next {
		if !born[state] {
			t.Errorf("%q is never reached", state)
		}
		if !reach(state)[last] {
			t.Errorf("%q never ends", state)
		}
	}
	if len(next[last]) > 0 {
		t.Error("there is a life after the end")
	}
}

func TestAnIllegalMovePanics(t *testing.T) {
	for _, row := range []struct{ from, to state }{{exited, running}, {stopping, idle}, {pulling, running}, {idle, starting}, {running, idle}} {
		t.Run(fmt.Sprintf("from %s to %s", row.from, row.to), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was allowed")
				}
			}()
			(&transition{session: session{state: row.from}}).enter(row.to)
		})
	}
}
