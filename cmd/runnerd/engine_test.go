package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/docker"
)

func TestPullSecretsAreReadByTheirNames(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]docker.Credential
		says string
	}{
		"two of them": {"a: {registry: registry.example.com, username: u, password: p}\nb: {username: v, password: q}\n", map[string]docker.Credential{
			"a": {Registry: "registry.example.com", Username: "u", Password: "p"}, "b": {Username: "v", Password: "q"}}, ""},
		"none":              {"", map[string]docker.Credential{}, ""},
		"an unknown field":  {"a: {user: u, password: p}", nil, "write them as NAME: {registry: HOST"},
		"no password":       {"a: {username: u}", nil, "a has no username or no password"},
		"not YAML of names": {"- a", nil, "write them as"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secrets.yaml")
			must(t, os.WriteFile(file, []byte(c.text), 0o600))
			got, err := pullSecrets(file)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("it says %v", err)
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
