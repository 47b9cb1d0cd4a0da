package hostile

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"runnerd/tests/harness"
)

func TestCapabilitiesOfServiceUnitSuffice(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setpriv"); err != nil || os.Geteuid() != 0 {
		t.Skip("this test needs root and setpriv")
	}
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, NoRunner: true})
	setprivArgs := []string{"--no-new-privs", "--bounding-set=-all" + strings.ToLower(strings.ReplaceAll(" "+unitSetting(t, "CapabilityBoundingSet"), " CAP_", ",+"))}
	runnerd := env.Command
	env.Command = func(args ...string) *exec.Cmd {
		c := runnerd(args...)
		setpriv := append([]string{"-c", "umask " + unitSetting(t, "UMask") + ` && exec setpriv "$@"`, "sh"}, setprivArgs...)
		return exec.Command("sh", append(append(setpriv, c.Path), args...)...)
	}
	env.Start()
	env.WaitReady()
	out := attempt{what: "read", target: "/runnerd/out"}
	private := attempt{what: "make-dirs", size: 1} // a directory that others cannot read
	out.run(env)
	first := env.OnlyExecutor()
	for range 2 {
		if got := private.run(env); got != "1 directories" {
			t.Errorf("the plugin made %s", got)
		}
		if got := out.run(env); got != "0 entries" {
			t.Errorf("the output directory has %s after the job", got)
		}
	}
	if now := env.OnlyExecutor(); now != first {
		t.Errorf("the last job ran in executor %s, the first in %s", now, first)
	}
}

// unitSetting returns a setting of the systemd unit.
func unitSetting(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../infra/systemd/runnerd.service")
	harness.Must(t, err)
	found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("the unit does not set %s", name)
	}
	return string(found[1])
}
