package docker

import (
	"testing"
	"time"
)

func TestAStreamIsDoubtedWhereTheEngineMayHaveLostOrRepeatedOutput(t *testing.T) {
	type sent struct {
		after time.Duration // the first entry's stamp
		text  string
	}
	long := fillsFile + time.Millisecond
	for name, c := range map[string]struct {
		late    time.Duration // how far the reader is behind
		entries []sent
		doubted int // the entry; 0: none
	}{
		"in order":                      {long, []sent{{0, "a\n"}, {1, "b\n"}, {2, "c\n"}}, 0},
		"a file is read twice":          {0, []sent{{0, "a\n"}, {5, "b\n"}, {9, "c\n"}, {5, "b\n"}}, 3},
		"a file of one line":            {0, []sent{{0, "a\n"}, {5, "b\n"}, {5, "b\n"}}, 2},
		"stdout and stderr race":        {long, []sent{{0, "a\n"}, {5, "b\n"}, {4, "c\n"}, {6, "d\n"}}, 0},
		"pieces of a line":              {long, []sent{{0, "a"}, {0, "a"}, {0, "a\n"}}, 0},
		"a file is skipped":             {long, []sent{{0, "a\n"}, {1, "b\n"}, {long + 1, "c\n"}}, 2},
		"a pause that was read at once": {0, []sent{{0, "a\n"}, {time.Hour, "b\n"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now().Add(-c.late)
			d := doubt{opened: start}
			for i, e := range c.entries {
				at := start.Add(e.after)
				want := c.doubted > 0 && i == c.doubted
				if got := d.about(at, []byte(e.text)); got != want {
					t.Fatalf("entry %d: doubted %v", i, got)
				}
				if want && (&doubt{opened: start, pardoned: d.pardoned, stamps: d.stamps, whole: d.whole, behind: d.behind}).about(at, []byte(e.text)) {
					t.Error("it is doubted again in the next stream")
				}
			}
		})
	}
}

func TestAStreamsMemoryIsBounded(t *testing.T) {
	var d doubt
	start := time.Now()
	for i := range 5 * stampsKept {
		if d.about(start.Add(time.Duration(i)), nil) {
			t.Fatalf("entry %d is doubted", i)
		}
	}
	if cap(d.stamps) > 3*stampsKept {
		t.Errorf("%d stamps are kept", cap(d.stamps))
	}
	if !d.about(start, nil) {
		t.Error("a stamp from before all of them is not doubted")
	}
}
