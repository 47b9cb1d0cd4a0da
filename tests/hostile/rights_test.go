package hostile

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"runnerd/tests/rig"
)

func TestTheRightsThatTheServicesUnitLeavesAreEnough(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setpriv"); err != nil || os.Geteuid() != 0 {
		t.Skip("it needs root and setpriv")
	}
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, NoRunner: true})
	rights := []string{"--no-new-privs", "--bounding-set=-all" + strings.ToLower(strings.ReplaceAll(" "+ofUnit(t, "CapabilityBoundingSet"), " CAP_", ",+"))}
	runnerd := w.Command
	w.Command = func(args ...string) *exec.Cmd {
		c := runnerd(args...)
		become := append([]string{"-c", "umask " + ofUnit(t, "UMask") + ` && exec setpriv "$@"`, "sh"}, rights...)
		return exec.Command("sh", append(append(become, c.Path), args...)...)
	}
	w.Start()
	w.Ready()
	out := attempt{what: "read", target: "/runnerd/out"}
	private := attempt{what: "litter", size: 1} // a directory into which nobody else may look
	out.got(w)
	first := w.Only()
	for range 2 {
		if said := private.got(w); said != "1 directories" {
			t.Errorf("it left %s", said)
		}
		if said := out.got(w); said != "0 entries" {
			t.Errorf("after the job there are %s", said)
		}
	}
	if now := w.Only(); now != first {
		t.Errorf("the last job ran in executor %s, the first in %s", now, first)
	}
}

// ofUnit is a setting of the service's unit.
func ofUnit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../infra/systemd/runnerd.service")
	rig.Must(t, err)
	found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("the unit does not set %s", name)
	}
	return string(found[1])
}
