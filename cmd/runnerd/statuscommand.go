package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"runnerd/infra/control"
	msg "runnerd/messages"
	"runnerd/spool"
)

// stateFlags say which runner a command is about.
type stateFlags struct {
	StateDir  string `placeholder:"DIR" help:"The runner's state directory. Default: /var/lib/runnerd."`
	StoreName string `hidden:"" help:"The official runner's name for its store."`
}

// dir is where a runner with the same flags and environment keeps its state.
func (f stateFlags) dir() string {
	switch fallback := filepath.Join(os.TempDir(), "runnerd"); {
	case f.StateDir != "":
		return f.StateDir
	case f.StoreName != "" && hasSpool(filepath.Dir(f.StoreName)):
		return filepath.Dir(f.StoreName)
	case !hasSpool(defaultStateDir) && hasSpool(fallback):
		return fallback
	default:
		return defaultStateDir
	}
}

func hasSpool(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "spool", "format"))
	return err == nil
}

// files opens the spool for looking; it is not made where there is none.
func (f stateFlags) files() (spool.FS, error) {
	if _, err := os.Stat(filepath.Join(f.dir(), "spool")); err != nil {
		return nil, fmt.Errorf("find the spool: %w; give the runner's --state-dir", err)
	}
	return spool.Dir(filepath.Join(f.dir(), "spool"))
}

type statusCommand struct {
	stateFlags `embed:""`
	Output     string `short:"o" enum:"table,json" default:"table" help:"table, for people, or json."`
}

// Run shows how the runner fares; where none answers, what its spool says.
func (c statusCommand) Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var doc statusDocument
	silent := control.NewClient(c.dir()).Status(ctx, &doc)
	if errors.Is(silent, control.ErrNoRunner) {
		var err error
		if doc, err = c.stateFlags.lookIntoSpool(); err != nil {
			return exitError{errors.Join(silent, err), exitNoRunner}
		}
		silent = exitError{silent, exitNoRunner}
	} else if silent != nil {
		return silent
	}
	if c.Output == "json" {
		text := json.NewEncoder(out)
		text.SetIndent("", "  ")
		return errors.Join(silent, text.Encode(doc))
	}
	return errors.Join(silent, doc.print(out, time.Now()))
}

// lookIntoSpool is the status of a runner that does not live.
func (f stateFlags) lookIntoSpool() (doc statusDocument, err error) {
	doc = statusDocument{StateDir: f.dir(), NotReady: []string{"no runner answers"}}
	err = f.inspect(func(files spool.FS, found []spool.Found) error {
		var jobs []msg.JobRecord // those that can be read and that a start would find
		for _, x := range found {
			switch {
			case x.Rejected():
				doc.Spool.Rejected++
			case x.Corrupt():
				doc.Spool.Corrupt++
			case x.Job.Execution != "":
				jobs = append(jobs, x.Job)
			}
		}
		doc.count(jobs)
		records, err := spool.InspectExecutors(files)
		if err != nil {
			return err
		}
		doc.executors(records, msg.Pool{})
		doc.Spool.Free, err = files.Free()
		return err
	})
	return doc, err
}
