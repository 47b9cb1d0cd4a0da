// Package crash kills the real runner with SIGKILL at every step at which a job could be lost, and at random moments, while it works
// with a real engine and real plugins.
//
// A kill point is such a step: a request of the runner that was received and not answered, an answer that is not sent yet, a new file, or
// a directory that is removed. The test intercepts the runner's requests to the server and to the engine and watches the spool. When the
// kill point of the present round is reached, the killer kills the runner before it can go on. The next runner starts at once.
//
// Afterwards, check verifies that each job ran once according to its own notification and was finished once in the server's ledger, that
// its log has every line once and in order, that the engine's events show no executor beyond the capacity, and that nothing remains.
//
//	go test ./tests/crash -args -kills=2000 -seed=7
package crash

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"runnerd/tests/harness"
)

var (
	kills = flag.Int("kills", 40, "number of kills of all modes together")
	only  = flag.String("only", "", "use only kill points whose name contains this text")
	seed  = flag.Uint64("seed", uint64(time.Now().Unix()/86400), "seed of the random moments and of the order of the kill points; changes each day")
)

// shared is nil if no engine is available.
var shared *harness.Harness

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m, func(_ context.Context, s *harness.Harness) error {
		shared = s
		return nil
	}))
}
