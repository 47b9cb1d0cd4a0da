package devserver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMarksAreTheSameHoweverTheLogIsCut(t *testing.T) {
	pieces := []string{
		"##[start: comment]", "##[end: comment]", "##[start: status]", "##[end: status]", "##[start: ", "##[", "]", "text", "\n",
		"##[start: other]", strings.Repeat("x", longestMark/2),
	}
	rapid.Check(t, func(t *rapid.T) {
		log := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "log"), ""))
		var whole, cut marks
		whole.find(log)
		for at := 0; at < len(log); {
			at += rapid.IntRange(1, len(log)-at).Draw(t, "cut")
			cut.find(log[:at])
		}
		if diff := cmp.Diff(whole.comments, cut.comments); diff != "" || whole.status != cut.status {
			t.Errorf("status %q or %q, comments %s", whole.status, cut.status, diff)
		}
	})
}

func TestOnlySoManyCommentsAreKept(t *testing.T) {
	var m marks
	m.find([]byte(strings.Repeat("##[start: comment]c##[end: comment]", 2*keepComments)))
	if n := len(m.comments); n == 0 || n > keepComments {
		t.Errorf("%d comments", n)
	}
}
