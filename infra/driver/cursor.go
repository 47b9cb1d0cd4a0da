package driver

import msg "runnerd/messages"

// Cursor leaves out of a log what lies before a position. It wants the entries in order, with stamps that never go back, and
// may be given any amount of log from before the position, or none: the engine may have thrown away the entry that it is in.
type Cursor struct {
	left   msg.Position
	missed bool
}

// From is a cursor at pos; the zero position is the beginning of the log.
func From(pos msg.Position) *Cursor { return &Cursor{left: pos} }

// Next returns what of e lies behind the position; false: nothing.
func (c *Cursor) Next(e msg.LogEntry) (msg.LogEntry, bool) {
	if e.Time.Before(c.left.Time) {
		return msg.LogEntry{}, false
	}
	c.missed = e.Time.After(c.left.Time) && c.left.Count+c.left.Skip > 0
	if c.left.Count > 0 && e.Time.Equal(c.left.Time) {
		c.left.Count--
		return msg.LogEntry{}, false
	}
	skip := 0
	if e.Time.Equal(c.left.Time) {
		skip = min(c.left.Skip, len(e.Text))
	}
	c.left.Count, c.left.Skip = 0, 0
	e.Text = e.Text[skip:]
	return e, skip == 0 || len(e.Text) > 0
}

// Missed says whether the position's own entry was not there before the one that Next has just returned: then that entry is
// lost, and perhaps more between the two.
func (c *Cursor) Missed() bool { return c.missed }
