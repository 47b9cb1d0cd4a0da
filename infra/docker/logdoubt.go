package docker

import (
	"errors"
	"slices"
	"time"
)

// Engines before 23 do not follow a log reliably that is rotated while they are behind (seen with 20.10): they skip a whole
// file, or read one twice, or wait at the end of one that has been renamed. What they have at the time of a request they
// return whole and in order. So a stream in which such a thing may have happened is given up, and a new one goes on from the
// same position.

const (
	logFileSize = 128 << 20
	logFiles    = 4
	// fillsFile is less than an engine needs to fill a log file. A skip is a gap of that length between two stamps, and the
	// reader was behind by as much before it: the skipped file was full when the one before it had been read.
	fillsFile = 100 * time.Millisecond
	// A stream with that much new output is given up when nothing has come for so long.
	muchOutput = 1 << 20
	quietFor   = time.Second
	// stampsKept bounds the memory of a stream. A stamp older than all of these is no race of stdout and stderr.
	stampsKept = 1 << 17
)

// errDoubted ends a stream that is read again from where it was.
var errDoubted = errors.New("the engine's stream may have lost or repeated output")

// doubt looks at the stamps of a stream as the engine sends them.
type doubt struct {
	opened   time.Time
	pardoned int64   // doubted in the stream before: a second stream with the same order is right
	stamps   []int64 // the newest, sorted
	whole    bool    // the last entry was a line, not a piece of one
	behind   bool    // and it was read too late
}

// about says whether the stream may have lost or repeated output before the entry with this stamp.
func (d *doubt) about(at time.Time, text []byte) bool {
	stamp := at.UnixNano()
	doubted := d.repeats(stamp) || d.skips(at)
	if doubted && stamp != d.pardoned {
		d.pardoned = stamp
		return true
	}
	d.note(at, text)
	return false
}

func (d *doubt) repeats(stamp int64) bool {
	n := len(d.stamps)
	if n == 0 || stamp > d.stamps[n-1] {
		return false
	}
	at, seen := slices.BinarySearch(d.stamps, stamp)
	isPiece := stamp == d.stamps[n-1] && !d.whole // pieces of a line have one stamp
	return seen && !isPiece || at == 0 && n >= stampsKept
}

func (d *doubt) skips(at time.Time) bool {
	n := len(d.stamps)
	return n > 0 && d.behind && at.After(d.opened) && at.Sub(time.Unix(0, d.stamps[n-1])) >= fillsFile
}

func (d *doubt) note(at time.Time, text []byte) {
	place, _ := slices.BinarySearch(d.stamps, at.UnixNano())
	d.stamps = slices.Insert(d.stamps, place, at.UnixNano())
	if len(d.stamps) == 2*stampsKept {
		d.stamps = append(d.stamps[:0], d.stamps[stampsKept:]...)
	}
	d.whole = len(text) > 0 && text[len(text)-1] == '\n'
	d.behind = time.Since(at) >= fillsFile
}
