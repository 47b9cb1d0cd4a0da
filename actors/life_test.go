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

var update = flag.Bool("update", false, "write the picture of an executor's life anew")

const lifePicture = "../docs/executor-life.md"

// drawLife is the table as a picture that code hosts draw.
func drawLife() []byte {
	var b bytes.Buffer
	b.WriteString("# The life of an executor\n\nDrawn from the table in `actors/life.go` by its test (`go test ./actors -update`). An executor that is found after a restart\n" +
		"enters where the spool and the engine see it.\n\n```mermaid\nstateDiagram-v2\n")
	name := func(l life) string { return cmp.Or(string(l), "[*]") }
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

func TestThePictureOfALifeIsTheTable(t *testing.T) {
	if *update {
		if err := os.WriteFile(lifePicture, drawLife(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	drawn, err := os.ReadFile(lifePicture)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(drawn, drawLife()) {
		t.Errorf("%s is not what the table says: run go test ./actors -update", lifePicture)
	}
}

func TestEveryStateIsReachedAndLeadsToTheEnd(t *testing.T) {
	reach := func(from life) map[life]bool {
		seen := map[life]bool{from: true}
		for queue := []life{from}; len(queue) > 0; queue = queue[1:] {
			for _, to := range next[queue[0]] {
				if !seen[to] {
					seen[to] = true
					queue = append(queue, to)
				}
			}
		}
		return seen
	}
	born := reach(unborn)
	for state := range next {
		if !born[state] {
			t.Errorf("%q is never reached", state)
		}
		if !reach(state)[gone] {
			t.Errorf("%q never ends", state)
		}
	}
	if len(next[gone]) > 0 {
		t.Error("there is a life after the end")
	}
}

func TestAnIllegalMovePanics(t *testing.T) {
	for _, row := range []struct{ from, to life }{{gone, running}, {stopping, idle}, {pulling, running}, {idle, starting}, {running, idle}} {
		t.Run(fmt.Sprintf("from %s to %s", row.from, row.to), func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was allowed")
				}
			}()
			(&executor{state: row.from}).enter(nil, row.to)
		})
	}
}
