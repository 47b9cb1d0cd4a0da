package main

import (
	"fmt"
	"time"

	"github.com/docker/go-units"

	msg "runnerd/messages"
)

// RunConfig has all settings of `runnerd run`. A field is a flag (--release-url), an environment variable
// (RELEASE_RUNNER_RELEASE_URL), and a key of the YAML file (release-url), in order of precedence. The official runner's variables
// keep their names where they mean the same.
//
// Capacity and eviction time are not here: the server sets them.
type RunConfig struct {
	ConfigFile string `name:"config" placeholder:"FILE" help:"YAML file of settings; its keys are the names of these flags."`

	Release  ReleaseConfig  `embed:"" group:"Release server"`
	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	Self     SelfConfig     `embed:"" group:"The runner itself"`
}

// ReleaseConfig has the server's address, the certificates to trust, and how the runner introduces itself.
type ReleaseConfig struct {
	Name       string     `placeholder:"TEXT" help:"Name of this runner on the server. Default: the host name."`
	URL        string     `name:"release-url" placeholder:"URL" help:"URL of the Release server, such as https://release.example.com."`
	Token      msg.Secret `placeholder:"TOKEN" help:"Registration token (rpa_…). Prefer --token-file or the environment variable: other users can see flags."`
	TokenFile  string     `placeholder:"FILE" help:"File with the registration token."`
	CA         string     `name:"rest-client-ca" placeholder:"FILE" help:"PEM file of CA certificates to trust in addition to the system's."`
	Truststore string     `name:"rest-client-truststore" placeholder:"FILE" help:"PKCS#12 trust store of CA certificates to trust in addition to the system's."`

	TruststorePassword msg.Secret `name:"rest-client-truststore-password" placeholder:"PASSWORD" help:"Password of the trust store."`

	Capabilities []string `default:"remote,remote-script,container" help:"Capabilities reported to the server, which may change them."`
	ClusterName  string   `name:"metadata-cluster-name" placeholder:"TEXT" help:"Cluster name reported to the server."`
	Environment  string   `name:"metadata-environment" placeholder:"TEXT" help:"Environment reported to the server."`
	DataCenter   string   `name:"metadata-data-center" placeholder:"TEXT" help:"Data center reported to the server."`
}

// ExecutorConfig has the driver of executors, and the limits that apply where the server sets none.
type ExecutorConfig struct {
	Driver  string  `enum:"docker,process," default:"" placeholder:"docker" help:"How executors run: docker (the Docker Engine at DOCKER_HOST) or process. Default: docker."`
	Profile string  `aliases:"profiles" placeholder:"LIST" help:"Profiles of the official runner, comma-separated: docker, json-logging."`
	Memory  Bytes   `name:"executor-memory" default:"512MiB" help:"Memory limit of an executor. Files in /tmp may use half of it."`
	CPUs    float64 `name:"executor-cpus" default:"1" help:"CPU limit of an executor, in cores."`
	Disk    Bytes   `name:"executor-disk" default:"2GiB" help:"Disk limit of an executor; a job that writes more fails. 0: no limit."`
	Pids    int64   `name:"executor-pids" default:"200" help:"Limit of processes and threads in an executor."`

	ProcessImages map[string]string `name:"process-image" placeholder:"IMAGE=FILE" help:"For --driver=process: the executable that is run for an image."`

	PullSecrets string `placeholder:"FILE" help:"YAML file of registry credentials, by the names in the server's pull secret mappings: NAME: {registry: HOST, username: NAME, password: PASSWORD}."`
	MaxLog      Bytes  `default:"64MiB" help:"Maximum size of a job's log; the log is truncated there, with a note."`
	MaxResult   Bytes  `default:"64MiB" help:"Maximum size of a job's result."`
}

// TimeConfig has the time limits of an executor. If one ends a job, the job's message names it.
type TimeConfig struct {
	Pull      time.Duration `name:"pull-timeout" default:"10m" help:"Limit for pulling an image."`
	Start     time.Duration `name:"start-timeout" default:"60s" help:"Limit for creating and starting an executor."`
	PickUp    time.Duration `name:"pickup-timeout" default:"60s" help:"Limit for the plugin in a new executor to ask for its job."`
	Run       time.Duration `name:"run-timeout" default:"24h" help:"Limit for a job to return its result. A shorter limit of the job itself takes precedence."`
	Finish    time.Duration `name:"finish-timeout" default:"30s" help:"Limit for an executor to ask for its next job after a result."`
	AbortWait time.Duration `default:"30s" help:"Wait between SIGABRT and SIGTERM when a job is aborted or has reached its run limit. A plugin with the Python SDK, which ignores SIGABRT, gets SIGTERM at once and has both waits for it."`
	TermWait  time.Duration `default:"10s" help:"Wait between SIGTERM and SIGKILL when a job is aborted or has reached its run limit."`
}

// GatewayConfig has the addresses at which executors reach the runner.
type GatewayConfig struct {
	Address      string `name:"gateway-address" env:"RELEASE_RUNNER_GATEWAY_ADDRESS,RELEASE_RUNNER_DOCKER_DOCKER_HOST" placeholder:"IP" help:"IP address of this host at which executors reach the runner. Default: the Docker bridge's, or loopback for --driver=process."`
	APIPort      uint16 `name:"gateway-api-port" placeholder:"PORT" help:"Port at which executors fetch jobs, over TLS. Default: chosen at the first start, then reused."`
	CallbackPort uint16 `name:"gateway-callback-port" placeholder:"PORT" help:"Port at which executors deliver results. Default: chosen at the first start, then reused."`
}

// SelfConfig has the settings of the runner's own process.
type SelfConfig struct {
	StateDir  string `placeholder:"DIR" help:"Directory for jobs and results. Default: /var/lib/runnerd, or $XDG_STATE_HOME/runnerd for a user who cannot write there."`
	StoreName string `placeholder:"FILE" help:"Store file of the official runner; without --state-dir, its directory is the state directory."`
	LowWater  Bytes  `name:"low-water" default:"256MiB" help:"Free disk space below which no new jobs are taken. Results are still stored."`
	Health    string `name:"health-address" default:":8686" help:"Address of /live and /ready, as HOST:PORT."`
	OnExit    string `enum:"drain,detach" default:"drain" help:"What the first SIGTERM does. drain: finish running jobs, then exit. detach: exit now; executors keep running their jobs, and the next start takes them over (for upgrades)."`

	Log LogConfig `embed:"" prefix:"log-"`
}

// LogConfig has the settings of the runner's own log, on stderr.
type LogConfig struct {
	Level  string `enum:"debug,info,warn,error" default:"info" help:"Level of the runner's log: debug, info, warn or error."`
	Format string `enum:"auto,console,json" default:"auto" help:"Format of the runner's log: console, json, or auto (console on a terminal, else json)."`
}

// Bytes is a size such as 512MiB, 512m or 1073741824. Units are powers of 1024.
type Bytes int64

// UnmarshalText parses a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := units.RAMInBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a size: write a number with a unit, such as 512MiB", text)
	}
	*b = Bytes(n)
	return nil
}

func (b Bytes) String() string { return units.BytesSize(float64(b)) }
