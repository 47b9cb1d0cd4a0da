package actors

import (
	"errors"
	"fmt"
	"testing"

	msg "runnerd/messages"
)

func TestSendErrorsShowWhetherServerIsUnavailable(t *testing.T) {
	refused := func(status int) error { return fmt.Errorf("send: %w", &msg.Refusal{Status: status}) }
	disk, network := errors.New("input/output error"), wrapNoResponse(errors.New("connection refused"))
	for name, c := range map[string]struct {
		what                string
		err                 error
		unavailable, answer bool
	}{
		"accepted":                       {sendFinish, nil, false, true},
		"no answer":                      {sendFinish, network, true, false},
		"runner unknown":                 {sendLog, refused(401), true, false},
		"too many requests":              {sendLog, refused(429), true, false},
		"bad gateway":                    {sendFinish, refused(502), true, false},
		"internal error":                 {sendFinish, refused(500), false, true},
		"rejected permanently":           {sendFinish, refused(410), false, true},
		"disk error":                     {sendFinish, disk, false, false},
		"removal, without the server":    {sendRemoval, nil, false, false},
		"script log, without the server": {sendScriptLog, nil, false, false},
	} {
		if got := isUnavailable(c.err); got != c.unavailable {
			t.Errorf("%s: unavailable is %v", name, got)
		}
		if got := isAnswer(msg.Sent{What: c.what, Err: c.err}); got != c.answer {
			t.Errorf("%s: answer is %v", name, got)
		}
	}
}

func TestProbesAreLessThanOneSecondApart(t *testing.T) {
	for n := 1; n < 100; n++ {
		if wait := probeBackoff.after(n, 0.999); wait.Seconds() >= 1 {
			t.Errorf("probe %d comes after %v", n, wait)
		}
	}
}
