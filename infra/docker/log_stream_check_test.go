package docker

import (
	"testing"
	"time"
)

func TestStreamCheckSuspectsLostOrRepeatedOutput(t *testing.T) {
	type sent struct {
		after time.Duration // the first entry's timestamp
		text  string
	}
	long := minFileFillTime + time.Millisecond
	for name, c := range map[string]struct {
		late      time.Duration // how long after its timestamp the first entry is read
		entries   []sent
		suspected int // index of the suspected entry; 0: none
	}{
		"in order":                      {long, []sent{{0, "a\n"}, {1, "b\n"}, {2, "c\n"}}, 0},
		"a file is read twice":          {0, []sent{{0, "a\n"}, {5, "b\n"}, {9, "c\n"}, {5, "b\n"}}, 3},
		"a file of one line":            {0, []sent{{0, "a\n"}, {5, "b\n"}, {5, "b\n"}}, 2},
		"stdout and stderr race":        {long, []sent{{0, "a\n"}, {5, "b\n"}, {4, "c\n"}, {6, "d\n"}}, 0},
		"parts of a line":               {long, []sent{{0, "a"}, {0, "a"}, {0, "a\n"}}, 0},
		"a file is skipped":             {long, []sent{{0, "a\n"}, {1, "b\n"}, {long + 1, "c\n"}}, 2},
		"a pause that is read promptly": {0, []sent{{0, "a\n"}, {time.Hour, "b\n"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now().Add(-c.late)
			check := streamCheck{opened: start}
			for i, e := range c.entries {
				at := start.Add(e.after)
				want := c.suspected > 0 && i == c.suspected
				if got := check.suspect(at, []byte(e.text)); got != want {
					t.Fatalf("entry %d: suspected is %v, want %v", i, got, want)
				}
				next := streamCheck{opened: start, accepted: check.accepted, stamps: check.stamps, lineComplete: check.lineComplete, late: check.late}
				if want && next.suspect(at, []byte(e.text)) {
					t.Error("the entry is suspected again in the next stream")
				}
			}
		})
	}
}

func TestStreamCheckMemoryIsBounded(t *testing.T) {
	var check streamCheck
	start := time.Now()
	for i := range 5 * maxStamps {
		if check.suspect(start.Add(time.Duration(i)), nil) {
			t.Fatalf("entry %d is suspected", i)
		}
	}
	if cap(check.stamps) > 3*maxStamps {
		t.Errorf("%d timestamps are stored", cap(check.stamps))
	}
	if !check.suspect(start, nil) {
		t.Error("a timestamp older than all others is not suspected")
	}
}
