package simulation

import (
	"context"
	"fmt"
	"time"

	msg "runnerd/messages"
	"runnerd/spool"
)

// deeds is the real spool, of which every verb is a deed. Those that the logbook calls with its mutex held are part of the deed
// before: nobody else goes on meanwhile either.
type deeds struct {
	*spool.Spool
	*stepper
	oracle *oracle
}

func (d deeds) verb(name string, id any, fn func() error) (err error) {
	d.Do(fmt.Sprint("spool ", name, " ", id), func() {
		if err = fn(); err != nil {
			d.trace.note("spool %s %v: %v", name, id, err)
		}
	})
	return err
}

func (d deeds) Room() error { return d.verb("room", "", d.Spool.CheckSpace) }
func (d deeds) Add(o msg.Offer) error {
	return d.verb("add", o.Execution, func() error { return d.Spool.Add(o) })
}
func (d deeds) Confirm(id msg.ExecutionID) error {
	return d.verb("confirm", id, func() error { return d.Spool.Confirm(id) })
}
func (d deeds) Abort(id msg.ExecutionID, reason string) error {
	return d.verb("abort", id, func() error { return d.Spool.Abort(id, reason) })
}
func (d deeds) Remove(id msg.ExecutionID) error {
	return d.verb("remove", id, func() error { return d.Spool.Remove(id) })
}
func (d deeds) Reject(id msg.ExecutionID, answer string) error {
	return d.verb("reject", id, func() error { return d.Spool.Reject(id, answer) })
}
func (d deeds) AckLog(id msg.ExecutionID, offset int64) error {
	return d.verb("ack log", id, func() error { return d.Spool.AckLog(id, offset) })
}
func (d deeds) Finish(id msg.ExecutionID) error {
	return d.verb("finish", id, func() error { return d.Spool.Finish(id) })
}
func (d deeds) CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error {
	return d.verb("create executor", rec.ID, func() error { return d.Spool.CreateExecutor(rec, files) })
}
func (d deeds) UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error {
	return d.verb("update executor", id, func() error { return d.Spool.UpdateExecutor(id, change) })
}
func (d deeds) RemoveExecutor(id msg.ExecutorID) error {
	return d.verb("remove executor", id, func() error { return d.Spool.RemoveExecutor(id) })
}

func (d deeds) HandOut(h msg.HandOut) error {
	return d.verb("hand out", h.Execution, func() error {
		if rec, _ := d.Spool.Job(h.Execution); rec.Stage < msg.Confirmed {
			d.oracle.breach("I3: %s is handed out and not confirmed", h.Execution)
		}
		return d.Spool.HandOut(h)
	})
}
func (d deeds) Delivered(id msg.ExecutionID) error {
	return d.verb("delivered", id, func() error { return d.Spool.Delivered(id) })
}
func (d deeds) NotStarted(id msg.ExecutionID, handOut int) error {
	return d.verb("not started", id, func() error { return d.Spool.NotStarted(id, handOut) })
}
func (d deeds) TakeBack(id msg.ExecutionID) error {
	return d.verb("take back", id, func() error { return d.Spool.TakeBack(id) })
}
func (d deeds) StoreResult(id msg.ExecutionID, r msg.Result) (stored bool, err error) {
	err = d.verb("store result", id, func() (err error) {
		if stored, err = d.Spool.StoreResult(id, r); stored {
			d.oracle.stored[id] = time.Now()
		}
		return err
	})
	return stored, err
}

func (d deeds) Crash(id msg.ExecutionID, actor string) (n int, err error) {
	err = d.verb("crash", id, func() (err error) { n, err = d.Spool.Crash(id, actor); return err })
	return n, err
}
func (d deeds) End(id msg.ExecutionID, ending msg.Ending) (stands msg.Ending, err error) {
	err = d.verb("end", id, func() (err error) { stands, err = d.Spool.End(id, ending); return err })
	return stands, err
}
func (d deeds) Stopped(id msg.ExecutionID, how string) (stands msg.Ending, err error) {
	err = d.verb("stopped", id, func() (err error) { stands, err = d.Spool.Stopped(id, how); return err })
	return stands, err
}
func (d deeds) Input(id msg.ExecutionID) (input string, err error) {
	err = d.verb("input", id, func() (err error) { input, err = d.Spool.Input(id); return err })
	return input, err
}
func (d deeds) Result(id msg.ExecutionID) (body []byte, err error) {
	err = d.verb("result", id, func() (err error) { body, err = d.Spool.Result(id); return err })
	return body, err
}

func (d deeds) AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error {
	err := d.Spool.AppendLog(id, text, next)
	d.trace.note("log of %s + %q: %v", id, text, err)
	return err
}

// settings keep the server's configuration, over every end.
type settings struct{ *world }

func (s settings) SaveConfig(c msg.Config) error {
	return s.faults.Do(context.Background(), "save config", func() error { s.config = c; return nil })
}

func (s settings) RecordDeletion() error {
	return s.faults.Do(context.Background(), "note deletion", func() error { s.note = true; return nil })
}
