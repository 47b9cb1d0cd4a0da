package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"runnerd/infra/logging"
	"runnerd/infra/release"
	"runnerd/infra/seal"
)

func TestServerPrintsOnlyAGeneratedToken(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, row := range []struct {
		given    string
		args     []string
		wantText string
		not      string
	}{
		{given: "no token", wantText: "RELEASE_RUNNER_TOKEN=rpa_"},
		{given: "a token", args: []string{"--token=rpa_mine"}, wantText: "RELEASE_RUNNER_TOKEN=…", not: "rpa_mine"},
	} {
		t.Run(row.given, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // it starts, prints, and ends
			var stdout, stderr bytes.Buffer
			code := execute(ctx, append([]string{"server", "--listen=127.0.0.1:0"}, row.args...), &stdout, &stderr)
			output := stdout.String() + stderr.String()
			if code != 0 || !strings.Contains(output, row.wantText) || row.not != "" && strings.Contains(output, row.not) {
				t.Errorf("exit code %d:\n%s", code, output)
			}
		})
	}
}

func TestServerAnswersAfterStart(t *testing.T) {
	defer goleak.VerifyNone(t)
	defer http.DefaultClient.CloseIdleConnections()
	log, err := logging.New(os.Stderr, "json", "error")
	if err != nil {
		t.Fatal(err)
	}
	s, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t"}, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := httpGet(t.Context(), s.url+"/api/tasks"); err != nil || strings.TrimSpace(text) != "[]" {
		t.Errorf("tasks: %q, %v", text, err)
	}
	address := strings.TrimPrefix(s.url, "http://")
	var output bytes.Buffer
	if code := execute(t.Context(), []string{"server", "--check", "--listen=" + address}, &output, &output); code != 0 {
		t.Errorf("check of a running server: exit code %d: %s", code, &output)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if code := execute(t.Context(), []string{"server", "--check", "--listen=" + address}, &output, &output); code != 1 || !strings.Contains(output.String(), "connection refused") {
		t.Errorf("check of no server: exit code %d: %s", code, &output)
	}
}

func TestServerConfiguresNewRunnerByFlags(t *testing.T) {
	log, err := logging.New(os.Stderr, "json", "error")
	must(t, err)
	s, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t", Capacity: 0, Eviction: 5 * time.Second}, nil, log)
	must(t, err)
	defer func() { must(t, s.close()) }()
	identity, err := seal.NewIdentity()
	must(t, err)
	client, err := release.New(release.Options{URL: s.url, Token: "t", Name: "n", UUID: identity.UUID(), Version: "1", PublicKey: identity.PublicKey()})
	must(t, err)
	registration, err := client.Register(t.Context())
	must(t, err)
	if c := registration.Config; c.Capacity != 0 || c.Eviction != 5*time.Second {
		t.Errorf("got %+v", c)
	}
}

func TestServerNamesTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), []string{"server", "--listen", l.Addr().String()}, &stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "--listen is "+l.Addr().String()) {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

func TestPrintedCommandSubmitsATask(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	log, err := logging.New(os.Stderr, "json", "error")
	must(t, err)
	s, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t"}, nil, log)
	must(t, err)
	defer func() { must(t, s.close()) }()
	_, submit, _ := strings.Cut(submitHint(s.url, "your/plugin:1.0"), "\n")
	submit, _, _ = strings.Cut(submit, "\n")
	if output, err := exec.Command("sh", "-c", submit).CombinedOutput(); err != nil || len(s.Tasks()) != 1 {
		t.Errorf("%s: %v: %s", submit, err, output)
	}
}

func TestWrongCommandLineHasUsageCode(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"rnu"}, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), `did you mean "run"?`) {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

func TestInvalidServerConfigurationHasUsageCode(t *testing.T) {
	for _, args := range [][]string{{"server", "--capacity=-1"}, {"server", "--eviction=-1s"}, {"dev", "--eviction=500ms"}} {
		var stdout, stderr bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if code := execute(ctx, append(args, "--listen=127.0.0.1:0"), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), args[1]+": ") {
			t.Errorf("%v: exit code %d: %s", args, code, &stderr)
		}
	}
}

func TestWrongSettingsHaveUsageCode(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"run", "--release-url=nowhere"}, &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), "write it as https://") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

func TestVersionIsNeverEmpty(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"version"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "runnerd ") {
		t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
	}
}
