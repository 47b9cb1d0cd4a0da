package docker

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"runnerd/tests/harness"
)

func TestFirstReadmeCommandRunsSamples(t *testing.T) {
	t.Parallel()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	for _, row := range []struct {
		with   string
		env    []string
		driver string
	}{
		{with: "an engine", driver: "Driver   docker, because a Docker Engine answers"},
		{with: "no engine", env: []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}, driver: "Driver   process, because no Docker Engine is usable"},
	} {
		t.Run(row.with, func(t *testing.T) {
			t.Parallel()
			log := shared.WatchEvents(t)
			dev := exec.CommandContext(t.Context(), shared.Runnerd, "dev", "--once", "--listen", harness.FreeAddress(t))
			dev.Dir, dev.Env = "../..", append(os.Environ(), row.env...)
			output, err := dev.CombinedOutput()
			if err != nil {
				t.Fatalf("dev --once ends with %v:\n%s", err, output)
			}
			for _, text := range []string{row.driver, "All samples ended as expected.", "Hello World"} {
				if !strings.Contains(string(output), text) {
					t.Errorf("the output lacks %q:\n%s", text, output)
				}
			}
			if !strings.HasSuffix(string(output), "\nAll samples ended as expected.\n") {
				t.Errorf("the output does not end with the outcome:\n%s", output)
			}
			if strings.Contains(string(output), "DATA RACE") {
				t.Errorf("a data race:\n%s", output)
			}
			for runner := range log.RunnersOf("runnerd-dev:") {
				if row.env != nil {
					break // these runners are the other row's
				}
				if left, nets := shared.Containers(t, runner), shared.Networks(t, runner); len(left) > 0 || len(nets) > 0 {
					t.Errorf("left in the engine: %v, %v", left, nets)
				}
			}
		})
	}
}
