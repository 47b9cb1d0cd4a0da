// Package crash kills the real runner, with SIGKILL and from outside, at every step at which a job could be lost, and at
// random, while it works for a real engine and real plugins.
//
// A row is a step of the matrix: a request of the runner that has come and is not answered, an answer that is held, a file
// that appears or a directory that goes. The front of the server, the door before the engine and a watch on the spool see them
// happen (trap), and the one that a round waits for kills the runner before it can do anything else. The next runner starts at
// once.
//
// All of them must then have been harmless (judge): each job has run once, by its own word, and once in the server's ledger;
// its log has every line once and in order; the engine's events show no executor beyond the capacity; nothing is left.
//
//	go test ./tests/crash -args -kills=2000 -seed=7
package crash

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"runnerd/tests/rig"
)

var (
	kills = flag.Int("kills", 40, "how often a runner is killed, all tests together")
	only  = flag.String("only", "", "kills at rows with this text in their name only")
	seed  = flag.Uint64("seed", uint64(time.Now().Unix()/86400), "decides the random moments and the order of the rows; another one each day")
)

// shop is nil if no engine answers.
var shop *rig.Shop

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, func(_ context.Context, s *rig.Shop) error {
		shop = s
		return nil
	}))
}
