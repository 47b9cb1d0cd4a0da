package driver

import msg "runnerd/messages"

// Cursor skips the part of a log before a position. It needs the entries in order, with timestamps that never go back. They may
// start anywhere before the position, or after it if the engine has discarded the entry at the position.
type Cursor struct {
	remaining msg.Position
	missed    bool
}

// NewCursor returns a cursor at pos. The zero position is the beginning of the log.
func NewCursor(pos msg.Position) *Cursor { return &Cursor{remaining: pos} }

// Next returns the part of e after the position, or false if there is none.
func (c *Cursor) Next(e msg.LogEntry) (msg.LogEntry, bool) {
	if e.Time.Before(c.remaining.Time) {
		return msg.LogEntry{}, false
	}
	c.missed = e.Time.After(c.remaining.Time) && c.remaining.Count+c.remaining.Skip > 0
	if c.remaining.Count > 0 && e.Time.Equal(c.remaining.Time) {
		c.remaining.Count--
		return msg.LogEntry{}, false
	}
	skip := 0
	if e.Time.Equal(c.remaining.Time) {
		skip = min(c.remaining.Skip, len(e.Text))
	}
	c.remaining.Count, c.remaining.Skip = 0, 0
	e.Text = e.Text[skip:]
	return e, skip == 0 || len(e.Text) > 0
}

// Missed reports whether the last call of Next found that the log lacks the entry at the position. That entry is then lost, and
// perhaps others after it.
func (c *Cursor) Missed() bool { return c.missed }
