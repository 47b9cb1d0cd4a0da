package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTableColumnsAlignWithEmptyCells(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out, time.Now())
	table.row("JOB", "IMAGE", "NOTE")
	table.row("1", "a long name of an image", "")
	table.row("2", "short", "aborted: x")
	table.row("a long name of a job", "", "")
	must(t, table.Flush())
	want := strings.TrimPrefix(`
JOB                   IMAGE                    NOTE
1                     a long name of an image
2                     short                    aborted: x
a long name of a job
`, "\n")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTextFromOutsideCannotChangeTerminal(t *testing.T) {
	for text, want := range map[string]string{
		"größe 1 kB, 日本": "größe 1 kB, 日本",
		"a\x1b[2Jb\n":    `a\x1b[2Jb\n`,
		"csi \u009b2J":   `csi \u009b2J`,
		"rtl \u202egpj":  `rtl \u202egpj`,
		"isolate \u2067": `isolate \u2067`,
		"mark \u200f":    `mark \u200f`,
		"bad \xff":       `bad �`,
	} {
		var out bytes.Buffer
		table := newTable(&out, time.Now())
		table.row(text, "next")
		must(t, table.Flush())
		if got := strings.TrimSuffix(out.String(), "  next\n"); got != want {
			t.Errorf("%q is printed as %q, want %q", text, got, want)
		}
	}
}
