package harness

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

// Process is one process of the runner.
type Process struct {
	Command       *exec.Cmd
	HealthAddress string
	Exited        chan struct{} // closed when the process has exited

	t      *testing.T
	stderr string // path of a file, not a pipe: what the runner has logged before a request is readable once the server has the request
}

// Start starts the runner and returns at once.
func (e *Env) Start(flags ...string) *Process {
	e.T.Helper()
	if e.Runner != nil {
		e.T.Fatal("a runner is already running")
	}
	stderr, err := os.CreateTemp(e.T.TempDir(), "stderr")
	Must(e.T, err)
	defer stderr.Close()
	p := &Process{HealthAddress: FreeAddress(e.T), Exited: make(chan struct{}), t: e.T, stderr: stderr.Name()}
	args := append([]string{"run", "--release-url", e.URL(), "--state-dir", e.StateDir, "--health-address", p.HealthAddress,
		"--name", e.T.Name(), "--log-level", "debug", "--log-format", "json"}, e.options.Flags...)
	p.Command = e.Command(append(args, flags...)...)
	p.Command.Env = append(append(os.Environ(), "RELEASE_RUNNER_TOKEN="+Token), e.options.Environ...)
	p.Command.Stderr = stderr
	Must(e.T, p.Command.Start())
	go func() {
		_ = p.Command.Wait() // ProcessState has the result
		close(p.Exited)
	}()
	e.Runner, e.processes = p, append(e.processes, p)
	return p
}

// Log returns everything that the process has written to stderr.
func (p *Process) Log() string {
	p.t.Helper()
	text, err := os.ReadFile(p.stderr)
	Must(p.t, err)
	return string(text)
}

// LogTail returns the end of the log, which a failed test shows.
func (p *Process) LogTail() string {
	if p == nil {
		return "no runner"
	}
	const most = 12_000
	text := p.Log()
	return text[max(0, len(text)-most):]
}

// WaitReady waits until the runner reports that it is ready.
func (e *Env) WaitReady() {
	e.T.Helper()
	WaitUntil(e.T, "the runner is ready", func() bool {
		answer, err := http.Get("http://" + e.Runner.HealthAddress + "/ready")
		if err != nil {
			e.CheckRunning()
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	e.UUID = e.Server.Runners()[0].UUID
}

// CheckRunning fails the test if the runner has exited.
func (e *Env) CheckRunning() {
	e.T.Helper()
	select {
	case <-e.Runner.Exited:
		e.T.Fatalf("the runner has exited: %v\n%s", e.Runner.Command.ProcessState, e.Runner.LogTail())
	default:
	}
}

// WaitRunnerLog waits until the runner's log contains text.
func (e *Env) WaitRunnerLog(text string) {
	e.T.Helper()
	WaitUntil(e.T, "the runner's log contains "+text, func() bool {
		if strings.Contains(e.Runner.Log(), text) {
			return true
		}
		e.CheckRunning()
		return strings.Contains(e.Runner.Log(), text)
	})
}

// Signal sends a signal to the runner and returns at once.
func (e *Env) Signal(s syscall.Signal) {
	e.T.Helper()
	Must(e.T, e.Runner.Command.Process.Signal(s))
}

// WaitExit waits until the runner has exited. After Timeout it fails the test and kills the runner.
func (e *Env) WaitExit() *os.ProcessState {
	e.T.Helper()
	p := e.Runner
	select {
	case <-p.Exited:
	case <-time.After(Timeout):
		e.T.Errorf("the runner does not exit:\n%s", p.LogTail())
		Must(e.T, p.Command.Process.Kill())
		<-p.Exited
	}
	e.Runner = nil
	return p.Command.ProcessState
}

// Kill kills the runner with SIGKILL.
func (e *Env) Kill() {
	e.T.Helper()
	e.Signal(syscall.SIGKILL)
	e.WaitExit()
}

// Drain sends the first SIGTERM and waits until the runner has exited.
func (e *Env) Drain() {
	e.T.Helper()
	e.Signal(syscall.SIGTERM)
	p := e.Runner
	if state := e.WaitExit(); !state.Success() {
		e.T.Errorf("drained with %v:\n%s", state, p.LogTail())
	}
}

// WaitScriptLog waits until the script has printed text. The runner writes a script's output to its own log.
func (e *Env) WaitScriptLog(id, text string) {
	e.T.Helper()
	WaitUntil(e.T, "the script prints "+text, func() bool { return strings.Contains(e.GrepLog(`"script":"`+id+`"`), text) })
}

// LogLine has the fields of a line of the runner's log that tests read.
type LogLine struct {
	Time      time.Time `json:"time"`
	Message   string    `json:"message"`
	Execution string    `json:"execution"`
	Executor  string    `json:"executor"`
	Reason    string    `json:"reason"`
}

// GrepLog returns the lines with this text from the logs of all processes of the runner.
func (e *Env) GrepLog(text string) string {
	var found strings.Builder
	for _, p := range e.processes {
		for line := range strings.Lines(p.Log()) {
			if strings.Contains(line, text) {
				found.WriteString(line)
			}
		}
	}
	return found.String()
}

// LogBetween returns the lines that were written between two times, from the logs of all processes of the runner.
func (e *Env) LogBetween(from, to time.Time) string {
	var found strings.Builder
	for _, p := range e.processes {
		for line := range strings.Lines(p.Log()) {
			var l LogLine
			if json.Unmarshal([]byte(line), &l) == nil && !l.Time.Before(from) && !l.Time.After(to) {
				found.WriteString(line)
			}
		}
	}
	return found.String()
}

// LogLines returns the lines with this message from the logs of all processes of the runner.
func (e *Env) LogLines(message string) (found []LogLine) {
	e.T.Helper()
	for _, p := range e.processes {
		for scanner := bufio.NewScanner(strings.NewReader(p.Log())); scanner.Scan(); {
			var l LogLine
			err := json.Unmarshal(scanner.Bytes(), &l)
			var syntax *json.SyntaxError
			if err != nil && !errors.As(err, &syntax) {
				e.T.Fatalf("parse log line %s: %v", scanner.Text(), err)
			}
			if l.Message == message {
				found = append(found, l)
			}
		}
	}
	return found
}

// ExecutionOf returns the execution id of a task's newest offer.
func (e *Env) ExecutionOf(task string) string {
	e.T.Helper()
	view, err := e.Server.Task(task)
	Must(e.T, err)
	return view.Execution
}

// LogLinesOf is like LogLines, for the newest offer of a task only.
func (e *Env) LogLinesOf(task, message string) []LogLine {
	e.T.Helper()
	execution := e.ExecutionOf(task)
	return slices.DeleteFunc(e.LogLines(message), func(l LogLine) bool { return l.Execution != execution })
}

// ExecutorOf returns the executor in which a finished task ran, from the runner's log.
func (e *Env) ExecutorOf(task string) (executor string) {
	e.T.Helper()
	WaitUntil(e.T, "the runner logs the executor of task "+task, func() bool {
		for _, l := range e.LogLinesOf(task, "result stored") {
			executor = l.Executor
		}
		return executor != ""
	})
	return executor
}
