package devserver

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMarkersDoNotDependOnChunking(t *testing.T) {
	fragments := []string{
		"##[start: comment]", "##[end: comment]", "##[start: status]", "##[end: status]", "##[start: ", "##[", "]", "text", "\n",
		"##[start: other]", strings.Repeat("x", maxMarkerBytes/2),
	}
	rapid.Check(t, func(t *rapid.T) {
		log := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(fragments), 0, 12).Draw(t, "log"), ""))
		var atOnce, chunked logMarkers
		atOnce.scan(log)
		for at := 0; at < len(log); {
			at += rapid.IntRange(1, len(log)-at).Draw(t, "cut")
			chunked.scan(log[:at])
		}
		if diff := cmp.Diff(atOnce.comments, chunked.comments); diff != "" || atOnce.status != chunked.status {
			t.Errorf("status %q or %q, comments %s", atOnce.status, chunked.status, diff)
		}
	})
}

func TestCommentsAreBounded(t *testing.T) {
	var m logMarkers
	m.scan([]byte(strings.Repeat("##[start: comment]c##[end: comment]", 2*maxComments)))
	if n := len(m.comments); n == 0 || n > maxComments {
		t.Errorf("%d comments", n)
	}
}
