package logging

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestNewUsesRequestedFormat(t *testing.T) {
	for format, isJSON := range map[string]bool{"json": true, "auto": true, "console": false} { // a buffer is not a terminal
		var out bytes.Buffer
		log, err := New(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str("execution", "e-1").Any("token", msg.Secret("hunter2")).Dur("retry", 2500*time.Millisecond).Msg("handed out")
		log.Debug().Msg("below the level")
		if json.Valid(out.Bytes()) != isJSON || !strings.Contains(out.String(), "e-1") || !strings.Contains(out.String(), "2.5s") {
			t.Errorf("%s: got %s", format, out.String())
		}
		if at, wrote := time.Now(), out.String(); isJSON && !strings.Contains(wrote, at.UTC().Format("2006-01-02T")) || !isJSON && !strings.Contains(wrote, at.Format("2006-01-02 ")) {
			t.Errorf("%s: the time is not that of %v: %s", format, at, wrote)
		}
		for _, unwanted := range []string{"hunter2", "below the level", "\x1b["} {
			if strings.Contains(out.String(), unwanted) {
				t.Errorf("%s: log contains %q", format, unwanted)
			}
		}
	}
}

func TestScriptOutputIsSeparated(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		var out, scripts bytes.Buffer
		log, err := NewWithScripts(&out, format, "error", &scripts)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str("script", "script-1").Msg("looking \"up\"")
		log.Info().Msg("below the level")
		log.Error().Msg("failed")
		if got := scripts.String(); got != "looking \"up\"\n" {
			t.Errorf("%s: scripts printed %q", format, got)
		}
		if got := out.String(); !strings.Contains(got, "failed") || strings.Contains(got, "below the level") || strings.Contains(got, "looking") {
			t.Errorf("%s: the log is %q", format, got)
		}
	}
}

func TestUnknownFormatOrLevelIsRefused(t *testing.T) {
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
