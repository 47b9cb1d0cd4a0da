package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/settings.md")

const settingsPage = "../../docs/settings.md"

// renderSettings returns the settings in config.go as a page.
func renderSettings(t *testing.T) []byte {
	t.Helper()
	var p program
	parser, err := kong.New(&p, kong.Name("runnerd"), kong.DefaultEnvars("RELEASE_RUNNER"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("# Settings of `runnerd run`\n\nGenerated from `cmd/runnerd/config.go` (`go test ./cmd/runnerd -run Settings -update`). A setting is a flag, an environment variable,\n" +
		"and a key of the YAML file with the flag's name, in order of precedence. Capacity and eviction time are set on the server.\n")
	group := ""
	for _, flag := range commandOf(parser, "run").Flags {
		if flag.Name == "help" {
			continue
		}
		title := "Configuration file"
		if flag.Group != nil {
			title = flag.Group.Title
		}
		if title != group {
			group = title
			fmt.Fprintf(&b, "\n## %s\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n", title)
		}
		value := ""
		if flag.Default != "" {
			value = "`" + flag.Default + "`"
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", flag.Name, strings.Join(flag.Envs, "`, `"), value, strings.ReplaceAll(flag.Help, "|", "\\|"))
	}
	return b.Bytes()
}

func commandOf(parser *kong.Kong, name string) *kong.Node {
	for _, node := range parser.Model.Children {
		if node.Name == name {
			return node
		}
	}
	return nil
}

func TestSettingsPageIsUpToDate(t *testing.T) {
	want := renderSettings(t)
	if *update {
		must(t, os.WriteFile(settingsPage, want, 0o644))
	}
	got, err := os.ReadFile(settingsPage)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: go test ./cmd/runnerd -run Settings -update", settingsPage)
	}
}
