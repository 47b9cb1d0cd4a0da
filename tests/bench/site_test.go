package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

const token = "rpa_let-me-in"

// patience bounds what should take a moment.
const patience = time.Minute

// site is a server with one runner, and the bridge on which that runner's executors are.
type site struct {
	b      *testing.B
	server *devserver.Server
	done   chan stamps
	wire   *wire
	door   door
}

// stamps are the times of one job at the server.
type stamps struct {
	offered   time.Time // its offer is written, and about to leave
	confirmed time.Time // so is the answer to its confirm
	finishing time.Time // the last byte of its finish is here
	finished  time.Time // the finish is accepted
}

// door is where executors find the gateway, as the runner keeps it in its spool.
type door struct {
	Host      string `json:"host"`
	Secrets   int    `json:"secretsPort"`
	Callbacks int    `json:"callbacksPort"`
}

// open starts a server and a runner, and ends them with the benchmark.
func open(b *testing.B, shop *workshop, config api.Config, flags ...string) *site {
	b.Helper()
	s := &site{b: b, done: make(chan stamps, 1)}
	url := s.serve(shop.types, config, s.stamper())
	state := filepath.Join(b.TempDir(), "state")
	s.run(shop.runnerd, append(flags, "--release-url", url, "--state-dir", state)...)
	text, err := os.ReadFile(filepath.Join(state, "spool", "gateway.json"))
	must(b, err)
	_, text, _ = bytes.Cut(text, []byte(" ")) // the checksum
	must(b, json.Unmarshal(text, &s.door))
	s.wire = listen(b, s.door.Host)
	return s
}

// intercept is what devserver.Options says; nil: nothing.
type intercept = func(string, http.ResponseWriter, *http.Request, http.HandlerFunc)

func (s *site) serve(types [][]byte, config api.Config, front intercept) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.b, err)
	url = "http://" + listener.Addr().String()
	s.server, err = devserver.New(devserver.Options{
		Token: token, PublicURL: url, Config: config, TypeDefinitions: types, Log: zerolog.Nop(), Intercept: front,
	})
	must(s.b, err)
	served := &http.Server{Handler: s.server.Handler(), ReadHeaderTimeout: patience}
	ended := make(chan error, 1)
	go func() { ended <- served.Serve(listener) }()
	s.b.Cleanup(func() {
		s.server.Close()
		must(s.b, served.Close())
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			s.b.Error(err)
		}
	})
	return url
}

// stamper knows of one job at a time.
func (s *site) stamper() intercept {
	var now stamps // never touched by two requests at a time: those of a job follow one another
	return func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "finish" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // it will be repeated
			}
			now.finishing = time.Now()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next(w, r)
		switch op {
		case "reserve":
			now.offered = time.Now()
		case "confirm":
			now.confirmed = time.Now()
		case "finish":
			now.finished = time.Now()
			s.done <- now
		}
	}
}

// run starts the binary and waits until it is ready.
func (s *site) run(runnerd string, flags ...string) {
	s.b.Helper()
	health := freeAddress(s.b)
	var said bytes.Buffer
	runner := exec.Command(runnerd, append([]string{"run", "--name", "bench", "--health-address", health, "--log-format", "json"}, flags...)...)
	runner.Env = append(os.Environ(), "RELEASE_RUNNER_TOKEN="+token)
	runner.Stderr = &said
	must(s.b, runner.Start())
	s.b.Cleanup(func() {
		must(s.b, runner.Process.Signal(syscall.SIGTERM))
		if err := runner.Wait(); err != nil {
			s.b.Errorf("the runner: %v\n%s", err, &said)
		}
	})
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-look.C {
		if answer, err := http.Get("http://" + health + "/ready"); err == nil {
			must(s.b, answer.Body.Close())
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.b.Fatal("the runner is not ready after ", patience)
}

// freeAddress is one that nobody listens at.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	must(b, l.Close())
	return l.Addr().String()
}

// job does the job, and returns when it was submitted, its times at the server, and what was on the wire.
func (s *site) job(image string) (submitted time.Time, at stamps, seen []packet) {
	s.b.Helper()
	s.wire.packets(s.b) // of the job before
	submitted = time.Now()
	id, err := s.server.Submit(devserver.TaskRequest{Image: image, TaskType: taskType, Properties: map[string]any{property: value}})
	must(s.b, err)
	select {
	case at = <-s.done:
	case <-time.After(patience):
		s.b.Fatal("the job is not done after ", patience)
	}
	view, err := s.server.Task(id)
	must(s.b, err)
	if view.State != devserver.Completed {
		s.b.Fatalf("the job is %s: %s", view.State, view.Message)
	}
	return submitted, at, s.wire.packets(s.b)
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
