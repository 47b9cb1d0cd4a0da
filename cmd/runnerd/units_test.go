package main

import (
	"bytes"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// unit is a unit file: the values of each key, sections apart.
type unit map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../infra/systemd", name))
	must(t, err)
	u, section := unit{}, ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		line = strings.TrimSpace(line)
		key, value, isSetting := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line
		case isSetting && section != "" && value != "":
			u[section+key] = append(u[section+key], value)
		default:
			t.Fatalf("%s: %q is neither a section nor a setting in one", name, line)
		}
	}
	return u
}

// only is the value of what stands there once.
func (u unit) only(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s stands there %d times", key, len(u[key]))
	}
	return u[key][0]
}

// started is the configuration with which the service's unit starts the program.
func started(t *testing.T, u unit) RunConfig {
	t.Helper()
	config := filepath.Join(t.TempDir(), "runnerd.yaml")
	must(t, os.WriteFile(config, []byte("release-url: https://release.example.com\n"), 0o600))
	args := strings.Fields(strings.ReplaceAll(u.only(t, "[Service]ExecStart"), "/etc/runnerd/runnerd.yaml", config))
	if filepath.Base(args[0]) != "runnerd" {
		t.Errorf("%s is started", args[0])
	}
	var p program
	command, err := parse(&p, args[1:], new(bytes.Buffer), new(bytes.Buffer))
	must(t, err)
	if command.Command() != "run" || p.Run.Release.URL == "" {
		t.Errorf("the command is %q, its settings %+v", command.Command(), p.Run.RunConfig)
	}
	return p.Run.RunConfig
}

func TestTheServicesUnitSaysWhatTheProgramDoes(t *testing.T) {
	u := readUnit(t, "runnerd.service")
	c := started(t, u)
	for key, want := range map[string]string{
		"[Service]Type":                     "notify",
		"[Service]KillMode":                 "process",
		"[Service]Restart":                  "on-failure",
		"[Service]RestartPreventExitStatus": strconv.Itoa(exitUsage),
		"[Service]TimeoutStartSec":          "infinity",
		"[Service]LoadCredential":           filepath.Base(c.Release.TokenFile) + ":/etc/runnerd/token",
		"[Service]StateDirectory":           strings.TrimPrefix(c.Self.StateDir, "/var/lib/"),
	} {
		if got := u.only(t, key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	// What a stop may take: a drain, as long as a job; else actors, gateway and health door, one after another.
	least := jobsArrive + actorsEnd + 3*5*time.Second
	if c.Self.OnExit != "detach" {
		least = c.Time.Run
	}
	if limit := u.only(t, "[Service]TimeoutStopSec"); limit != "infinity" {
		d, err := time.ParseDuration(limit)
		must(t, err)
		if d < least {
			t.Errorf("a stop is given %v and may take %v", d, least)
		}
	}
}

func TestTheSocketUnitsAreThoseThatTheProgramExpects(t *testing.T) {
	service := readUnit(t, "runnerd.service")
	host := started(t, service).Gateway.Address
	at := map[string]string{}
	for name := range strings.FieldsSeq(service.only(t, "[Service]Sockets")) {
		u := readUnit(t, name)
		if got := u.only(t, "[Socket]Service"); got != "runnerd.service" {
			t.Errorf("%s is of %s", name, got)
		}
		at[u.only(t, "[Socket]FileDescriptorName")] = u.only(t, "[Socket]ListenStream")
	}
	if names := slices.Sorted(maps.Keys(at)); !slices.Equal(names, []string{apiSocket, callbackSocket}) {
		t.Fatalf("the sockets are %q", names)
	}
	for name, where := range at {
		if ip, port, err := net.SplitHostPort(where); err != nil || ip != host || port == "0" {
			t.Errorf("socket %s listens at %s, and executors are told %s", name, where, host)
		}
	}
	if at[apiSocket] == at[callbackSocket] {
		t.Errorf("both listen at %s", at[apiSocket])
	}
}
