package main

import (
	"fmt"
	"os"
	"strings"
)

const envPrefix = "RELEASE_RUNNER_"

// unusedOfficialVariables returns a warning for each variable of the official runner that is set and has no meaning here, so that a
// migrated deployment starts and its owner knows what changed.
func unusedOfficialVariables(environ []string) []warning {
	prefixes := map[string]string{
		"KUBERNETES_":                "there is no Kubernetes driver",
		"EXECUTOR_SECURITY_CONTEXT_": "executors always run without capabilities and with no-new-privileges, as the image's user",
		"DOCKER_RUN_ON_SAME_NETWORK": "executors reach the runner at the gateway's address",
	}
	var warnings []warning
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours {
			continue
		}
		for prefix, reason := range prefixes {
			if strings.HasPrefix(rest, prefix) {
				warnings = append(warnings, warning{"environment variable has no effect: remove it", map[string]any{"variable": name, "reason": reason}})
			}
		}
	}
	return warnings
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
