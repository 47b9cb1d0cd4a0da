package masking

import (
	"strings"
	"testing"
)

func TestMarkersBeginLines(t *testing.T) {
	const start, end = "##[start: comment]", "##[end: comment]"
	long := start + strings.Repeat("x", maxMarker)
	kept := maxMarker - len(cutNote) - len(end)
	cut := long[:kept] + cutNote + end + "\n" + long[kept:]
	for name, c := range map[string]struct{ in, want string }{
		"klog":                                {"I1123 12:00:00.000000       1 task.go:12] ##[start: comment]done##[end: comment]\n", "##[start: comment]done##[end: comment]\n"},
		"Python":                              {"2026-11-23 12:00:00.123 INFO [base_task.py:12] - ##[start: status]at work##[end: status]\n", "##[start: status]at work##[end: status]\n"},
		"Python, the library's own format":    {"INFO:root:##[start: status]s##[end: status]\n", "##[start: status]s##[end: status]\n"},
		"no prefix":                           {"a\n##[start: status]s##[end: status]\nb", "a\n##[start: status]s##[end: status]\nb"},
		"several lines":                       {"I1123 12:00:00.000000 1 t.go:1] ##[start: comment]a\nb\n\nc##[end: comment]\nd", "##[start: comment]a\nb\n\nc##[end: comment]\nd"},
		"text without a logger's prefix":      {"result: ##[start: comment]c##[end: comment] end\n", "result: \n##[start: comment]c##[end: comment] end\n"},
		"two on a line":                       {"##[start: status]s##[end: status]##[start: comment]c##[end: comment]", "##[start: status]s##[end: status]\n##[start: comment]c##[end: comment]"},
		"an end of the other kind":            {"x ##[start: status]s##[end: comment]##[end: status]", "x \n##[start: status]s##[end: comment]##[end: status]"},
		"no end":                              {"INFO: ##[start: comment]c\nd", "INFO: ##[start: comment]c\nd"},
		"an end that is too far away":         {"INFO: " + long + end + "\n", cut + end + "\n"},
		"a marker after an unterminated one":  {long + "\nINFO: ##[start: status]s##[end: status]\n", cut + "\n##[start: status]s##[end: status]\n"},
		"an unknown marker":                   {"x ##[start: other]s##[end: other]\n", "x ##[start: other]s##[end: other]\n"},
		"after a long line without a newline": {strings.Repeat("y", 500) + "##[start: status]s##[end: status]", strings.Repeat("y", 500) + "\n##[start: status]s##[end: status]"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := filtered(NewFilter(nil, false), c.in); got != c.want {
				t.Errorf("at once: got %.200q, want %.200q", got, c.want)
			}
			if got := filtered(NewFilter(nil, false), strings.Split(c.in, "")...); got != c.want {
				t.Errorf("byte by byte: got %.200q, want %.200q", got, c.want)
			}
		})
	}
}
