package main

import (
	"fmt"
	"time"

	"github.com/docker/go-units"

	msg "runnerd/messages"
)

// RunConfig is the one table of what can be set for `runnerd run`. A field is a flag (--release-url), a variable of the
// environment (RELEASE_RUNNER_RELEASE_URL), a key of the YAML file (release-url) and a line of the help; the first of these
// that is given counts, in this order. The official runner's variables keep their names where they mean the same.
//
// Capacity and eviction time are not here: the server sets them.
type RunConfig struct {
	ConfigFile string `name:"config" placeholder:"FILE" help:"YAML file of settings. Its keys are the names of these flags."`

	Release  ReleaseConfig  `embed:"" group:"Release server"`
	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	Self     SelfConfig     `embed:"" group:"The runner itself"`
}

// ReleaseConfig says where the server is, how to trust it, and who we are to it.
type ReleaseConfig struct {
	Name       string     `placeholder:"TEXT" help:"Name of this runner on the server. Default: the host's name."`
	URL        string     `name:"release-url" placeholder:"URL" help:"The Release server, for example https://release.example.com."`
	Token      msg.Secret `placeholder:"TOKEN" help:"Registration token (rpa_…). Better in the environment or in --token-file: others can see a flag."`
	TokenFile  string     `placeholder:"FILE" help:"File with the registration token."`
	CA         string     `name:"rest-client-ca" placeholder:"FILE" help:"PEM file of certificates to trust besides the system's."`
	Truststore string     `name:"rest-client-truststore" placeholder:"FILE" help:"PKCS#12 trust store of certificates to trust besides the system's."`

	TruststorePassword msg.Secret `name:"rest-client-truststore-password" placeholder:"PASSWORD" help:"Password of the trust store."`

	Capabilities []string `default:"remote,remote-script,container" help:"What the runner says that it can do. The server may change it."`
	ClusterName  string   `name:"metadata-cluster-name" placeholder:"TEXT" help:"Told to the server."`
	Environment  string   `name:"metadata-environment" placeholder:"TEXT" help:"Told to the server."`
	DataCenter   string   `name:"metadata-data-center" placeholder:"TEXT" help:"Told to the server."`
}

// ExecutorConfig says how executors are run, and bounds those that the server sets no bounds for.
type ExecutorConfig struct {
	Driver  string  `enum:"docker,process," default:"" placeholder:"docker" help:"What runs executors: docker or process. Default: as the profile says, else docker. The Docker Engine is the one of DOCKER_HOST."`
	Profile string  `aliases:"profiles" placeholder:"LIST" help:"The official runner's profiles: docker, json-logging."`
	Memory  Bytes   `name:"executor-memory" default:"512MiB" help:"Memory of an executor. Half of it may be files in /tmp."`
	CPUs    float64 `name:"executor-cpus" default:"1" help:"Cores of an executor."`
	Disk    Bytes   `name:"executor-disk" default:"2GiB" help:"What an executor may write to disk; a job that writes more is failed. 0: no limit."`
	Pids    int64   `name:"executor-pids" default:"200" help:"Processes and threads in an executor."`

	ProcessImages map[string]string `name:"process-image" placeholder:"IMAGE=FILE" help:"Driver process: the executable that stands for an image."`

	PullSecrets string `placeholder:"FILE" help:"YAML file of registry credentials, by the names that the server's pull secret mappings give: NAME: {registry: HOST, username: NAME, password: PASSWORD}."`
	MaxLog      Bytes  `default:"64MiB" help:"How much is kept of a job's log; the rest is left out, and the log says so."`
	MaxResult   Bytes  `default:"64MiB" help:"Size of the largest result that is accepted."`
}

// TimeConfig bounds what an executor does. Each limit that passes has a reason of its own in the job's message.
type TimeConfig struct {
	Pull      time.Duration `name:"pull-timeout" default:"10m" help:"For the pull of an image."`
	Start     time.Duration `name:"start-timeout" default:"60s" help:"For the create and start of an executor."`
	PickUp    time.Duration `name:"pickup-timeout" default:"60s" help:"For the program in an executor to ask for its job."`
	Run       time.Duration `name:"run-timeout" default:"24h" help:"For a job to have a result; a shorter limit of its own counts."`
	Settle    time.Duration `name:"settle-timeout" default:"30s" help:"For an executor to ask for the next job after a result."`
	AbortWait time.Duration `default:"30s" help:"After SIGABRT, before SIGTERM."`
	TermWait  time.Duration `default:"10s" help:"After SIGTERM, before SIGKILL."`
}

// GatewayConfig says where executors find the runner.
type GatewayConfig struct {
	Address      string `name:"gateway-address" env:"RELEASE_RUNNER_GATEWAY_ADDRESS,RELEASE_RUNNER_DOCKER_DOCKER_HOST" placeholder:"IP" help:"Address of this host at which executors reach the runner. Default: that of the engine's bridge, or of the loopback interface for processes."`
	APIPort      uint16 `name:"gateway-api-port" placeholder:"PORT" help:"TLS port for fetching jobs. Default: chosen at the first start and kept."`
	CallbackPort uint16 `name:"gateway-callback-port" placeholder:"PORT" help:"Port for handing in results. Default: chosen at the first start and kept."`
}

// SelfConfig is about the runner's own process.
type SelfConfig struct {
	StateDir  string `placeholder:"DIR" help:"Where jobs and results are kept. Default: /var/lib/runnerd."`
	StoreName string `placeholder:"FILE" help:"The official runner's name for its store. Its directory is used where no --state-dir is given."`
	LowWater  Bytes  `name:"low-water" default:"256MiB" help:"Free space below which no jobs are taken; results still fit then."`
	Health    string `name:"health-address" default:":8686" help:"Where /live and /ready answer."`
	OnExit    string `enum:"drain,detach" default:"drain" help:"What the first SIGTERM does. drain: finish what runs, then end. detach: end now and leave the executors with their jobs to the next start, for an upgrade."`

	Log LogConfig `embed:"" prefix:"log-"`
}

// LogConfig is about the runner's own log, on stderr.
type LogConfig struct {
	Level  string `enum:"debug,info,warn,error" default:"info" help:"debug, info, warn or error."`
	Format string `enum:"auto,console,json" default:"auto" help:"console, json, or auto: console on a terminal."`
}

// Bytes is a size as people write it: 512MiB, 512m, 1073741824. Units are powers of 1024.
type Bytes int64

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := units.RAMInBytes(string(text))
	if err != nil {
		return fmt.Errorf("%q is no size: write a number with a unit, like 512MiB", text)
	}
	*b = Bytes(n)
	return nil
}
