package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/docker"
)

func TestReadPullSecrets(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		want     map[string]docker.Credential
		wantText string
	}{
		"two credentials": {"a: {registry: registry.example.com, username: u, password: p}\nb: {username: v, password: q}\n", map[string]docker.Credential{
			"a": {Registry: "registry.example.com", Username: "u", Password: "p"}, "b": {Username: "v", Password: "q"}}, ""},
		"none":              {"", map[string]docker.Credential{}, ""},
		"an unknown field":  {"a: {user: u, password: p}", nil, "write each as NAME: {registry: HOST"},
		"no password":       {"a: {username: u}", nil, "a needs a username and a password"},
		"not YAML of names": {"- a", nil, "write each as"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secrets.yaml")
			must(t, os.WriteFile(file, []byte(c.text), 0o600))
			got, err := readPullSecrets(file)
			if c.wantText != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantText) {
					t.Errorf("got error %v, want %s", err, c.wantText)
				}
				return
			}
			must(t, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
