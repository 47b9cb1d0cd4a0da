package actors

import (
	"errors"
	"fmt"
	"testing"

	msg "runnerd/messages"
)

func TestWhatAnErrorSaysOfTheServer(t *testing.T) {
	refused := func(status int) error { return fmt.Errorf("send: %w", &msg.Refusal{Status: status}) }
	disk, network := errors.New("input/output error"), fromServer(errors.New("connection refused"))
	for name, c := range map[string]struct {
		what         string
		err          error
		away, answer bool
	}{
		"it took it":                      {sendFinish, nil, false, true},
		"it did not answer":               {sendFinish, network, true, false},
		"it forgot the runner":            {sendLog, refused(401), true, false},
		"it has too much to do":           {sendLog, refused(429), true, false},
		"what is before it does not":      {sendFinish, refused(502), true, false},
		"it fails at this":                {sendFinish, refused(500), false, true},
		"it wants this never":             {sendFinish, refused(410), false, true},
		"the disk cannot be read":         {sendFinish, disk, false, false},
		"a removal is no business of its": {sendRemoval, nil, false, false},
		"nor is what a script says":       {sendScriptLog, nil, false, false},
	} {
		if got := isAway(c.err); got != c.away {
			t.Errorf("%s: away is %v", name, got)
		}
		if got := isAnswer(msg.Sent{What: c.what, Err: c.err}); got != c.answer {
			t.Errorf("%s: answered is %v", name, got)
		}
	}
}

func TestKnocksComeWithinASecondOfOneAnother(t *testing.T) {
	for n := 1; n < 100; n++ {
		if wait := probeBackoff.after(n, 0.999); wait.Seconds() >= 1 {
			t.Errorf("knock %d comes after %v", n, wait)
		}
	}
}
