// Command plugin is a hostile plugin for tests/hostile. It is built with the official Go SDK, unmodified, and is a module of its
// own, as third-party plugins are.
//
// Each job is one attempt and returns in its output what it got. The same attempt at something that is allowed is the control.
package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/digital-ai/release-integration-sdk-go/runner"
	"github.com/digital-ai/release-integration-sdk-go/task"
	"github.com/digital-ai/release-integration-sdk-go/task/command"
)

func main() {
	if len(os.Args) == 2 { // a process that the plugin has started, or a container of a benchmark
		switch os.Args[1] {
		case "linger":
			time.Sleep(time.Hour)
		case "flood":
			_, _ = (&try{Size: math.MaxInt}).flood(context.Background())
		}
	}
	runner.Execute("1.0.0", "unset: builds are reproducible", runner.NewCommandRunner(func(task.InputContext) (command.CommandFactory, error) {
		return commands{}, nil
	}))
}

type commands struct{}

func (commands) InitCommand(t command.CommandType) (command.CommandExecutor, error) {
	switch t {
	case "hostile.Try":
		return &try{}, nil
	case "hostile.Leak":
		return &leak{}, nil
	}
	return nil, fmt.Errorf("this plugin has no type %s", t)
}

// try is one attempt.
type try struct {
	What   string `json:"what"`
	Target string `json:"target"` // path, address or URL at which the attempt is aimed
	With   string `json:"with"`   // token, kind of result, or kind of replacement that it uses
	Size   int    `json:"size"`   // number of processes, directories, lists or MiB
	Gate   string `json:"gate"`   // host and port of the gate at which the attempt waits; empty: none
}

var attempts = map[string]func(*try, context.Context) (string, error){
	"get-secret":      (*try).getSecret,
	"dial":            (*try).dial,
	"listen":          (*try).listen,
	"read":            (*try).read,
	"write":           (*try).write,
	"post":            (*try).post,
	"wait":            (*try).wait,
	"replace":         (*try).replace,
	"nest-result":     (*try).nestResult,
	"fork":            (*try).fork,
	"leave-processes": (*try).leaveProcesses,
	"fill":            (*try).fill,
	"fill-later":      (*try).fillLater,
	"make-dirs":       (*try).makeDirs,
	"nest-dirs":       (*try).nestDirs,
	"flood":           (*try).flood,
}

func (t *try) FetchResult(ctx context.Context) (*task.Result, error) {
	attempt, ok := attempts[t.What]
	if !ok {
		return nil, fmt.Errorf("unknown attempt %q: choose one of %v", t.What, slices.Sorted(maps.Keys(attempts)))
	}
	got, err := attempt(t, ctx)
	if err != nil {
		got = err.Error()
	}
	return task.NewResult().String("got", got), nil
}

// timeout limits an attempt that gets no answer.
const timeout = 3 * time.Second
