package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	msg "runnerd/messages"
)

func TestTheServerIsToldOnlyTheMetadataThatIsGiven(t *testing.T) {
	r := ReleaseConfig{Name: "one", URL: "https://release.example.com", ClusterName: "blue", DataCenter: "north"}
	o, err := r.client()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"clusterName": "blue", "dataCenter": "north"}, o.Metadata); diff != "" {
		t.Error(diff)
	}
	if o.Version == "" || o.RootCAs == nil || o.Name != "one" {
		t.Errorf("version %q, name %q, roots %v", o.Version, o.Name, o.RootCAs)
	}
}

func TestAFileOfCertificatesThatIsNoneIsNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		wrong  string
		config ReleaseConfig
		says   string
	}{
		{"a CA file that is not there", ReleaseConfig{CA: "/does/not/exist"}, "rest-client-ca"},
		{"a CA file without a certificate", ReleaseConfig{CA: empty}, "no certificate"},
		{"a trust store that is not there", ReleaseConfig{Truststore: "/does/not/exist"}, "rest-client-truststore"},
		{"a trust store that is none", ReleaseConfig{Truststore: empty}, "trust store"},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			if _, err := row.config.client(); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v; want one that says %s", err, row.says)
			}
		})
	}
}

func TestTheDefaultsBoundAnExecutor(t *testing.T) {
	c, err := settings(t, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Executor.limits(), (msg.Limits{Memory: 512 << 20, CPUs: 1, Pids: 200}); got != want {
		t.Errorf("limits %+v; want %+v", got, want)
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
