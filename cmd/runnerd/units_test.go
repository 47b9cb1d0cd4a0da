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

// unit has the values of each [Section]Key of a unit file.
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
			t.Fatalf("%s: %q is neither a section nor a setting", name, line)
		}
	}
	return u
}

// single returns the value of a key that must occur once.
func (u unit) single(t *testing.T, key string) string {
	t.Helper()
	if len(u[key]) != 1 {
		t.Fatalf("%s occurs %d times", key, len(u[key]))
	}
	return u[key][0]
}

// unitConfig returns the settings with which the service's unit starts the program.
func unitConfig(t *testing.T, u unit) RunConfig {
	t.Helper()
	config := filepath.Join(t.TempDir(), "runnerd.yaml")
	must(t, os.WriteFile(config, []byte("release-url: https://release.example.com\n"), 0o600))
	args := strings.Fields(strings.ReplaceAll(u.single(t, "[Service]ExecStart"), "/etc/runnerd/runnerd.yaml", config))
	if filepath.Base(args[0]) != "runnerd" {
		t.Errorf("the unit starts %s", args[0])
	}
	var p program
	command, err := parse(&p, args[1:], new(bytes.Buffer), new(bytes.Buffer))
	must(t, err)
	if command.Command() != "run" || p.Run.Release.URL == "" {
		t.Errorf("the command is %q, its settings %+v", command.Command(), p.Run.RunConfig)
	}
	return p.Run.RunConfig
}

func TestServiceUnitMatchesTheProgram(t *testing.T) {
	u := readUnit(t, "runnerd.service")
	c := unitConfig(t, u)
	for key, want := range map[string]string{
		"[Service]Type":                     "notify",
		"[Service]KillMode":                 "process",
		"[Service]Restart":                  "on-failure",
		"[Service]RestartPreventExitStatus": strconv.Itoa(exitUsage),
		"[Service]TimeoutStartSec":          "infinity",
		"[Service]LoadCredential":           filepath.Base(c.Release.TokenFile) + ":/etc/runnerd/token",
		"[Service]StateDirectory":           strings.TrimPrefix(c.Self.StateDir, "/var/lib/"),
	} {
		if got := u.single(t, key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	// A drain takes as long as the longest job; a detachment at most its own timeout, then those of the actors and the servers in sequence.
	stopTime := detachTimeout + actorStopTimeout + 3*5*time.Second
	if c.Self.OnExit != "detach" {
		stopTime = c.Time.Run
	}
	if limit := u.single(t, "[Service]TimeoutStopSec"); limit != "infinity" {
		d, err := time.ParseDuration(limit)
		must(t, err)
		if d < stopTime {
			t.Errorf("TimeoutStopSec is %v, and a stop may take %v", d, stopTime)
		}
	}
}

func TestSocketUnitsMatchTheProgram(t *testing.T) {
	service := readUnit(t, "runnerd.service")
	host := unitConfig(t, service).Gateway.Address
	addresses := map[string]string{}
	for name := range strings.FieldsSeq(service.single(t, "[Service]Sockets")) {
		u := readUnit(t, name)
		if got := u.single(t, "[Socket]Service"); got != "runnerd.service" {
			t.Errorf("%s belongs to %s", name, got)
		}
		addresses[u.single(t, "[Socket]FileDescriptorName")] = u.single(t, "[Socket]ListenStream")
	}
	if names := slices.Sorted(maps.Keys(addresses)); !slices.Equal(names, []string{apiSocket, callbackSocket}) {
		t.Fatalf("the sockets are %q", names)
	}
	for name, address := range addresses {
		if ip, port, err := net.SplitHostPort(address); err != nil || ip != host || port == "0" {
			t.Errorf("socket %s listens at %s, but the gateway's address is %s", name, address, host)
		}
	}
	if addresses[apiSocket] == addresses[callbackSocket] {
		t.Errorf("both listen at %s", addresses[apiSocket])
	}
}
