package main

import (
	"fmt"
	"os"

	"runnerd/infra/release"
	msg "runnerd/messages"
)

// What the adapters are given of the settings. What is of the runner's identity, wire.go adds.

func (r *ReleaseConfig) client() (release.Options, error) {
	pem, err := readIfNamed(r.CA)
	if err != nil {
		return release.Options{}, fmt.Errorf("read rest-client-ca: %w", err)
	}
	store, err := readIfNamed(r.Truststore)
	if err != nil {
		return release.Options{}, fmt.Errorf("read rest-client-truststore: %w", err)
	}
	roots, err := release.Roots(pem, store, string(r.TruststorePassword))
	return release.Options{
		URL: r.URL, Token: r.Token, Name: r.Name, Version: thisBuild().Version,
		Capabilities: r.Capabilities, Metadata: r.metadata(), RootCAs: roots,
	}, err
}

func (r *ReleaseConfig) metadata() map[string]string {
	told := map[string]string{}
	for name, value := range map[string]string{
		"clusterName": r.ClusterName, "environment": r.Environment, "dataCenter": r.DataCenter,
	} {
		if value != "" {
			told[name] = value
		}
	}
	return told
}

func (e *ExecutorConfig) limits() msg.Limits {
	return msg.Limits{Memory: int64(e.Memory), CPUs: e.CPUs, Pids: e.Pids}
}

func readIfNamed(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	return os.ReadFile(file)
}
