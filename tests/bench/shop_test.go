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

// The job that everything is measured with.
const taskType, property, value = "sample.Hello", "yourName", "World"

// workshop has the programs, the image, and the engine.
type workshop struct {
	b       *testing.B
	dir     string
	runnerd string
	types   [][]byte // type definitions of the plugins
	image   string   // of the sample plugin
	hostile string   // of the hostile one
	engine  *client.Client
}

// openShop skips the benchmark where there is no engine.
func openShop(b *testing.B) *workshop {
	b.Helper()
	s := &workshop{b: b, dir: b.TempDir()}
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

// plugin makes an image of the plugin in dir, a module of its own.
func (s *workshop) plugin(builder *docker.Driver, name, dir string) (ref string) {
	types, err := os.ReadFile(filepath.Join(dir, "type-definitions.yaml"))
	must(s.b, err)
	s.types = append(s.types, types)
	ref = "runnerd-bench:" + uuid.NewString()[:8]
	_, err = builder.BuildScratch(context.Background(), ref, s.build(name, dir, ".", "GOWORK=off"), "65532:65532")
	must(s.b, err)
	s.b.Cleanup(func() {
		_, err := s.engine.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true})
		must(s.b, err)
	})
	return ref
}

// build makes what a user has: static, and without the race detector.
func (s *workshop) build(name, dir, what string, env ...string) string {
	program := filepath.Join(s.dir, name)
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, what)
	build.Dir, build.Env = dir, append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if said, err := build.CombinedOutput(); err != nil {
		s.b.Fatalf("build %s: %v\n%s", name, err, said)
	}
	return program
}

// dockerRun does the job as a script would: a container by the command line, its input and its result in files.
type dockerRun struct {
	shop *workshop
	dir  string
	key  seal.Key
}

func (s *workshop) dockerRun() *dockerRun {
	if _, err := exec.LookPath("docker"); err != nil {
		s.b.Skip("there is no docker command: ", err)
	}
	r := &dockerRun{shop: s, dir: filepath.Join(s.dir, "job"), key: seal.NewKey()}
	must(s.b, os.Mkdir(r.dir, 0o777))
	must(s.b, os.Chmod(r.dir, 0o777)) // the image's user writes there
	text, err := json.Marshal(contract.InputContext{Task: contract.Task{Type: taskType, Properties: []contract.Property{
		{Name: property, Value: value, Kind: "STRING", Category: "input"},
	}}})
	must(s.b, err)
	must(s.b, os.WriteFile(filepath.Join(r.dir, "input"), []byte(seal.Encrypt(r.key, text)), 0o644))
	return r
}

// once returns how long the command took.
func (r *dockerRun) once() time.Duration {
	b := r.shop.b
	run := exec.Command("docker", "run", "--rm", "-v", r.dir+":/job", "-e", contract.InputLocation+"=/job/input",
		"-e", contract.OutputLocation+"=/job/output", "-e", contract.SessionKey+"="+base64.StdEncoding.EncodeToString(r.key[:]), r.shop.image)
	began := time.Now()
	said, err := run.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		b.Fatalf("docker run: %v\n%s", err, said)
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
	return took
}

// bare makes containers like the runner's by bare calls of the Engine API.
type bare struct {
	site     *site
	engine   *client.Client
	config   *container.Config
	host     *container.HostConfig
	listener net.Listener // where the plugin turns to for its job
}

// bareLike takes the configuration of the executor that like has, and puts it on the bridge of where.
func (s *workshop) bareLike(like, where *site) *bare {
	b, ctx := s.b, context.Background()
	of := func(x *site) string { return "runnerd-" + x.server.Runners()[0].UUID[:8] }
	found, err := s.engine.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("network", of(like)))})
	must(b, err)
	if len(found) != 1 {
		b.Fatalf("there are %d executors to be like", len(found))
	}
	model, err := s.engine.ContainerInspect(ctx, found[0].ID)
	must(b, err)
	r := &bare{site: where, engine: s.engine, config: model.Config, host: model.HostConfig}
	r.listener, err = net.Listen("tcp", net.JoinHostPort(where.door.Host, "0"))
	must(b, err)
	b.Cleanup(func() { must(b, r.listener.Close()) })
	r.config.Hostname = ""
	r.host.NetworkMode = container.NetworkMode(of(where))
	r.setEnv(contract.KubernetesHost, where.door.Host)
	r.setEnv(contract.KubernetesPort, strconv.Itoa(r.port()))
	return r
}

func (r *bare) port() int { return r.listener.Addr().(*net.TCPAddr).Port }

func (r *bare) setEnv(name, value string) {
	r.config.Env = slices.DeleteFunc(r.config.Env, func(e string) bool { return len(e) > len(name) && e[:len(name)+1] == name+"=" })
	r.config.Env = append(r.config.Env, name+"="+value)
}

// once returns the time from before the create until the plugin opens its first connection.
func (r *bare) once() time.Duration {
	b, ctx := r.site.b, context.Background()
	r.site.wire.packets(b)
	began := time.Now()
	made, err := r.engine.ContainerCreate(ctx, r.config, r.host, nil, nil, "")
	must(b, err)
	must(b, r.engine.ContainerStart(ctx, made.ID, container.StartOptions{}))
	connection, err := r.listener.Accept()
	must(b, err)
	came := first(b, "the plugin's first packet", r.site.wire.packets(b), func(p packet) bool { return p.opens && p.to == r.port() })
	must(b, connection.Close())
	must(b, r.engine.ContainerRemove(ctx, made.ID, container.RemoveOptions{Force: true}))
	return came.Sub(began)
}

// alone waits until the runner of the site has no executor: nothing of the job before is to be paid by the next.
func (s *workshop) alone(x *site) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	label := filters.Arg("label", "runnerd.runner="+x.server.Runners()[0].UUID)
	for {
		found, err := s.engine.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(label)})
		must(s.b, err)
		if len(found) == 0 {
			return
		}
		<-look.C
	}
}
