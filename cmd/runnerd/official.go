package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

const envPrefix = "RELEASE_RUNNER_"

// officialButUnused says which variables of the official runner are set and mean nothing here, so that a deployment that is
// moved over starts, and its owner knows what changed.
func officialButUnused(environ []string) []string {
	prefixes := map[string]string{
		"KUBERNETES_":                "there is no Kubernetes driver",
		"EXECUTOR_SECURITY_CONTEXT_": "executors always run without capabilities and without new privileges, as the image's user",
		"DOCKER_RUN_ON_SAME_NETWORK": "executors reach the runner at the gateway's address",
	}
	var warnings []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours {
			continue
		}
		for prefix, why := range prefixes {
			if strings.HasPrefix(rest, prefix) {
				warnings = append(warnings, fmt.Sprintf("%s has no effect: %s", name, why))
			}
		}
	}
	slices.Sort(warnings)
	return warnings
}

// dropEmpty makes a variable that is set to nothing the same as one that is not set: charts set those that they have no value
// for.
func dropEmpty(environ []string) error {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("drop the empty variable %s: %w", name, err)
		}
	}
	return nil
}
