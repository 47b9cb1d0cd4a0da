package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"runnerd/infra/control"
	msg "runnerd/messages"
	"runnerd/spool"
)

// stateFlags select the runner of a command.
type stateFlags struct {
	ConfigFile string `name:"config" placeholder:"FILE" help:"The runner's YAML file of settings, which may name its state directory."`

	StateDir  string `placeholder:"DIR" help:"The runner's state directory. Default: /var/lib/runnerd."`
	StoreName string `hidden:"" help:"Store file of the official runner."`
}

// dir returns the state directory of a runner with the same flags and environment: where a spool is, otherwise the preferred one.
func (f stateFlags) dir() string {
	if f.StateDir != "" {
		return f.StateDir
	}
	dirs := stateDirs(f.StoreName)
	return dirs[max(0, slices.IndexFunc(dirs, hasSpool))]
}

func hasSpool(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "spool", "format"))
	return err == nil
}

// openFiles opens an existing spool for reading.
func (f stateFlags) openFiles() (spool.FS, error) {
	if _, err := os.Stat(filepath.Join(f.dir(), "spool")); err != nil {
		if deleted := deletedError(tombstonePath(f.dir())); !errors.As(deleted, new(*fs.PathError)) {
			return nil, deleted
		}
		return nil, fmt.Errorf("there is no spool: %w; set --state-dir to the runner's", err)
	}
	return spool.Dir(filepath.Join(f.dir(), "spool"))
}

type statusCommand struct {
	stateFlags `embed:""`
	Output     string `short:"o" enum:"table,json" default:"table" help:"Output format: table or json."`
}

// statusTimeout is how long a runner may take to answer. It answers within two seconds even if its actors do not.
const statusTimeout = 4 * time.Second

// Run prints the runner's status. If no runner answers, it prints the content of the spool.
func (c statusCommand) Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var doc statusDocument
	statusErr := control.NewClient(c.dir()).Status(ctx, &doc)
	if statusErr != nil {
		var err error
		if doc, err = c.stateFlags.statusFromSpool(); err != nil {
			return exitError{errors.Join(statusErr, err), exitNoRunner}
		}
		statusErr = exitError{statusErr, exitNoRunner}
	}
	if c.Output == "json" {
		text := json.NewEncoder(out)
		text.SetIndent("", "  ")
		return errors.Join(statusErr, text.Encode(doc))
	}
	return errors.Join(statusErr, doc.print(out, time.Now()))
}

// statusFromSpool returns the status of a runner that does not run.
func (f stateFlags) statusFromSpool() (doc statusDocument, err error) {
	doc = statusDocument{StateDir: f.dir(), NotReady: []string{"no runner answers"}}
	err = f.inspect(func(files spool.FS, found []spool.Entry) error {
		var jobs []msg.JobRecord // readable ones that a start would load
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
		doc.addJobs(jobs)
		records, err := spool.InspectExecutors(files)
		if err != nil {
			return err
		}
		doc.addExecutors(records, msg.Pool{})
		free, err := files.Free()
		doc.Spool.setFree(free)
		return err
	})
	return doc, err
}
