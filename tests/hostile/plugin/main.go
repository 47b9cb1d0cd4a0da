// Command plugin is a plugin that wants what is not its own: tests/hostile has it try. It is built with the official Go SDK,
// unmodified, and a module of its own, as the plugins of others are.
//
// Each job is one attempt, and tells in its output what it got. The same attempt at what is its own is the control.
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
	if len(os.Args) == 2 { // no plugin, but what one leaves, or a container beside
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

// try is an attempt.
type try struct {
	What   string `json:"what"`
	Target string `json:"target"` // at what
	With   string `json:"with"`   // by what means
	Size   int    `json:"size"`   // how much of it
	Tell   string `json:"tell"`   // host and port of whoever says when to go on; empty: nobody
}

var attempts = map[string]func(*try, context.Context) (string, error){
	"ask":        (*try).ask,
	"dial":       (*try).dial,
	"listen":     (*try).listen,
	"read":       (*try).read,
	"write":      (*try).write,
	"post":       (*try).post,
	"wait":       (*try).wait,
	"replace":    (*try).replace,
	"nest":       (*try).nest,
	"fork":       (*try).fork,
	"leave":      (*try).leave,
	"fill":       (*try).fill,
	"fill-later": (*try).fillLater,
	"litter":     (*try).litter,
	"deep":       (*try).deep,
	"flood":      (*try).flood,
}

func (t *try) FetchResult(ctx context.Context) (*task.Result, error) {
	attempt, ok := attempts[t.What]
	if !ok {
		return nil, fmt.Errorf("what is %q: choose one of %v", t.What, slices.Sorted(maps.Keys(attempts)))
	}
	got, err := attempt(t, ctx)
	if err != nil {
		got = err.Error()
	}
	return task.NewResult().String("got", got), nil
}

// patience is how long an attempt that is not answered lasts.
const patience = 3 * time.Second
