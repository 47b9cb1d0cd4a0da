package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settings parses `runnerd run` with the arguments, the environment and the configuration file.
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
	if err := unsetEmptyVariables(os.Environ()); err != nil {
		t.Fatal(err)
	}
	var p program
	_, err := parse(&p, append([]string{"run"}, args...), new(bytes.Buffer), new(bytes.Buffer))
	return p.Run.RunConfig, err
}

func TestSettingsPrecedence(t *testing.T) {
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

func TestOfficialVariablesKeepTheirMeaning(t *testing.T) {
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
	if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0]), "RUN_ON_SAME_NETWORK") {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestOfficialProfilesFlagIsAccepted(t *testing.T) {
	c, err := settings(t, []string{"--profiles", "docker,json-logging"}, nil, "")
	if err != nil || c.Executor.Profile != "docker,json-logging" {
		t.Errorf("the profile is %q, %v", c.Executor.Profile, err)
	}
}

func TestInvalidSettingSaysWhatToDo(t *testing.T) {
	for _, row := range []struct {
		wrong    string
		args     []string
		file     string
		wantText string
	}{
		{wrong: "misspelt key", file: "relase-url: https://r\n", wantText: `runnerd.yaml:1: there is no setting "relase-url": did you mean "release-url"?`},
		{wrong: "unknown key", file: "\nzzzzzzzz: 1\n", wantText: `runnerd.yaml:2: there is no setting "zzzzzzzz"`},
		{wrong: "nested key", file: "name:\n  first: x\n", wantText: "settings do not nest"},
		{wrong: "list in place of keys", file: "- a\n", wantText: `runnerd.yaml:1: expected "key: value"`},
		{wrong: "duration without unit", args: []string{"--pull-timeout=5"}, wantText: `--pull-timeout: "5" is not a duration: write 5s or 5m; see runnerd run --help`},
		{wrong: "several values in the file", file: "pull-timeout: 5\n\nexecutor-memory: much\ndriver: podman\nexecutor-cpus: [\n  1, 2]\n",
			wantText: "runnerd.yaml:1: pull-timeout: \"5\" is not a duration: write 5s or 5m\nFILE/runnerd.yaml:3: executor-memory: \"much\" is not a size: write a number with a unit, such as 512MiB\n" +
				"FILE/runnerd.yaml:4: driver: \"podman\" is not one of docker, process\nFILE/runnerd.yaml:5: executor-cpus: expected a float"},
		{wrong: "nested key in line 2", file: "\nname:\n  first: x\n", wantText: "runnerd.yaml:2: name: expected a plain value"},
		{wrong: "invalid size", args: []string{"--executor-memory=much"}, wantText: `"much" is not a size`},
		{wrong: "missing file", args: []string{"--config=/does/not/exist"}, wantText: "read --config"},
		{wrong: "unknown driver", args: []string{"--driver=podman"}, wantText: "docker"},
		{wrong: "no server", wantText: "--release-url is not set"},
		{wrong: "no scheme", args: []string{"--release-url=release.example.com"}, wantText: "write it as https://"},
		{wrong: "no token", wantText: "set RELEASE_RUNNER_TOKEN or --token-file"},
		{wrong: "token of two lines", args: []string{"--token=a\nb"}, wantText: "to the token alone"},
		{wrong: "two tokens", args: []string{"--token=a", "--token-file=b"}, wantText: "set only one of them"},
		{wrong: "Kubernetes", args: []string{"--profile=k8s"}, wantText: "no Kubernetes driver"},
		{wrong: "unknown profile", args: []string{"--profile=x"}, wantText: `no profile "x"`},
		{wrong: "no time to start", args: []string{"--start-timeout=0s", "--term-wait=-1s"}, wantText: "--term-wait is -1s: set a duration above 0"},
		{wrong: "gateway host name", args: []string{"--gateway-address=host.docker.internal"}, wantText: "set an IP address"},
		{wrong: "equal ports", args: []string{"--gateway-api-port=7000", "--gateway-callback-port=7000"}, wantText: "are both 7000"},
		{wrong: "process driver without images", args: []string{"--driver=process"}, wantText: "set --process-image"},
		{wrong: "too little memory", args: []string{"--executor-memory=1KiB"}, wantText: "--executor-memory is 1KiB: set 6MiB or more"},
		{wrong: "no cores", args: []string{"--executor-cpus=0"}, wantText: "set 0.01 cores or more"},
		{wrong: "NaN cores", args: []string{"--executor-cpus=NaN"}, wantText: "set 0.01 cores or more"},
		{wrong: "infinite cores", args: []string{"--executor-cpus=+Inf"}, wantText: "set 0.01 cores or more"},
		{wrong: "cores that Docker rounds to no limit", args: []string{"--executor-cpus=1e-9"}, wantText: "set 0.01 cores or more"},
		{wrong: "no processes", args: []string{"--executor-pids=0"}, wantText: "set 1 or more"},
		{wrong: "health address without host", args: []string{"--health-address=8686"}, wantText: "write it as HOST:PORT"},
		{wrong: "unknown exit mode", args: []string{"--on-exit=abort"}, wantText: `must be one of "drain","detach"`},
		{wrong: "unusable state directory", args: []string{"--state-dir=/dev/null/x"}, wantText: `--state-dir is "/dev/null/x", which is not usable`},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			c, err := settings(t, row.args, nil, row.file)
			if err == nil {
				_, err = c.complete()
			}
			if err == nil || !strings.Contains(withoutDirs(err.Error()), withoutDirs(row.wantText)) {
				t.Errorf("got error %v, want %s", err, row.wantText)
			}
		})
	}
}

func withoutDirs(text string) string {
	return regexp.MustCompile(`\S*/runnerd\.yaml`).ReplaceAllString(text, "runnerd.yaml")
}

func TestRejectedSettingOfFileNamesItsLine(t *testing.T) {
	t.Setenv("RELEASE_RUNNER_TERM_WAIT", "0s")
	path, output := filepath.Join(t.TempDir(), "runnerd.yaml"), new(bytes.Buffer)
	must(t, os.WriteFile(path, []byte("name: x\nexecutor-memory: 1KiB\nterm-wait: 1s\nexecutor-pids: 0\nrest-client-ca: /does/not/exist\n"), 0o600))
	common := []string{"run", "--config=" + path, "--release-url=http://127.0.0.1:9", "--token=t", "--health-address=127.0.0.1:0", "--state-dir=" + t.TempDir()}
	if code := execute(t.Context(), append(common, "--executor-cpus=0"), output, output); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{path + ":2: --executor-memory is 1KiB", path + ":4: --executor-pids is 0", "\n--executor-cpus is 0", "\n--term-wait is 0s"} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("no %q in: %s", want, output)
		}
	}
	output.Reset()
	args := append(common, "--executor-memory=1GiB", "--executor-pids=10", "--term-wait=1s", "--driver=process", "--process-image=a=b")
	if code := execute(t.Context(), args, output, output); code != exitUsage || !strings.Contains(output.String(), path+":5: --rest-client-ca: open") {
		t.Errorf("exit code %d: %s", code, output)
	}
}

func TestMisspeltVariableIsReported(t *testing.T) {
	for variable, want := range map[string]string{
		"RELEASE_RUNNER_EXECUTOR_MEMROY=1GiB":                   `did you mean "RELEASE_RUNNER_EXECUTOR_MEMORY"?`,
		"RELEASE_RUNNER_ZZZZZZZZZZZZZZZZZZZZZZZZ=x":             "there is no such setting",
		"RELEASE_RUNNER_KUBERNETES_NAMESPACE=x":                 "there is no Kubernetes driver",
		"RELEASE_RUNNER_EXECUTOR_SECURITY_CONTEXT_FS_GROUP=1":   "executors always run without capabilities",
		"RELEASE_RUNNER_EXECUTOR_MEMORY=1GiB":                   "",
		"RELEASE_RUNNER_DOCKER_DOCKER_HOST=172.17.0.1":          "",
		"RELEASE_RUNNER_LISTEN=of the development server's too": "",
		"OTHER=x": "",
	} {
		warnings := variablesWithoutEffect([]string{variable})
		if want == "" && len(warnings) > 0 || want != "" && (len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0]), want)) {
			t.Errorf("%s: %v, want %q", variable, warnings, want)
		}
	}
}

// RELEASE_RUNNER_YES=true confirmed the loss of a result.
func TestEnvironmentConfirmsNothing(t *testing.T) {
	t.Setenv("RELEASE_RUNNER_YES", "true")
	var p program
	if _, err := parse(&p, []string{"spool", "discard", "x"}, new(bytes.Buffer), new(bytes.Buffer)); err != nil || p.Spool.Discard.Yes {
		t.Errorf("confirmed: %v, error %v", p.Spool.Discard.Yes, err)
	}
}

func TestStatusFindsStateDirInFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "runnerd.yaml")
	must(t, os.WriteFile(path, []byte("state-dir: "+dir+"\nexecutor-memory: 1GiB\n"), 0o600))
	for name, args := range map[string][]string{"status": {"status"}, "spool ls": {"spool", "ls"}, "drain": {"drain"}} {
		var p program
		_, err := parse(&p, append(args, "--config", path), new(bytes.Buffer), new(bytes.Buffer))
		if got := map[string]string{"status": p.Status.StateDir, "spool ls": p.Spool.Ls.StateDir, "drain": p.Drain.StateDir}[name]; err != nil || got != dir {
			t.Errorf("%s: state directory %q, error %v", name, got, err)
		}
	}
}

func TestFileErrorNamesTheFile(t *testing.T) {
	for _, file := range []string{"- a\n", "relase-url: x\n", "token: a\ntoken: b\n"} {
		if _, err := settings(t, nil, nil, file); err == nil || strings.Contains(err.Error(), "--name") || !strings.Contains(err.Error(), "runnerd.yaml") {
			t.Errorf("%q: got error %v", file, err)
		}
	}
}

func TestSettingsErrorAtStartExitsWithUsageCode(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		args           []string
		host, wantText string
	}{
		"no CA file":      {[]string{"--driver=process", "--process-image=a=b", "--rest-client-ca=" + none}, "", "--rest-client-ca: open "},
		"no trust store":  {[]string{"--driver=process", "--process-image=a=b", "--rest-client-truststore=" + none}, "", "--rest-client-truststore: open "},
		"no pull secrets": {[]string{"--pull-secrets=" + none}, "", "--pull-secrets: open "},
		"a remote engine": {nil, "tcp://10.0.0.7:2375", "run runnerd where the engine runs"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.host != "" {
				t.Setenv("DOCKER_HOST", c.host)
			}
			output := new(bytes.Buffer)
			args := append([]string{"run", "--release-url=http://127.0.0.1:9", "--token=t", "--health-address=127.0.0.1:0", "--state-dir=" + t.TempDir()}, c.args...)
			if code := execute(t.Context(), args, output, output); code != exitUsage || !strings.Contains(output.String(), c.wantText) {
				t.Errorf("exit code %d: %s", code, output)
			}
		})
	}
}

func TestExecAndDevCheckLimitsLikeRun(t *testing.T) {
	for name, args := range map[string][]string{
		"exec": {"exec", "plugin", "--type=a.B", "--executor-cpus=-1", "--run-timeout=-1s", "--gateway-address=localhost"},
		"dev":  {"dev", "--executor-cpus=-1", "--run-timeout=-1s", "--gateway-address=localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			output := new(bytes.Buffer)
			code := execute(t.Context(), args, new(bytes.Buffer), output)
			for _, setting := range []string{"--executor-cpus is -1", "--run-timeout is -1s", "--gateway-address is"} {
				if code != exitUsage || !strings.Contains(output.String(), setting) {
					t.Errorf("exit code %d, output without %q: %s", code, setting, output)
				}
			}
		})
	}
}

func TestProcessImagesAcceptAMapping(t *testing.T) {
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

func TestFileListEqualsCommaSeparatedFlag(t *testing.T) {
	c, err := settings(t, nil, nil, "capabilities: [remote, container]\nname:\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"remote", "container"}, c.Release.Capabilities); diff != "" {
		t.Error(diff)
	}
	if c.Release.Name != "" {
		t.Errorf("key without a value: name %q", c.Release.Name)
	}
}
