package compose

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

var environment = []string{"RUNNERD_STATE=/tmp/state", "RUNNERD_TOKEN=rpa_x", "RUNNERD_USER=65532:999"}

func load(t *testing.T, env []string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(env), cli.WithName("demo"))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

func TestComposeLoadsTheStack(t *testing.T) {
	project, err := load(t, environment)
	if err != nil {
		t.Fatal(err)
	}
	for name, service := range project.Services {
		if service.Build != nil {
			t.Errorf("%s has build: it must use an existing image", name)
		}
		if !service.ReadOnly || strings.Join(service.CapDrop, " ") != "ALL" || service.Privileged {
			t.Errorf("%s has too many privileges: %+v", name, service)
		}
		if check := service.HealthCheck; check == nil || len(check.Test) < 2 || check.Test[0] != "CMD" || check.Test[1] != "/app/release-runner" {
			t.Errorf("the health check of %s is %+v: its image has only the runnerd program", name, check)
		}
	}
	runner := project.Services["runner"]
	if runner.NetworkMode != "host" || runner.User != "65532:999" {
		t.Errorf("the runner has network %q and user %q", runner.NetworkMode, runner.User)
	}
	mounts := map[string]string{}
	for _, v := range runner.Volumes {
		mounts[v.Source] = v.Target
	}
	if mounts["/tmp/state"] != "/tmp/state" || mounts["/var/run/docker.sock"] != "/var/run/docker.sock" {
		t.Errorf("the runner's mounts are %v", mounts)
	}
}

func TestMissingVariableIsNamed(t *testing.T) {
	for n, missing := range environment {
		name, _, _ := strings.Cut(missing, "=")
		others := append(append([]string{}, environment[:n]...), environment[n+1:]...)
		if _, err := load(t, others); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: got error %v", name, err)
		}
	}
}

func TestOldComposeLoadsTheStack(t *testing.T) {
	compose, err := exec.LookPath("docker-compose")
	if err != nil {
		t.Skip("docker-compose is not installed")
	}
	c := exec.Command(compose, "--file", "compose.yaml", "config", "--quiet")
	c.Env = append(os.Environ(), environment...)
	if output, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestDemo(t *testing.T) {
	if err := exec.Command("docker", "info").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Docker Engine answers")
		}
		t.Skip("no Docker Engine answers")
	}
	var output bytes.Buffer
	demo := exec.Command("go", "run", "./infra/compose/demo")
	demo.Dir, demo.Stdout, demo.Stderr = "../..", &output, &output
	if err := demo.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	for _, text := range []string{"are healthy", "times as fast", "exactly once", "aborted after ", "Aborted: the demo has seen enough. The plugin answered SIGABRT", "all executors were removed", "no violation", "nothing remains"} {
		if !strings.Contains(output.String(), text) {
			t.Errorf("output has no %q:\n%s", text, &output)
		}
	}
}
