package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	msg "runnerd/messages"
)

// warning is a line of the log about the settings, which are read before there is a log.
type warning struct {
	text   string
	fields map[string]any
}

// complete checks the settings and fills in those that derive from others and from the host. It returns all errors at once.
func (c *RunConfig) complete() (warnings []warning, err error) {
	warnings = variablesWithoutEffect(os.Environ())
	problems := []error{c.Release.complete(), c.Executor.complete(&c.Self), checkRunner(c.Executor, c.Time, c.Gateway), c.Self.check()}
	if c.Executor.Driver == "process" && c.Self.OnExit == "detach" {
		warnings = append(warnings, warning{"--on-exit=detach fails running jobs with --driver=process, because child processes end with the runner: set --on-exit=drain", nil})
	}
	skipped, err := c.Self.chooseStateDir()
	if skipped != nil {
		warnings = append(warnings, warning{"using the state directory of this user: set --state-dir to choose it", map[string]any{"dir": c.Self.StateDir, "error": skipped.Error()}})
	}
	return warnings, errors.Join(append(problems, err)...)
}

// checkRunner checks the settings of all commands that run executors.
func checkRunner(e ExecutorConfig, t TimeConfig, g GatewayConfig) error {
	return errors.Join(e.check(), t.check(), g.check())
}

// configError returns the error of a command whose settings are invalid.
func configError(err error) error {
	return exitError{fmt.Errorf("invalid settings:\n%w", err), exitUsage}
}

func (r *ReleaseConfig) complete() error {
	if r.Name == "" {
		r.Name, _ = os.Hostname() // empty on error, which is reported below
	}
	problems := []error{r.readToken(), r.checkURL()}
	if r.Name == "" {
		problems = append(problems, errors.New("--name is not set, and this host has no name: set --name"))
	}
	if r.TruststorePassword != "" && r.Truststore == "" {
		problems = append(problems, errors.New("--rest-client-truststore-password is set without a trust store: set --rest-client-truststore"))
	}
	return errors.Join(problems...)
}

func (r *ReleaseConfig) checkURL() error {
	if r.URL == "" {
		return errors.New("--release-url is not set: set it or RELEASE_RUNNER_RELEASE_URL")
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("--release-url is %q: write it as https://HOST[:PORT][/PATH]", r.URL)
	}
	return nil
}

// readToken trims the token, because an official manifest ends it with a space.
func (r *ReleaseConfig) readToken() error {
	if r.TokenFile != "" {
		if r.Token != "" {
			return errors.New("--token and --token-file are both set: set only one of them")
		}
		text, err := os.ReadFile(r.TokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		r.Token = msg.Secret(text)
	}
	r.Token = msg.Secret(strings.TrimSpace(string(r.Token)))
	if strings.ContainsFunc(string(r.Token), unicode.IsControl) {
		return errors.New("the registration token contains a line break or another control character: set --token or --token-file to the token alone")
	}
	if r.Token == "" {
		return errors.New("no registration token is set: create one on the server and set RELEASE_RUNNER_TOKEN or --token-file")
	}
	return nil
}

// complete applies the profile. The default driver never depends on what is available: otherwise, while the engine is down, other
// people's code would silently run outside containers.
func (e *ExecutorConfig) complete(self *SelfConfig) error {
	for profile := range strings.SplitSeq(e.Profile, ",") {
		switch profile = strings.TrimSpace(profile); profile {
		case "", "docker":
		case "json-logging":
			if self.Log.Format == "auto" {
				self.Log.Format = "json"
			}
		case "k8s":
			if e.Driver == "" {
				return fmt.Errorf("--profile is %q, but this runner has no Kubernetes driver: set --profile=docker or --driver", e.Profile)
			}
		default:
			return fmt.Errorf("--profile is %q, but there is no profile %q: choose docker, json-logging or both", e.Profile, profile)
		}
	}
	if e.Driver == "" {
		e.Driver = "docker"
	}
	if e.Driver == "process" && len(e.ProcessImages) == 0 {
		return errors.New("--driver=process has no image to run: set --process-image, such as plugin:1.0=/opt/plugin")
	}
	return nil
}

func (e *ExecutorConfig) check() error {
	const ( // Docker refuses to create a container below these
		minMemory = 6 << 20
		minCPUs   = 0.01
	)
	var problems []error
	if e.Memory < minMemory {
		problems = append(problems, fmt.Errorf("--executor-memory is %v: set 6MiB or more", e.Memory))
	}
	if !(e.CPUs >= minCPUs && e.CPUs <= math.MaxInt32) { // false for NaN, too
		problems = append(problems, fmt.Errorf("--executor-cpus is %v: set 0.01 cores or more; an executor without a limit could starve the others", e.CPUs))
	}
	if e.Pids <= 0 {
		problems = append(problems, fmt.Errorf("--executor-pids is %d: set 1 or more; an executor without a limit could starve the others", e.Pids))
	}
	if e.MaxLog <= 0 {
		problems = append(problems, fmt.Errorf("--max-log is %v: set a size such as 64MiB", e.MaxLog))
	}
	if e.MaxResult <= 0 {
		problems = append(problems, fmt.Errorf("--max-result is %v: set a size such as 64MiB", e.MaxResult))
	}
	return errors.Join(problems...)
}

func (t *TimeConfig) check() error {
	var problems []error
	for _, limit := range []struct {
		flag  string
		value time.Duration
	}{
		{"pull-timeout", t.Pull}, {"start-timeout", t.Start}, {"pickup-timeout", t.PickUp}, {"run-timeout", t.Run},
		{"finish-timeout", t.Finish}, {"abort-wait", t.AbortWait}, {"term-wait", t.TermWait},
	} {
		if limit.value <= 0 {
			problems = append(problems, fmt.Errorf("--%s is %v: set a duration above 0, such as 30s", limit.flag, limit.value))
		}
	}
	return errors.Join(problems...)
}

func (g *GatewayConfig) check() error {
	var problems []error
	if g.Address != "" && net.ParseIP(g.Address) == nil {
		problems = append(problems, fmt.Errorf("--gateway-address is %q: set an IP address of this host, not a name, which executors may resolve differently", g.Address))
	}
	if g.APIPort != 0 && g.APIPort == g.CallbackPort {
		problems = append(problems, fmt.Errorf("--gateway-api-port and --gateway-callback-port are both %d: set different ports, because only one of them speaks TLS", g.APIPort))
	}
	return errors.Join(problems...)
}

func (s *SelfConfig) check() error {
	if _, _, err := net.SplitHostPort(s.Health); err != nil {
		return fmt.Errorf("--health-address is %q: write it as HOST:PORT, or :PORT for all addresses of this machine", s.Health)
	}
	return nil
}
