package rig

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is one life of the runner.
type Process struct {
	Command *exec.Cmd
	Health  string        // its address
	Ended   chan struct{} // closed

	t      *testing.T
	stderr string // a file, not a pipe: what the runner has said before it told the server can be read as soon as the server knows
}

// Start starts the runner, and does not wait for anything.
func (w *World) Start(flags ...string) *Process {
	w.T.Helper()
	if w.Runner != nil {
		w.T.Fatal("there is a runner already")
	}
	stderr, err := os.CreateTemp(w.T.TempDir(), "stderr")
	Must(w.T, err)
	defer stderr.Close()
	p := &Process{Health: FreeAddress(w.T), Ended: make(chan struct{}), t: w.T, stderr: stderr.Name()}
	args := append([]string{"run", "--release-url", w.URL(), "--state-dir", w.State, "--health-address", p.Health,
		"--name", w.T.Name(), "--log-level", "debug", "--log-format", "json"}, w.plan.Flags...)
	p.Command = w.Command(append(args, flags...)...)
	p.Command.Env = append(append(os.Environ(), "RELEASE_RUNNER_TOKEN="+Token), w.plan.Env...)
	p.Command.Stderr = stderr
	Must(w.T, p.Command.Start())
	go func() {
		_ = p.Command.Wait() // its state tells
		close(p.Ended)
	}()
	w.Runner, w.said = p, append(w.said, p)
	return p
}

// Said is all of its stderr.
func (p *Process) Said() string {
	p.t.Helper()
	text, err := os.ReadFile(p.stderr)
	Must(p.t, err)
	return string(text)
}

// Tail is what a failed test shows.
func (p *Process) Tail() string {
	if p == nil {
		return "no runner"
	}
	const most = 12_000
	text := p.Said()
	return text[max(0, len(text)-most):]
}

// Ready waits until the runner says so.
func (w *World) Ready() {
	w.T.Helper()
	Until(w.T, "the runner is ready", func() bool {
		answer, err := http.Get("http://" + w.Runner.Health + "/ready")
		if err != nil {
			w.MustRun()
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	w.UUID = w.Server.Runners()[0].UUID
}

// MustRun fails the test if the runner has ended.
func (w *World) MustRun() {
	w.T.Helper()
	select {
	case <-w.Runner.Ended:
		w.T.Fatalf("the runner has ended: %v\n%s", w.Runner.Command.ProcessState, w.Runner.Tail())
	default:
	}
}

// Hears waits for a text in the runner's log.
func (w *World) Hears(text string) {
	w.T.Helper()
	Until(w.T, "the runner says "+text, func() bool {
		if strings.Contains(w.Runner.Said(), text) {
			return true
		}
		w.MustRun()
		return strings.Contains(w.Runner.Said(), text)
	})
}

// Signal sends it, and returns at once.
func (w *World) Signal(s syscall.Signal) {
	w.T.Helper()
	Must(w.T, w.Runner.Command.Process.Signal(s))
}

// Ends waits for the runner's end.
func (w *World) Ends() *os.ProcessState {
	w.T.Helper()
	p := w.Runner
	select {
	case <-p.Ended:
	case <-time.After(Patience):
		w.T.Errorf("the runner does not end:\n%s", p.Tail())
		Must(w.T, p.Command.Process.Kill())
		<-p.Ended
	}
	w.Runner = nil
	return p.Command.ProcessState
}

// Kill is kill -9.
func (w *World) Kill() {
	w.T.Helper()
	w.Signal(syscall.SIGKILL)
	w.Ends()
}

// Drain is the first SIGTERM, and the end that it leads to.
func (w *World) Drain() {
	w.T.Helper()
	w.Signal(syscall.SIGTERM)
	p := w.Runner
	if state := w.Ends(); !state.Success() {
		w.T.Errorf("drained with %v:\n%s", state, p.Tail())
	}
}

// LoggedByScript waits until a script has printed a text, which the runner has in its own log.
func (w *World) LoggedByScript(id, text string) {
	w.T.Helper()
	Until(w.T, "the script prints "+text, func() bool { return strings.Contains(w.Heard(`"script":"`+id+`"`), text) })
}

// Line is one of the runner's log.
type Line struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"message"`
	Job      string    `json:"job"` // its execution id
	Executor string    `json:"executor"`
	Reason   string    `json:"reason"`
}

// Heard is what all the runner's lives have said with this text in it.
func (w *World) Heard(text string) string {
	var found strings.Builder
	for _, p := range w.said {
		for line := range strings.Lines(p.Said()) {
			if strings.Contains(line, text) {
				found.WriteString(line)
			}
		}
	}
	return found.String()
}

// Between is what all the runner's lives have said from one time to another.
func (w *World) Between(from, to time.Time) string {
	var found strings.Builder
	for _, p := range w.said {
		for line := range strings.Lines(p.Said()) {
			var l Line
			if json.Unmarshal([]byte(line), &l) == nil && !l.Time.Before(from) && !l.Time.After(to) {
				found.WriteString(line)
			}
		}
	}
	return found.String()
}

// Lines are those of all the runner's lives with this message.
func (w *World) Lines(message string) (found []Line) {
	w.T.Helper()
	for _, p := range w.said {
		for scanner := bufio.NewScanner(strings.NewReader(p.Said())); scanner.Scan(); {
			var l Line
			err := json.Unmarshal(scanner.Bytes(), &l)
			var syntax *json.SyntaxError
			if err != nil && !errors.As(err, &syntax) {
				w.T.Fatalf("the runner says %s: %v", scanner.Text(), err)
			}
			if l.Message == message {
				found = append(found, l)
			}
		}
	}
	return found
}

// ExecutionOf is the execution id of a task's newest offer.
func (w *World) ExecutionOf(task string) string {
	w.T.Helper()
	view, err := w.Server.Task(task)
	Must(w.T, err)
	return view.Execution
}

// LinesOf are those of a task's newest offer.
func (w *World) LinesOf(task, message string) []Line {
	w.T.Helper()
	execution := w.ExecutionOf(task)
	return slices.DeleteFunc(w.Lines(message), func(l Line) bool { return l.Job != execution })
}

// ExecutorOf is where a task that is done ran, by the runner's log.
func (w *World) ExecutorOf(task string) (executor string) {
	w.T.Helper()
	Until(w.T, "the runner says where "+task+" ran", func() bool {
		for _, l := range w.LinesOf(task, "result stored") {
			executor = l.Executor
		}
		return executor != ""
	})
	return executor
}
