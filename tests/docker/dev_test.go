package docker

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"runnerd/tests/rig"
)

func TestTheFirstCommandOfTheReadmeRunsTheSamples(t *testing.T) {
	t.Parallel()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	for _, row := range []struct {
		with   string
		env    []string
		driver string
	}{
		{with: "an engine", driver: "Driver   docker, because a Docker Engine answers"},
		{with: "no engine", env: []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}, driver: "Driver   process, because there is no engine to use"},
	} {
		t.Run(row.with, func(t *testing.T) {
			t.Parallel()
			log := shop.Watch(t)
			dev := exec.CommandContext(t.Context(), shop.Runnerd, "dev", "--once", "--listen", rig.FreeAddress(t))
			dev.Dir, dev.Env = "../..", append(os.Environ(), row.env...)
			said, err := dev.CombinedOutput()
			if err != nil {
				t.Fatalf("dev --once ends with %v:\n%s", err, said)
			}
			for _, text := range []string{row.driver, "All samples went as they should.", "Hello World"} {
				if !strings.Contains(string(said), text) {
					t.Errorf("it does not say %q:\n%s", text, said)
				}
			}
			if strings.Contains(string(said), "DATA RACE") {
				t.Errorf("a data race:\n%s", said)
			}
			for runner := range log.RunnersOf("runnerd-dev:") {
				if row.env != nil {
					break // those are the other row's
				}
				if left, nets := shop.Containers(t, runner), shop.Networks(t, runner); len(left) > 0 || len(nets) > 0 {
					t.Errorf("left in the engine: %v, %v", left, nets)
				}
			}
		})
	}
}
