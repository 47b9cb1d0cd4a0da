package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	msg "runnerd/messages"
)

// complete fills in what is derived from other settings and from the host, and says everything that is wrong at once.
// The warnings are for the log.
func (c *RunConfig) complete() (warnings []string, err error) {
	warnings = officialButUnused(os.Environ())
	problems := []error{c.Release.complete(), c.Executor.complete(&c.Self), checkRunner(c.Executor, c.Time, c.Gateway), c.Self.check()}
	if c.Executor.Driver == "process" && c.Self.OnExit == "detach" {
		warnings = append(warnings, "on-exit is detach, but child processes end with the runner, and their jobs fail: to let them finish, set on-exit to drain")
	}
	warning, err := c.Self.chooseStateDir()
	if warning != "" {
		warnings = append(warnings, warning)
	}
	return warnings, errors.Join(append(problems, err)...)
}

// checkRunner checks what all have that run executors.
func checkRunner(e ExecutorConfig, t TimeConfig, g GatewayConfig) error {
	return errors.Join(e.check(), t.check(), g.check())
}

// wrongSettings is how a command ends that cannot begin with its settings.
func wrongSettings(err error) error {
	return exitError{fmt.Errorf("check the settings:\n%w", err), exitUsage}
}

func (r *ReleaseConfig) complete() error {
	if r.Name == "" {
		r.Name, _ = os.Hostname() // left empty, it is reported below
	}
	problems := []error{r.readToken(), r.checkURL()}
	if r.Name == "" {
		problems = append(problems, errors.New("the runner has no name and the host has none either: give --name"))
	}
	if r.TruststorePassword != "" && r.Truststore == "" {
		problems = append(problems, errors.New("there is a trust store password and no trust store: give --rest-client-truststore"))
	}
	return errors.Join(problems...)
}

func (r *ReleaseConfig) checkURL() error {
	if r.URL == "" {
		return errors.New("no Release server is named: give --release-url or RELEASE_RUNNER_RELEASE_URL")
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("release-url is %q: write it as https://host[:port][/path]", r.URL)
	}
	return nil
}

// readToken trims: an official manifest ends the token with a space.
func (r *ReleaseConfig) readToken() error {
	if r.TokenFile != "" {
		if r.Token != "" {
			return errors.New("there is a token and a token file: give one of them")
		}
		text, err := os.ReadFile(r.TokenFile)
		if err != nil {
			return fmt.Errorf("read the registration token: %w", err)
		}
		r.Token = msg.Secret(text)
	}
	r.Token = msg.Secret(strings.TrimSpace(string(r.Token)))
	if strings.ContainsFunc(string(r.Token), unicode.IsControl) {
		return errors.New("the registration token is more than one line, or has another character in it that no request can carry: give the token alone")
	}
	if r.Token == "" {
		return errors.New("there is no registration token: create one on the server and give it as RELEASE_RUNNER_TOKEN or --token-file")
	}
	return nil
}

// complete applies the profile. The driver is never chosen by what happens to be there: an engine that is away would
// silently change where other people's code runs.
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
				return errors.New("profile k8s asks for executors in Kubernetes, for which this runner has no driver: set profile to docker, or give --driver")
			}
		default:
			return fmt.Errorf("there is no profile %q: choose from docker and json-logging", profile)
		}
	}
	if e.Driver == "" {
		e.Driver = "docker"
	}
	if e.Driver == "process" && len(e.ProcessImages) == 0 {
		return errors.New("the driver process has no image to run: give --process-image, like plugin:1.0=/opt/plugin")
	}
	return nil
}

func (e *ExecutorConfig) check() error {
	const ( // below them Docker refuses to create a container
		leastMemory = 6 << 20
		leastCPUs   = 0.01
	)
	var problems []error
	if e.Memory < leastMemory {
		problems = append(problems, errors.New("executor-memory is below 6MiB: no program starts in that"))
	}
	if !(e.CPUs >= leastCPUs && e.CPUs <= math.MaxInt32) { // as NaN is not either
		problems = append(problems, fmt.Errorf("executor-cpus is %v: give a number of cores, 0.01 or more: an executor without a limit can starve the others", e.CPUs))
	}
	if e.Pids <= 0 {
		problems = append(problems, errors.New("executor-pids must be above 0: an executor without a limit can starve the others"))
	}
	if e.MaxLog <= 0 {
		problems = append(problems, errors.New("max-log is 0: no log would be kept; give a size like 64MiB"))
	}
	if e.MaxResult <= 0 {
		problems = append(problems, errors.New("max-result is 0: no result could be accepted; give a size like 64MiB"))
	}
	return errors.Join(problems...)
}

func (t *TimeConfig) check() error {
	limits := map[string]time.Duration{
		"pull-timeout": t.Pull, "start-timeout": t.Start, "pickup-timeout": t.PickUp, "run-timeout": t.Run,
		"settle-timeout": t.Settle, "abort-wait": t.AbortWait, "term-wait": t.TermWait,
	}
	var names []string
	for name, limit := range limits {
		if limit <= 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("%s: must be longer than 0, like 30s", strings.Join(names, ", "))
}

func (g *GatewayConfig) check() error {
	var problems []error
	if g.Address != "" && net.ParseIP(g.Address) == nil {
		problems = append(problems, fmt.Errorf("gateway-address is %q: give an IP address of this host, not a name: executors may resolve it otherwise", g.Address))
	}
	if g.APIPort != 0 && g.APIPort == g.CallbackPort {
		problems = append(problems, errors.New("gateway-api-port and gateway-callback-port are the same: one speaks TLS, the other does not"))
	}
	return errors.Join(problems...)
}

func (s *SelfConfig) check() error {
	if _, _, err := net.SplitHostPort(s.Health); err != nil {
		return fmt.Errorf("health-address is %q: write it as host:port, or :port for all addresses of this machine", s.Health)
	}
	return nil
}

const defaultStateDir = "/var/lib/runnerd"

// chooseStateDir falls back to the temporary directory as the official runner does, whose chart names a store on a file
// system that is read-only. Only a directory that somebody asked for by --state-dir is never replaced.
func (s *SelfConfig) chooseStateDir() (warning string, err error) {
	asked := s.StateDir != ""
	switch {
	case asked:
	case s.StoreName != "":
		s.StateDir = filepath.Dir(s.StoreName)
	default:
		s.StateDir = defaultStateDir
	}
	if s.StateDir, err = filepath.Abs(s.StateDir); err != nil {
		return "", fmt.Errorf("find the state directory: %w", err)
	}
	err = tryWrite(s.StateDir)
	if err == nil {
		return "", nil
	}
	if asked {
		return "", fmt.Errorf("use the state directory: %w: make it writable for this user, or give another --state-dir", err)
	}
	fallback := filepath.Join(os.TempDir(), "runnerd")
	warning = fmt.Sprintf("state is kept in %s, which may not outlive a restart, because %v: mount a volume and give --state-dir", fallback, err)
	s.StateDir = fallback
	return warning, tryWrite(fallback)
}

func tryWrite(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}
