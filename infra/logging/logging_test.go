package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	msg "runnerd/messages"
)

func TestTheFormatIsWhatWasAskedFor(t *testing.T) {
	for format, isJSON := range map[string]bool{"json": true, "auto": true, "console": false} { // a buffer is no terminal
		var out bytes.Buffer
		log, err := New(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str("job", "e-1").Any("token", msg.Secret("hunter2")).Msg("handed out")
		log.Debug().Msg("not asked for")
		if json.Valid(out.Bytes()) != isJSON || !strings.Contains(out.String(), "e-1") {
			t.Errorf("%s writes %s", format, out.String())
		}
		for _, never := range []string{"hunter2", "not asked for", "\x1b["} {
			if strings.Contains(out.String(), never) {
				t.Errorf("%s writes %q", format, never)
			}
		}
	}
}

func TestWhatScriptsPrintIsKeptApart(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		var out, scripts bytes.Buffer
		log, err := NewWithScripts(&out, format, "error", &scripts)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str("script", "script-1").Msg("looking \"up\"")
		log.Info().Msg("not asked for")
		log.Error().Msg("asked for")
		if got := scripts.String(); got != "looking \"up\"\n" {
			t.Errorf("%s: apart is %q", format, got)
		}
		if got := out.String(); !strings.Contains(got, "asked for") || strings.Contains(got, "not asked for") || strings.Contains(got, "looking") {
			t.Errorf("%s: the log is %q", format, got)
		}
	}
}

func TestAnUnknownFormatOrLevelIsRefusedWithWhatToUse(t *testing.T) {
	for _, c := range []struct{ format, level, want string }{
		{"xml", "info", "auto, console or json"},
		{"json", "loud", "trace, debug, info"},
		{"json", "", "trace, debug, info"},
	} {
		if _, err := New(&bytes.Buffer{}, c.format, c.level); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %s: %v", c.format, c.level, err)
		}
	}
}
