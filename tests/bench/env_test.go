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

// timeout bounds operations that normally take a moment.
const timeout = time.Minute

// env is a server with one runner, and a capture of the bridge of that runner's executors.
type env struct {
	b       *testing.B
	server  *devserver.Server
	done    chan serverTimes
	capture *capture
	gateway gatewayAddr
}

// serverTimes has the times of one job at the server.
type serverTimes struct {
	offered   time.Time // the offer is written and about to be sent
	confirmed time.Time // the answer to its confirm is written
	finishing time.Time // the last byte of its finish has arrived
	finished  time.Time // the finish is accepted
}

// gatewayAddr is the gateway's address for executors, as stored in the runner's spool.
type gatewayAddr struct {
	Host      string `json:"host"`
	Secrets   int    `json:"secretsPort"`
	Callbacks int    `json:"callbacksPort"`
}

// newEnv starts a server and a runner, and stops them at the end of the benchmark.
func newEnv(b *testing.B, h *harness, config api.Config, flags ...string) *env {
	b.Helper()
	s := &env{b: b, done: make(chan serverTimes, 1)}
	url := s.serve(h.typeDefinitions, config, s.recordTimes())
	state := filepath.Join(b.TempDir(), "state")
	s.startRunner(h.runnerd, append(flags, "--release-url", url, "--state-dir", state)...)
	text, err := os.ReadFile(filepath.Join(state, "spool", "gateway.json"))
	must(b, err)
	_, text, _ = bytes.Cut(text, []byte(" ")) // the checksum
	must(b, json.Unmarshal(text, &s.gateway))
	s.capture = openCapture(b, s.gateway.Host)
	return s
}

// intercept is the type of devserver.Options.Intercept. Nil: no interception.
type intercept = func(string, http.ResponseWriter, *http.Request, http.HandlerFunc)

func (s *env) serve(types [][]byte, config api.Config, interceptor intercept) (url string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.b, err)
	url = "http://" + listener.Addr().String()
	s.server, err = devserver.New(devserver.Options{
		Token: token, PublicURL: url, Config: config, TypeDefinitions: types, Log: zerolog.Nop(), Intercept: interceptor,
	})
	must(s.b, err)
	served := &http.Server{Handler: s.server.Handler(), ReadHeaderTimeout: timeout}
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

// recordTimes returns an interceptor that records the times of one job at a time.
func (s *env) recordTimes() intercept {
	var now serverTimes // not accessed concurrently, because the requests of a job are sequential
	return func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "finish" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // the runner will repeat the request
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

// startRunner starts the binary and waits until it is ready.
func (s *env) startRunner(runnerd string, flags ...string) {
	s.b.Helper()
	health := freeAddress(s.b)
	var output bytes.Buffer
	runner := exec.Command(runnerd, append([]string{"run", "--name", "bench", "--health-address", health, "--log-format", "json"}, flags...)...)
	runner.Env = append(os.Environ(), "RELEASE_RUNNER_TOKEN="+token)
	runner.Stderr = &output
	must(s.b, runner.Start())
	s.b.Cleanup(func() {
		must(s.b, runner.Process.Signal(syscall.SIGTERM))
		if err := runner.Wait(); err != nil {
			s.b.Errorf("runner: %v\n%s", err, &output)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); <-tick.C {
		if answer, err := http.Get("http://" + health + "/ready"); err == nil {
			must(s.b, answer.Body.Close())
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.b.Fatal("the runner is not ready after ", timeout)
}

// freeAddress returns a local address with a free port.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	must(b, l.Close())
	return l.Addr().String()
}

// runJob runs the job. It returns the time of the submission, the job's times at the server, and the captured packets.
func (s *env) runJob(image string) (submitted time.Time, at serverTimes, seen []packet) {
	s.b.Helper()
	s.capture.packets(s.b) // discard the packets of the previous job
	submitted = time.Now()
	id, err := s.server.Submit(devserver.TaskRequest{Image: image, TaskType: taskType, Properties: map[string]any{property: value}})
	must(s.b, err)
	select {
	case at = <-s.done:
	case <-time.After(timeout):
		s.b.Fatal("the job is not finished after ", timeout)
	}
	view, err := s.server.Task(id)
	must(s.b, err)
	if view.State != devserver.Completed {
		s.b.Fatalf("the job is %s: %s", view.State, view.Message)
	}
	return submitted, at, s.capture.packets(s.b)
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
