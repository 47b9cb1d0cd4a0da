package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// TestScripts runs the scripts in testdata. They run the program as a process, with child processes as executors. Their commands:
//
//	server            start a development server
//	finish N          answer finish requests with this status; 204: accepted
//	submit IMAGE …    submit a task that needs these capabilities; TASK is its id
//	code N ARGS…      run runnerd ARGS and expect this exit code
//	until RE ARGS…    repeat runnerd ARGS until its output matches
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server": startScriptServer,
			"finish": answerFinish,
			"submit": submit,
			"code":   code,
			"until":  until,
		},
		RequireExplicitExec: true,
	})
}

func setupScript(env *testscript.Env) error {
	env.Values[serverKey{}] = &scriptServer{}
	env.Setenv("RELEASE_RUNNER_STATE_DIR", filepath.Join(env.WorkDir, "state"))
	env.Setenv("RELEASE_RUNNER_HEALTH_ADDRESS", "127.0.0.1:0")
	env.Setenv("RELEASE_RUNNER_TOKEN", "rpa_script")
	env.Setenv("RELEASE_RUNNER_DRIVER", "process")
	env.Setenv("RELEASE_RUNNER_ON_EXIT", "detach") // testscript interrupts processes that still run
	return nil
}

// scriptServer is a development server that can reject finish requests.
type scriptServer struct {
	*devserver.Server
	finish atomic.Int64 // status; 0 or 204: accepted
}

type serverKey struct{}

func serverOf(ts *testscript.TestScript) *scriptServer {
	return ts.Value(serverKey{}).(*scriptServer)
}

func startScriptServer(ts *testscript.TestScript, _ bool, _ []string) {
	s := serverOf(ts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	url := "http://" + listener.Addr().String()
	s.Server, err = devserver.New(devserver.Options{
		Token: "rpa_script", PublicURL: url, Log: zerolog.Nop(), Config: api.Config{Enabled: true, Capacity: 2, EvictionSeconds: 60},
		Intercept: func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if status := int(s.finish.Load()); op == "finish" && status >= 400 {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, `{"status": %d, "detail": "as the script wants it"}`, status)
				return
			}
			next(w, r)
		},
	})
	ts.Check(err)
	served := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: testTimeout}
	ended := make(chan error, 1)
	go func() { ended <- served.Serve(listener) }()
	ts.Defer(func() {
		s.Close()
		_ = served.Close() // cuts open connections
		<-ended
	})
	ts.Setenv("RELEASE_RUNNER_RELEASE_URL", url)
}

func answerFinish(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	serverOf(ts).finish.Store(int64(status))
}

func submit(ts *testscript.TestScript, _ bool, args []string) {
	id, err := serverOf(ts).Submit(devserver.TaskRequest{Image: args[0], TaskType: "sample." + args[0], Capabilities: args[1:]})
	ts.Check(err)
	ts.Setenv("TASK", id)
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("runnerd", args[1:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.After(testTimeout)
	for ticker := time.NewTicker(50 * time.Millisecond); ; {
		command := exec.Command("runnerd", args[1:]...)
		command.Dir = ts.MkAbs(".")
		command.Env = append(os.Environ(), "RELEASE_RUNNER_STATE_DIR="+ts.Getenv("RELEASE_RUNNER_STATE_DIR"))
		output, _ := command.CombinedOutput() // only the output counts
		if want.Match(bytes.TrimSpace(output)) {
			ticker.Stop()
			return
		}
		select {
		case <-ticker.C:
		case <-deadline:
			ts.Fatalf("no output matches %s, the last is:\n%s", args[0], output)
		}
	}
}
