package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// unreadable is the exit code of a result that was encrypted with the job's key, and so is the job's, but is no JSON.
const unreadable = -1

// decode checks that the body belongs to the key, base64 text or raw. Its text does not matter (rule 11): what decrypts is
// the result.
func decode(key seal.Key, body []byte) (msg.Result, bool) {
	if !isText(body) {
		body = base64.StdEncoding.AppendEncode(nil, body)
	}
	plain, err := seal.Decrypt(key, body)
	if err != nil {
		return msg.Result{}, false
	}
	inside := struct {
		ExitCode int `json:"exitCode"`
	}{}
	if json.Unmarshal(plain, &inside) != nil {
		inside.ExitCode = unreadable
	}
	return msg.Result{Body: body, ExitCode: inside.ExitCode}, true
}

// take stores the result and closes the job. A job that is closed already: nothing to do.
func (d *door) take(j *job, res msg.Result, retire string) error {
	d.taking.Lock()
	defer d.taking.Unlock()
	return d.keep(j, res, retire)
}

// keep is take with taking held.
func (d *door) keep(j *job, res msg.Result, retire string) error {
	if d.openJob() != j {
		return nil
	}
	stored, err := d.g.Store.StoreResult(j.execution, res)
	if err != nil {
		return fmt.Errorf("store result: %w", err)
	}
	res.Body = nil
	visit := &msg.ResultStored{Execution: j.execution, Result: res, Retire: retire}
	if !stored {
		rec, ok := d.g.Store.Job(j.execution)
		if !ok || !rec.HasResult {
			d.log.Info().Str("job", string(j.execution)).Msg("a result came after the job's ending was decided")
			visit = nil
		}
	}
	d.settle(j, visit)
	return nil
}

// Look reads the result file of the executor's open job, which nobody writes to any more; a result that it finds is stored
// before it returns. One that can never be stored: messages.ResultRefused.
func (g *Gateway) Look(id msg.ExecutorID) error {
	d, err := g.find(id)
	if err != nil {
		return fmt.Errorf("look for a result: %w", err)
	}
	j, err := d.takeFile("")
	if large, ok := errors.AsType[*tooLarge](err); ok {
		return d.g.refusal(j, large.size)
	}
	return err
}

func (d *door) look() error { return d.lookAs("") }

// lookAs looks for the result in the file while the plugin may be writing to it; retire says why the executor takes no more
// jobs if it is there.
func (d *door) lookAs(retire string) error {
	j, err := d.takeFile(retire)
	if large, ok := errors.AsType[*tooLarge](err); ok {
		d.refuseFile(j, large)
		return nil
	}
	return err
}

// takeFile stores what the file has for the open job, if that is its result.
func (d *door) takeFile(retire string) (*job, error) {
	d.taking.Lock()
	defer d.taking.Unlock()
	j := d.openJob()
	if j == nil {
		return nil, nil
	}
	body, err := readResult(d.out(), d.g.MaxResult)
	if errors.Is(err, errNoResult) {
		d.log.Debug().Err(err).Str("job", string(j.execution)).Msg("the result file is passed over")
		return j, nil
	}
	if err != nil {
		return j, fmt.Errorf("look for the result of job %s: %w", j.execution, err)
	}
	res, ok := decode(j.key, body)
	if !ok { // there is none, or half of one, or somebody's plain text
		d.disown(j, body)
		return j, nil
	}
	res.Via = msg.ViaFile
	return j, d.keep(j, res, retire)
}

// disown hears what the result file says by not being the result of the open job. Since that was handed out, the plugin has
// reported something with the key of the job before, or without any, as the Go SDK does that has had no job yet: so it did not
// get this one. It comes to that where the answer was lost together with the runner; else the callback says so (rule 4), or the
// GET is repeated.
func (d *door) disown(j *job, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase != running || d.job != j || d.mode == msg.Files || d.isOlder(j) {
		return
	}
	if d.before == nil {
		if r, err := contract.ParseResult(body); err != nil || r.ExitCode == 0 {
			return
		}
	} else if _, ok := decode(d.before.key, body); !ok {
		return
	}
	d.unstarted("what it left in the result file was not made with the job's key")
}

// isOlder reports whether the result file was there before the job was handed out: it could not be removed.
func (d *door) isOlder(j *job) bool {
	const tick = 10 * time.Millisecond // of the clock that files are stamped with
	rec, _ := d.g.Store.Job(j.execution)
	info, err := os.Lstat(filepath.Join(d.out(), resultFile))
	return err != nil || info.ModTime().Before(rec.HandedOutAt.Add(-tick))
}

// refuseFile refuses a file that is too large once nobody writes to it, and looks again later if that is not so yet.
func (d *door) refuseFile(j *job, large *tooLarge) {
	if wait := settleTime - time.Since(large.modified); wait > 0 {
		time.AfterFunc(min(wait, settleTime), d.fileChanged)
		return
	}
	d.refuse(j, large.size)
}

// isText tells base64 text from the raw bytes that some clients send.
func isText(body []byte) bool {
	return len(bytes.Trim(body, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t ")) == 0
}
