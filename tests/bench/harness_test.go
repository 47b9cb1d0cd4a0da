package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/uuid"

	"runnerd/infra/contract"
	"runnerd/infra/docker"
	"runnerd/infra/seal"
)

// The job of all measurements.
const taskType, property, value = "sample.Hello", "yourName", "World"

// harness has the programs and images that the benchmarks run, and the engine.
type harness struct {
	b               *testing.B
	dir             string
	runnerd         string
	typeDefinitions [][]byte // of the plugins
	image           string   // of the sample plugin
	hostile         string   // of the hostile plugin
	engine          *client.Client
}

// newHarness builds the programs and images. It skips the benchmark if no engine is available.
func newHarness(b *testing.B) *harness {
	b.Helper()
	s := &harness{b: b, dir: b.TempDir()}
	builder, err := docker.New(docker.Options{RunnerID: uuid.NewString()})
	must(b, err)
	defer builder.Close()
	if err := builder.Check(context.Background()); err != nil {
		b.Skip("there is no Docker Engine: ", err)
	}
	s.engine, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	must(b, err)
	b.Cleanup(func() { must(b, s.engine.Close()) })

	s.runnerd = s.build("runnerd", "../..", "./cmd/runnerd")
	s.image = s.plugin(builder, "plugin", "../../infra/sampleplugin")
	s.hostile = s.plugin(builder, "hostile", "../hostile/plugin")
	return s
}

// plugin builds an image of the plugin in dir, which is its own module.
func (s *harness) plugin(builder *docker.Driver, name, dir string) (ref string) {
	types, err := os.ReadFile(filepath.Join(dir, "type-definitions.yaml"))
	must(s.b, err)
	s.typeDefinitions = append(s.typeDefinitions, types)
	ref = "runnerd-bench:" + uuid.NewString()[:8]
	_, err = builder.BuildScratch(context.Background(), ref, s.build(name, dir, ".", "GOWORK=off"), "65532:65532")
	must(s.b, err)
	s.b.Cleanup(func() {
		_, err := s.engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		must(s.b, err)
	})
	return ref
}

// build builds a program as released: static, and without the race detector.
func (s *harness) build(name, dir, what string, env ...string) string {
	program := filepath.Join(s.dir, name)
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, what)
	build.Dir, build.Env = dir, append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if output, err := build.CombinedOutput(); err != nil {
		s.b.Fatalf("build %s: %v\n%s", name, err, output)
	}
	return program
}

// dockerRun runs the job as a shell script would: by `docker run`, with the input and the result in files.
type dockerRun struct {
	harness *harness
	dir     string
	key     seal.Key
}

func (s *harness) dockerRun() *dockerRun {
	if _, err := exec.LookPath("docker"); err != nil {
		s.b.Skip("there is no docker command: ", err)
	}
	r := &dockerRun{harness: s, dir: filepath.Join(s.dir, "job"), key: seal.NewKey()}
	must(s.b, os.Mkdir(r.dir, 0o777))
	must(s.b, os.Chmod(r.dir, 0o777)) // the image's user writes there
	text, err := json.Marshal(contract.InputContext{Task: contract.Task{Type: taskType, Properties: []contract.Property{
		{Name: property, Value: value, Kind: "STRING", Category: "input"},
	}}})
	must(s.b, err)
	must(s.b, os.WriteFile(filepath.Join(r.dir, "input"), []byte(seal.Encrypt(r.key, text)), 0o644))
	return r
}

// once runs the job and returns the duration of the command.
func (r *dockerRun) once() time.Duration {
	b := r.harness.b
	run := exec.Command("docker", "run", "--rm", "-v", r.dir+":/job", "-e", contract.InputLocation+"=/job/input",
		"-e", contract.OutputLocation+"=/job/output", "-e", contract.SessionKey+"="+base64.StdEncoding.EncodeToString(r.key[:]), r.harness.image)
	began := time.Now()
	output, err := run.CombinedOutput()
	elapsed := time.Since(began)
	if err != nil {
		b.Fatalf("docker run: %v\n%s", err, output)
	}
	body, err := os.ReadFile(filepath.Join(r.dir, "output"))
	must(b, err)
	text, err := seal.Decrypt(r.key, body)
	must(b, err)
	result, err := contract.ParseResult(text)
	must(b, err)
	if result.ExitCode != 0 {
		b.Fatalf("docker run: the job failed: %s", text)
	}
	must(b, os.Remove(filepath.Join(r.dir, "output")))
	return elapsed
}

// bare creates containers like the runner's by plain Engine API calls.
type bare struct {
	env      *env
	engine   *client.Client
	config   *container.Config
	host     *container.HostConfig
	listener net.Listener // where the plugin requests its job
}

// newBare copies the configuration of the only executor of source. Its containers are on the bridge of target.
func (s *harness) newBare(source, target *env) *bare {
	b, ctx := s.b, context.Background()
	network := func(x *env) string { return "runnerd-" + x.server.Runners()[0].UUID[:8] }
	found, err := s.engine.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("network", network(source)))})
	must(b, err)
	if len(found) != 1 {
		b.Fatalf("%d executors to copy, want 1", len(found))
	}
	template, err := s.engine.ContainerInspect(ctx, found[0].ID)
	must(b, err)
	r := &bare{env: target, engine: s.engine, config: template.Config, host: template.HostConfig}
	r.listener, err = net.Listen("tcp", net.JoinHostPort(target.gateway.Host, "0"))
	must(b, err)
	b.Cleanup(func() { must(b, r.listener.Close()) })
	r.config.Hostname = ""
	r.host.NetworkMode = container.NetworkMode(network(target))
	r.setEnv(contract.KubernetesHost, target.gateway.Host)
	r.setEnv(contract.KubernetesPort, strconv.Itoa(r.port()))
	return r
}

func (r *bare) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *bare) setEnv(name, value string) {
	r.config.Env = slices.DeleteFunc(r.config.Env, func(e string) bool { return len(e) > len(name) && e[:len(name)+1] == name+"=" })
	r.config.Env = append(r.config.Env, name+"="+value)
}

// once returns the time from before the create call until the plugin opens its first connection.
func (r *bare) once() time.Duration {
	b, ctx := r.env.b, context.Background()
	r.env.capture.packets(b)
	began := time.Now()
	created, err := r.engine.ContainerCreate(ctx, r.config, r.host, nil, nil, "")
	must(b, err)
	must(b, r.engine.ContainerStart(ctx, created.ID, container.StartOptions{}))
	connection, err := r.listener.Accept()
	must(b, err)
	connected := firstPacket(b, "the plugin's first packet", r.env.capture.packets(b), func(p packet) bool { return p.opens && p.to == r.port() })
	must(b, connection.Close())
	must(b, r.engine.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true}))
	return connected.Sub(began)
}

// awaitNoExecutors waits until the runner of the env has no executor, so that the previous job does not slow down the next one.
func (s *harness) awaitNoExecutors(x *env) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	label := filters.Arg("label", "runnerd.runner="+x.server.Runners()[0].UUID)
	for {
		found, err := s.engine.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(label)})
		must(s.b, err)
		if len(found) == 0 {
			return
		}
		<-tick.C
	}
}
