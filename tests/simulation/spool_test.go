package simulation

import (
	"context"
	"fmt"
	"time"

	msg "runnerd/messages"
	"runnerd/spool"
)

// scheduledSpool is the real spool with its calls as actions of their own. AppendLog, CloseLog and ReadLog are not, because the log
// attributor calls them with its mutex held: an action that needs the mutex could run first, and would block the scheduler.
type scheduledSpool struct {
	*spool.Spool
	*scheduler
	checker *checker
}

func (d scheduledSpool) do(name string, id any, fn func() error) (err error) {
	d.Do(fmt.Sprint("spool ", name, " ", id), func() {
		if err = fn(); err != nil {
			d.trace.recordf("spool %s %v: %v", name, id, err)
		}
	})
	return err
}

func (d scheduledSpool) CheckSpace() error { return d.do("check space", "", d.Spool.CheckSpace) }
func (d scheduledSpool) Add(o msg.Offer) error {
	return d.do("add", o.Execution, func() error { return d.Spool.Add(o) })
}
func (d scheduledSpool) Confirm(id msg.ExecutionID) error {
	return d.do("confirm", id, func() error { return d.Spool.Confirm(id) })
}
func (d scheduledSpool) Abort(id msg.ExecutionID, reason string) error {
	return d.do("abort", id, func() error { return d.Spool.Abort(id, reason) })
}
func (d scheduledSpool) Remove(id msg.ExecutionID) error {
	return d.do("remove", id, func() error { return d.Spool.Remove(id) })
}
func (d scheduledSpool) Reject(id msg.ExecutionID, answer string) error {
	return d.do("reject", id, func() error { return d.Spool.Reject(id, answer) })
}
func (d scheduledSpool) AckLog(id msg.ExecutionID, offset int64) error {
	return d.do("ack log", id, func() error { return d.Spool.AckLog(id, offset) })
}
func (d scheduledSpool) Finish(id msg.ExecutionID) error {
	return d.do("finish", id, func() error { return d.Spool.Finish(id) })
}
func (d scheduledSpool) CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error {
	return d.do("create executor", rec.ID, func() error { return d.Spool.CreateExecutor(rec, files) })
}
func (d scheduledSpool) UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error {
	return d.do("update executor", id, func() error { return d.Spool.UpdateExecutor(id, change) })
}
func (d scheduledSpool) RemoveExecutor(id msg.ExecutorID) error {
	return d.do("remove executor", id, func() error { return d.Spool.RemoveExecutor(id) })
}

func (d scheduledSpool) HandOut(h msg.HandOut) error {
	return d.do("hand out", h.Execution, func() error {
		if rec, _ := d.Spool.Job(h.Execution); rec.Stage < msg.Confirmed {
			d.checker.violate("I3: %s is handed out but not confirmed", h.Execution)
		}
		return d.Spool.HandOut(h)
	})
}
func (d scheduledSpool) Delivered(id msg.ExecutionID) error {
	return d.do("delivered", id, func() error { return d.Spool.Delivered(id) })
}
func (d scheduledSpool) NotStarted(id msg.ExecutionID, handOut int) error {
	return d.do("not started", id, func() error { return d.Spool.NotStarted(id, handOut) })
}
func (d scheduledSpool) TakeBack(id msg.ExecutionID) error {
	return d.do("take back", id, func() error { return d.Spool.TakeBack(id) })
}
func (d scheduledSpool) StoreResult(id msg.ExecutionID, r msg.Result) (stored bool, err error) {
	err = d.do("store result", id, func() (err error) {
		if stored, err = d.Spool.StoreResult(id, r); stored {
			d.checker.stored[id] = time.Now()
		}
		return err
	})
	return stored, err
}

func (d scheduledSpool) Crash(id msg.ExecutionID, actor string) (n int, err error) {
	err = d.do("crash", id, func() (err error) { n, err = d.Spool.Crash(id, actor); return err })
	return n, err
}
func (d scheduledSpool) End(id msg.ExecutionID, ending msg.Ending) (stands msg.Ending, err error) {
	err = d.do("end", id, func() (err error) { stands, err = d.Spool.End(id, ending); return err })
	return stands, err
}
func (d scheduledSpool) Stopped(id msg.ExecutionID, how string) (stands msg.Ending, err error) {
	err = d.do("stopped", id, func() (err error) { stands, err = d.Spool.Stopped(id, how); return err })
	return stands, err
}
func (d scheduledSpool) Input(id msg.ExecutionID) (input string, err error) {
	err = d.do("input", id, func() (err error) { input, err = d.Spool.Input(id); return err })
	return input, err
}
func (d scheduledSpool) Result(id msg.ExecutionID) (body []byte, err error) {
	err = d.do("result", id, func() (err error) { body, err = d.Spool.Result(id); return err })
	return body, err
}

func (d scheduledSpool) AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error {
	err := d.Spool.AppendLog(id, text, next)
	d.trace.recordf("log of %s + %q: %v", id, text, err)
	return err
}

// settingsStore saves the server's configuration and the record of a deletion, which survive the end of the process.
type settingsStore struct{ *env }

func (s settingsStore) SaveConfig(c msg.Config) error {
	return s.otherFaults.Do(context.Background(), "save config", func() error { s.savedConfig = c; return nil })
}

func (s settingsStore) RecordDeletion() error {
	return s.otherFaults.Do(context.Background(), "record deletion", func() error { s.deletionRecorded = true; return nil })
}
