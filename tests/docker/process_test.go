package docker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one life of the runner.
type process struct {
	command *exec.Cmd
	health  string // its address
	ended   chan struct{}

	mu  sync.Mutex
	log bytes.Buffer // stderr
}

// start starts the runner, and does not wait for anything.
func (w *world) start(flags ...string) *process {
	w.t.Helper()
	if w.runner != nil {
		w.t.Fatal("there is a runner already")
	}
	p := &process{health: freeAddress(w.t), ended: make(chan struct{})}
	args := append([]string{"run", "--release-url", w.url(), "--state-dir", w.state, "--health-address", p.health,
		"--name", w.t.Name(), "--log-level", "debug", "--log-format", "json"}, w.flags...)
	p.command = exec.Command(shop.runnerd, append(args, flags...)...)
	p.command.Env = append(append(os.Environ(), "RELEASE_RUNNER_TOKEN="+token), w.env...)
	stderr, err := p.command.StderrPipe()
	must(w.t, err)
	must(w.t, p.command.Start())
	go func() {
		_, _ = io.Copy(p, stderr)
		_ = p.command.Wait() // its state tells
		close(p.ended)
	}()
	w.runner, w.said = p, append(w.said, p)
	return p
}

func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(text)
}

// said is all of its stderr.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// tail is what a failed test shows.
func (p *process) tail() string {
	if p == nil {
		return "no runner"
	}
	const most = 12_000
	text := p.said()
	return text[max(0, len(text)-most):]
}

// ready waits until the runner says so.
func (w *world) ready() {
	w.t.Helper()
	until(w.t, "the runner is ready", func() bool {
		answer, err := http.Get("http://" + w.runner.health + "/ready")
		if err != nil {
			w.alive()
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	w.uuid = w.server.Runners()[0].UUID
}

func (w *world) alive() {
	w.t.Helper()
	select {
	case <-w.runner.ended:
		w.t.Fatalf("the runner has ended: %v\n%s", w.runner.command.ProcessState, w.runner.tail())
	default:
	}
}

// hears waits for a text in the runner's log.
func (w *world) hears(text string) {
	w.t.Helper()
	until(w.t, "the runner says "+text, func() bool {
		if strings.Contains(w.runner.said(), text) {
			return true
		}
		w.alive()
		return strings.Contains(w.runner.said(), text)
	})
}

// signal sends it, and returns at once.
func (w *world) signal(s syscall.Signal) {
	w.t.Helper()
	must(w.t, w.runner.command.Process.Signal(s))
}

// ends waits for the runner's end.
func (w *world) ends() *os.ProcessState {
	w.t.Helper()
	p := w.runner
	select {
	case <-p.ended:
	case <-time.After(patience):
		w.t.Errorf("the runner does not end:\n%s", p.tail())
		must(w.t, p.command.Process.Kill())
		<-p.ended
	}
	w.runner = nil
	return p.command.ProcessState
}

// kill is kill -9.
func (w *world) kill() {
	w.t.Helper()
	w.signal(syscall.SIGKILL)
	w.ends()
}

// drain is the first SIGTERM, and the end that it leads to.
func (w *world) drain() {
	w.t.Helper()
	w.signal(syscall.SIGTERM)
	p := w.runner
	if state := w.ends(); !state.Success() {
		w.t.Errorf("drained with %v:\n%s", state, p.tail())
	}
}

// line is one of the runner's log.
type line struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"message"`
	Job      string    `json:"job"` // its execution id
	Executor string    `json:"executor"`
}

// lines are those of all the runner's lives with this message.
func (w *world) lines(message string) (found []line) {
	w.t.Helper()
	for _, p := range w.said {
		for scanner := bufio.NewScanner(strings.NewReader(p.said())); scanner.Scan(); {
			var l line
			err := json.Unmarshal(scanner.Bytes(), &l)
			var syntax *json.SyntaxError
			if err != nil && !errors.As(err, &syntax) {
				w.t.Fatalf("the runner says %s: %v", scanner.Text(), err)
			}
			if l.Message == message {
				found = append(found, l)
			}
		}
	}
	return found
}

func (w *world) executionOf(task string) string {
	w.t.Helper()
	view, err := w.server.Task(task)
	must(w.t, err)
	return view.Execution
}

// executorOf is where a task ran, by the runner's log.
func (w *world) executorOf(task string) string {
	w.t.Helper()
	execution := w.executionOf(task)
	for _, l := range w.lines("result is stored") {
		if l.Job == execution {
			return l.Executor
		}
	}
	w.t.Fatalf("no executor has stored a result of %s", task)
	return ""
}
