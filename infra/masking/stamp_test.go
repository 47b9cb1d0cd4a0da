package masking

import (
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestLineWithoutTimeGetsReceiptTime(t *testing.T) {
	second := func(n int) time.Time {
		return time.Date(2026, 11, 26, 12, 0, n, 345e6, time.FixedZone("elsewhere", 3600))
	}
	const t0, t1 = "2026-11-26T11:00:00.345Z ", "2026-11-26T11:00:01.345Z "
	for name, c := range map[string]struct {
		in   []string // one per second
		want string
	}{
		"lines":                       {[]string{"a\n", "b\nc"}, t0 + "a\n" + t1 + "b\n" + t1 + "c"},
		"an empty line":               {[]string{"\n"}, t0 + "\n"},
		"a line in two parts":         {[]string{"a", "b\nc\n"}, t0 + "ab\n" + t1 + "c\n"},
		"a line held back for a mask": {[]string{"hunt\n", "b\n"}, t0 + "hunt\n" + t1 + "b\n"},
		"a line that is masked":       {[]string{"hunt", "er2\n"}, t0 + "********\n"},
		"a long line":                 {[]string{strings.Repeat("y", 500), strings.Repeat("y", 500) + "\n"}, t0 + strings.Repeat("y", 1000) + "\n"},
		"klog":                        {[]string{"I1126 12:00:00.000000       1 task.go:12] done\n"}, "I1126 12:00:00.000000       1 task.go:12] done\n"},
		"Python":                      {[]string{"2026-11-26 12:00:00,123 - INFO - done\n"}, "2026-11-26 12:00:00,123 - INFO - done\n"},
		"a level first":               {[]string{"[INFO] 12:00:00 done\n"}, "[INFO] 12:00:00 done\n"},
		"JSON with a time":            {[]string{`{"level":"info","logger":"a.long.name.of.a.logger","time":"2026-11-26T12:00:00Z"}` + "\n"}, `{"level":"info","logger":"a.long.name.of.a.logger","time":"2026-11-26T12:00:00Z"}` + "\n"},
		"JSON without a time":         {[]string{`{"ratio":"10:20"}` + "\n"}, t0 + `{"ratio":"10:20"}` + "\n"},
		"a time in the text":          {[]string{strings.Repeat("word ", 10) + "12:00:00\n"}, t0 + strings.Repeat("word ", 10) + "12:00:00\n"},
		"a time in the next line":     {[]string{"a\n12:00:00 b\n"}, t0 + "a\n12:00:00 b\n"},
		"no time at all":              {[]string{":::::::: 1:22:33\n"}, t0 + ":::::::: 1:22:33\n"},
		"a marker":                    {[]string{"##[start: comment]a\nb##[end: comment]\nc\n"}, "##[start: comment]a\nb##[end: comment]\n" + t0 + "c\n"},
		"a marker in two parts":       {[]string{"##[start: comm", "ent]a\nb##[end: comment] c\n"}, "##[start: comment]a\nb##[end: comment] c\n"},
		"a marker after text":         {[]string{"a ##[start: status]s##[end: status]\n"}, t0 + "a \n##[start: status]s##[end: status]\n"},
		"a marker without an end":     {[]string{"##[start: status]s\na\n##[start: status]s\nb\n"}, "##[start: status]s\n" + t0 + "a\n##[start: status]s\n" + t0 + "b\n"},
		"NUL and invalid UTF-8":       {[]string{"\x00\xff\n\xfe"}, t0 + "\x00\xff\n" + t0 + "\xfe"},
	} {
		t.Run(name, func(t *testing.T) {
			f, got := NewFilter([]msg.Secret{"hunter2"}, false), ""
			for n, part := range c.in {
				got += string(f.Write([]byte(part), second(n)))
			}
			if got += string(f.Flush()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestContinuedLineGetsNoTime(t *testing.T) {
	if got := filteredAt(time.Unix(100, 0), NewFilter(nil, true), "b\nc\n"); got != "b\n1970-01-01T00:01:40.000Z c\n" {
		t.Errorf("got %q", got)
	}
}
