package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settings parses `runnerd run` with the arguments, the environment and the file.
func settings(t *testing.T, args []string, env map[string]string, file string) (RunConfig, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "runnerd.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := dropEmpty(os.Environ()); err != nil {
		t.Fatal(err)
	}
	var p program
	_, err := parse(&p, append([]string{"run"}, args...), new(bytes.Buffer), new(bytes.Buffer))
	return p.Run.RunConfig, err
}

func TestAFlagCountsBeforeTheEnvironmentBeforeTheFileBeforeTheDefault(t *testing.T) {
	const file = "pull-timeout: 4m\nexecutor-cpus: 3\nlog-level: debug\nname: from the file\n"
	for _, row := range []struct {
		given string
		args  []string
		env   map[string]string
		file  string
		name  string
		pull  time.Duration
	}{
		{given: "nothing", name: "", pull: 10 * time.Minute},
		{given: "a file", file: file, name: "from the file", pull: 4 * time.Minute},
		{given: "a file and the environment", file: file, env: map[string]string{"RELEASE_RUNNER_PULL_TIMEOUT": "3m", "RELEASE_RUNNER_NAME": "from the environment"},
			name: "from the environment", pull: 3 * time.Minute},
		{given: "all three", file: file, args: []string{"--pull-timeout=2m"}, env: map[string]string{"RELEASE_RUNNER_PULL_TIMEOUT": "3m"},
			name: "from the file", pull: 2 * time.Minute},
		{given: "a file and an empty variable", file: file, env: map[string]string{"RELEASE_RUNNER_PULL_TIMEOUT": ""}, name: "from the file", pull: 4 * time.Minute},
	} {
		t.Run(row.given, func(t *testing.T) {
			c, err := settings(t, row.args, row.env, row.file)
			if err != nil {
				t.Fatal(err)
			}
			if c.Release.Name != row.name || c.Time.Pull != row.pull {
				t.Errorf("name %q, pull %v; want %q, %v", c.Release.Name, c.Time.Pull, row.name, row.pull)
			}
		})
	}
}

func TestTheOfficialRunnersVariablesMeanTheSame(t *testing.T) {
	c, err := settings(t, nil, map[string]string{
		"RELEASE_RUNNER_NAME":                            "one",
		"RELEASE_RUNNER_RELEASE_URL":                     "https://release.example.com",
		"RELEASE_RUNNER_TOKEN":                           "rpa_secret ",
		"RELEASE_RUNNER_CAPABILITIES":                    "remote,container",
		"RELEASE_RUNNER_PROFILE":                         "docker,json-logging",
		"RELEASE_RUNNER_STORE_NAME":                      filepath.Join(t.TempDir(), "runner-store.db"),
		"RELEASE_RUNNER_REST_CLIENT_CA":                  "ca.pem",
		"RELEASE_RUNNER_REST_CLIENT_TRUSTSTORE":          "store.p12",
		"RELEASE_RUNNER_REST_CLIENT_TRUSTSTORE_PASSWORD": "changeit",
		"RELEASE_RUNNER_METADATA_CLUSTER_NAME":           "blue",
		"RELEASE_RUNNER_METADATA_ENVIRONMENT":            "test",
		"RELEASE_RUNNER_METADATA_DATA_CENTER":            "north",
		"RELEASE_RUNNER_DOCKER_DOCKER_HOST":              "172.17.0.1",
		"RELEASE_RUNNER_DOCKER_RUN_ON_SAME_NETWORK":      "true",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	warnings, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	want := ReleaseConfig{
		Name: "one", URL: "https://release.example.com", Token: "rpa_secret", CA: "ca.pem", Truststore: "store.p12",
		TruststorePassword: "changeit", Capabilities: []string{"remote", "container"}, ClusterName: "blue", Environment: "test", DataCenter: "north",
	}
	if diff := cmp.Diff(want, c.Release); diff != "" {
		t.Error(diff)
	}
	if c.Executor.Driver != "docker" || c.Self.Log.Format != "json" || c.Gateway.Address != "172.17.0.1" {
		t.Errorf("driver %q, log format %q, gateway %q", c.Executor.Driver, c.Self.Log.Format, c.Gateway.Address)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "RUN_ON_SAME_NETWORK has no effect") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestTheOfficialRunnersFlagForProfilesIsTaken(t *testing.T) {
	c, err := settings(t, []string{"--profiles", "docker,json-logging"}, nil, "")
	if err != nil || c.Executor.Profile != "docker,json-logging" {
		t.Errorf("the profile is %q, %v", c.Executor.Profile, err)
	}
}

func TestASettingThatCannotWorkIsRefusedWithWhatToDo(t *testing.T) {
	for _, row := range []struct {
		wrong string
		args  []string
		file  string
		says  string
	}{
		{wrong: "a misspelt key", file: "relase-url: https://r\n", says: `line 1: there is no setting "relase-url": did you mean "release-url"?`},
		{wrong: "a key that is near nothing", file: "\nzzzzzzzz: 1\n", says: `line 2: there is no setting "zzzzzzzz"`},
		{wrong: "a nested key", file: "name:\n  first: x\n", says: "settings do not nest"},
		{wrong: "a duration without a unit", file: "pull-timeout: 5\n", says: "pull-timeout"},
		{wrong: "a size that is none", args: []string{"--executor-memory=much"}, says: `"much" is no size`},
		{wrong: "a file that is not there", args: []string{"--config=/does/not/exist"}, says: "read the settings"},
		{wrong: "another driver", args: []string{"--driver=podman"}, says: "docker"},
		{wrong: "no server", says: "give --release-url"},
		{wrong: "no scheme", args: []string{"--release-url=release.example.com"}, says: "write it as https://"},
		{wrong: "no token", says: "give it as RELEASE_RUNNER_TOKEN or --token-file"},
		{wrong: "a token of two lines", args: []string{"--token=a\nb"}, says: "give the token alone"},
		{wrong: "two tokens", args: []string{"--token=a", "--token-file=b"}, says: "give one of them"},
		{wrong: "Kubernetes", args: []string{"--profile=k8s"}, says: "no driver"},
		{wrong: "a profile of somebody's", args: []string{"--profile=x"}, says: `no profile "x"`},
		{wrong: "no time to start", args: []string{"--start-timeout=0s", "--term-wait=-1s"}, says: "start-timeout, term-wait: must be longer than 0"},
		{wrong: "a gateway by its name", args: []string{"--gateway-address=host.docker.internal"}, says: "give an IP address"},
		{wrong: "one port for two", args: []string{"--gateway-api-port=7000", "--gateway-callback-port=7000"}, says: "are the same"},
		{wrong: "processes of nothing", args: []string{"--driver=process"}, says: "give --process-image"},
		{wrong: "next to no memory", args: []string{"--executor-memory=1KiB"}, says: "below 6MiB"},
		{wrong: "no cores", args: []string{"--executor-cpus=0"}, says: "0.01 or more"},
		{wrong: "cores that are no number", args: []string{"--executor-cpus=NaN"}, says: "0.01 or more"},
		{wrong: "cores without end", args: []string{"--executor-cpus=+Inf"}, says: "0.01 or more"},
		{wrong: "so little of a core that it would be no limit", args: []string{"--executor-cpus=1e-9"}, says: "0.01 or more"},
		{wrong: "no processes", args: []string{"--executor-pids=0"}, says: "must be above 0"},
		{wrong: "health nowhere", args: []string{"--health-address=8686"}, says: "write it as host:port"},
		{wrong: "another end", args: []string{"--on-exit=abort"}, says: `must be one of "drain","detach"`},
		{wrong: "a state directory that cannot be", args: []string{"--state-dir=/dev/null/x"}, says: "give another --state-dir"},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			c, err := settings(t, row.args, nil, row.file)
			if err == nil {
				_, err = c.complete()
			}
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v; want one that says %s", err, row.says)
			}
		})
	}
}

func TestWhatIsWrongWithTheFileIsSaidOfTheFile(t *testing.T) {
	for _, file := range []string{"- a\n", "relase-url: x\n", "token: a\ntoken: b\n"} {
		if _, err := settings(t, nil, nil, file); err == nil || strings.Contains(err.Error(), "--name") || !strings.Contains(err.Error(), "runnerd.yaml") {
			t.Errorf("%q: it says %v", file, err)
		}
	}
}

func TestSettingsThatAreFoundWrongAtTheStartEndItWithoutAnotherOne(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		args       []string
		host, says string
	}{
		"no CA file":          {[]string{"--driver=process", "--process-image=a=b", "--rest-client-ca=" + none}, "", "read the CA file"},
		"no trust store":      {[]string{"--driver=process", "--process-image=a=b", "--rest-client-truststore=" + none}, "", "read the trust store"},
		"no pull secrets":     {[]string{"--pull-secrets=" + none}, "", "read the pull secrets"},
		"an engine elsewhere": {nil, "tcp://10.0.0.7:2375", "run runnerd where the engine runs"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.host != "" {
				t.Setenv("DOCKER_HOST", c.host)
			}
			said := new(bytes.Buffer)
			args := append([]string{"run", "--release-url=http://127.0.0.1:9", "--token=t", "--health-address=127.0.0.1:0", "--state-dir=" + t.TempDir()}, c.args...)
			if code := execute(t.Context(), args, said, said); code != exitUsage || !strings.Contains(said.String(), c.says) {
				t.Errorf("it ends with code %d: %s", code, said)
			}
		})
	}
}

func TestExecAndDevRefuseTheLimitsThatRunRefuses(t *testing.T) {
	for name, args := range map[string][]string{
		"exec": {"exec", "plugin", "--type=a.B", "--executor-cpus=-1", "--run-timeout=-1s", "--gateway-address=localhost"},
		"dev":  {"dev", "--executor-cpus=-1", "--run-timeout=-1s", "--gateway-address=localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			said := new(bytes.Buffer)
			code := execute(t.Context(), args, new(bytes.Buffer), said)
			for _, setting := range []string{"executor-cpus is -1", "run-timeout: must be", "gateway-address is"} {
				if code != exitUsage || !strings.Contains(said.String(), setting) {
					t.Errorf("code %d, and it does not say %q: %s", code, setting, said)
				}
			}
		})
	}
}

func TestNobodysStoreOnAReadOnlyFileSystemFallsBackToTheTemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := SelfConfig{StoreName: "/dev/null/db/runner-store.db"}
	warning, err := s.chooseStateDir()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(os.TempDir(), "runnerd"); s.StateDir != want || !strings.Contains(warning, "may not outlive a restart") {
		t.Errorf("state in %s with the warning %q; want %s and a warning", s.StateDir, warning, want)
	}
}

func TestProgramsForImagesCanBeGivenAsAMapping(t *testing.T) {
	want := map[string]string{"plugin:1.0": "/opt/plugin", "other:2": "/opt/other"}
	for _, row := range []struct {
		given string
		args  []string
		file  string
	}{
		{given: "by a flag", args: []string{"--process-image=plugin:1.0=/opt/plugin;other:2=/opt/other"}},
		{given: "in the file", file: "process-image:\n  plugin:1.0: /opt/plugin\n  other:2: /opt/other\n"},
	} {
		t.Run(row.given, func(t *testing.T) {
			c, err := settings(t, row.args, nil, row.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, c.Executor.ProcessImages); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAListInTheFileIsWhatTheFlagTakesBetweenCommas(t *testing.T) {
	c, err := settings(t, nil, nil, "capabilities: [remote, container]\nname:\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"remote", "container"}, c.Release.Capabilities); diff != "" {
		t.Error(diff)
	}
	if c.Release.Name != "" {
		t.Errorf("a key without a value gives the name %q", c.Release.Name)
	}
}
