package gateway

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// afterReturn is why an executor takes no more jobs whose result was found by file after a return of the runner: it may be
// about to ask for the old job (rule 8).
const afterReturn = "its result was found in the result file after a restart of the runner"

// Restore opens the doors of all executors in the store and reads their result files; what is valid is stored, and those
// jobs are closed. Repeated: no effect.
func (g *Gateway) Restore() error { return g.restored() }

func (g *Gateway) restore() error {
	for _, rec := range g.Store.Executors() {
		if _, err := g.Admit(rec); err != nil {
			return err
		}
		d, err := g.find(rec.ID)
		if err != nil {
			return err
		}
		if err := d.restore(rec); err != nil {
			// The file is looked at again, and one executor's directory keeps no other from working.
			d.log.Error().Err(err).Msg("cannot read the result file after the start")
			d.fileChanged()
		}
	}
	return nil
}

// restore puts the door where it was. An executor without a job and without a GET needs an event (rule 7); it gets time to
// come back by itself first, as the event would be one too many (rule 2), unless its result file proves that it gave up.
func (d *door) restore(rec msg.ExecutorRecord) error {
	d.mu.Lock()
	d.retired = rec.Retired
	d.before = d.recall(rec.Before)
	d.job = d.recall(rec.Job)
	d.held = !rec.IdleSince.IsZero()
	d.resume(rec)
	d.rememberKey(rec.LastKey)
	d.mu.Unlock()
	return d.lookAs(afterReturn)
}

// resume finds the phase. mu is held.
func (d *door) resume(rec msg.ExecutorRecord) {
	d.owed = true
	if !fileExists(filepath.Join(d.out(), resultFile)) {
		d.notBefore = time.Now().Add(d.g.ComeBack)
	}
	if d.job == nil {
		return
	}
	job, ok := d.g.Store.Job(rec.Job)
	switch {
	case ok && (job.Stage == msg.HandedOut || job.Stopping()) && job.Executor == d.id && !job.HasResult:
		d.phase, d.owed = running, false
		if job.Unstarted { // its plugin waits for an event, and what it then gets is journaled
			d.phase, d.owed = unstarted, true
		}
		d.notBefore = time.Time{} // it does not wait for a job, so there is no GET that could come back
		d.watchFile()
	case d.held:
		d.phase = waiting
	default:
		d.phase = settled
	}
	if ok && job.HasResult {
		d.result = &msg.ResultStored{Execution: rec.Job, Result: msg.Result{ExitCode: job.Ending.ExitCode}}
	}
}

// recall makes the paths of a job lead here again. The key of a job that is no longer kept is not needed: it is closed. mu is
// held.
func (d *door) recall(id msg.ExecutionID) *job {
	if id == "" {
		return nil
	}
	j := &job{execution: id}
	if rec, ok := d.g.Store.Job(id); ok {
		key, err := d.g.Keys.OpenKey(rec.SealedKey)
		if err != nil {
			d.log.Error().Err(err).Str("job", string(id)).Msg("the session key cannot be opened: no result of the job can be taken")
		}
		j.key = key
	}
	d.g.lead(d, j)
	return j
}

// rememberKey gives the last job that is closed the key that it was armed after with, should the store have the job no more.
// mu is held.
func (d *door) rememberKey(sealed []byte) {
	last := d.job
	if d.open() != nil {
		last = d.before
	}
	if last == nil || last.key != (seal.Key{}) {
		return
	}
	keys, err := d.g.Keys.Unseal(sealed)
	if err != nil || len(keys) != 1 || len(keys[0]) != len(last.key) {
		return // it is of use only as a proof
	}
	copy(last.key[:], keys[0])
}

func fileExists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
