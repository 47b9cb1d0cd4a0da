package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const envPrefix = "RELEASE_RUNNER_"

// unusedVariables are those of the official runner that have no meaning here, by prefix, with the reason.
var unusedVariables = map[string]string{
	"KUBERNETES_":                "there is no Kubernetes driver",
	"EXECUTOR_SECURITY_CONTEXT_": "executors always run without capabilities and with no-new-privileges, as the image's user",
	"DOCKER_RUN_ON_SAME_NETWORK": "executors reach the runner at the gateway's address",
}

// variablesWithoutEffect returns a warning for each variable with the runner's prefix that no setting has, so that a misspelt limit does
// not go unnoticed, and a migrated deployment starts and its owner knows what changed.
func variablesWithoutEffect(environ []string) (warnings []warning) {
	known := settingVariables()
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(known, name) {
			continue
		}
		reason := "there is no such setting" + didYouMean(name, known)
		for prefix, why := range unusedVariables {
			if strings.HasPrefix(rest, prefix) {
				reason = why
			}
		}
		warnings = append(warnings, warning{"environment variable has no effect: remove it or correct its name", map[string]any{"variable": name, "reason": reason}})
	}
	return warnings
}

// settingVariables returns the variables of all commands.
func settingVariables() (names []string) {
	model := kong.Must(new(program), kong.DefaultEnvars(strings.TrimSuffix(envPrefix, "_"))).Model
	nodes := []*kong.Node{model.Node}
	for len(nodes) > 0 {
		for _, flag := range nodes[0].Flags {
			names = append(names, flag.Envs...)
		}
		nodes = append(nodes[1:], nodes[0].Children...)
	}
	return names
}

// unsetEmptyVariables makes an empty variable the same as a missing one: Helm charts set variables without a value.
func unsetEmptyVariables(environ []string) error {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("unset the empty variable %s: %w", name, err)
		}
	}
	return nil
}
