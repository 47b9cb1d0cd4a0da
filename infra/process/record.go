package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// write replaces a record of the executor. It survives the end of runnerd; a loss of power, no child survives.
func (e *executor) write(name string, record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	path := filepath.Join(e.dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// read fills a record; false: there is none.
func (e *executor) read(name string, record any) (bool, error) {
	text, err := os.ReadFile(filepath.Join(e.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(text, record); err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}

// forgetKey takes the environment out of the record of a child that does not start again: it may have the key of a job. Where that
// fails, the next runnerd does it, or the removal.
func (e *executor) forgetKey() {
	spec := e.spec
	spec.Env = nil
	_ = e.write("spec.json", spec)
}

// end makes the exit stand. The record only saves a later runnerd from calling it unknown: without it, it is.
func (e *executor) end(exit msg.Exit) {
	_ = e.write("exit.json", exit)
	e.exit = exit
	close(e.ended)
}

// recover takes up an executor of an earlier runnerd.
func (d *Driver) recover(id msg.ExecutorID) error {
	e := newExecutor(filepath.Join(d.dir, string(id)), msg.ExecutorSpec{})
	known, err := e.read("spec.json", &e.spec)
	if err != nil {
		return err
	}
	if !known { // its Create did not come to its end
		return os.RemoveAll(e.dir)
	}
	if started, err := e.read("process.json", &e.process); err != nil || !started {
		d.executors[id] = e
		return err
	}
	close(e.started)
	if e.spec.Env != nil {
		e.forgetKey()
	}
	d.executors[id] = e
	if over, err := e.read("exit.json", &e.exit); err != nil || over {
		if over {
			close(e.ended)
		}
		return err
	}
	if e.process.PID == 0 {
		if err := e.search(); err != nil {
			return err
		}
	}
	return d.resume(e)
}

// resume watches a child that still runs; one that does not has ended, nobody knows how.
func (d *Driver) resume(e *executor) error {
	handle, err := e.process.open()
	if errors.Is(err, errNoProcess) {
		e.end(msg.Exit{Code: -1, At: time.Now().UTC()})
		return nil
	}
	if err != nil {
		return err
	}
	handle.Close()
	d.waits.Go(func() { d.watch(e, nil) })
	return nil
}

// search finds the process that was started and not recorded: the leader of a session with our mark in its environment.
func (e *executor) search() error {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range paths {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+e.mark()+"\x00")) {
			continue // ended, or somebody else's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || !leadsSession(pid) {
			continue
		}
		e.process.PID = pid
		if err := e.process.identify(); err != nil && !errors.Is(err, errNoProcess) {
			return err
		}
		return e.write("process.json", e.process)
	}
	return nil
}

func leadsSession(pid int) bool {
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}
