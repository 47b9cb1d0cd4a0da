package docker

import (
	"errors"
	"slices"
	"time"
)

// Engines before 23 do not reliably follow a log that is rotated while they are behind (seen with 20.10): they skip a whole file,
// read one twice, or wait at the end of a renamed one. They return the part of the log that exists at the time of a request
// completely and in order. The driver therefore abandons a stream in which such a defect may have occurred, and opens a new one at
// the same position.

const (
	logFileSize = 128 << 20
	logFiles    = 4
	// minFileFillTime is less than the time in which an engine fills a log file. If a file was skipped, the entries before and after
	// it are at least this far apart, and the entry before it was read at least this late, because the skipped file was full by then.
	minFileFillTime = 100 * time.Millisecond
	// A stream that has sent muchOutput bytes is abandoned after it has been silent for quietTimeout.
	muchOutput   = 1 << 20
	quietTimeout = time.Second
	// maxStamps bounds the memory of a streamCheck. A race of stdout and stderr does not explain a timestamp that is older than so
	// many others.
	maxStamps = 1 << 17
)

// errStreamSuspect ends a stream. Reading resumes at the same position.
var errStreamSuspect = errors.New("the engine's stream may have lost or repeated output")

// streamCheck checks the timestamps of a stream in the order in which the engine sends them.
type streamCheck struct {
	opened       time.Time
	accepted     int64   // timestamp suspected in the previous stream: if a second stream has the same order, it is correct
	stamps       []int64 // the newest timestamps, sorted
	lineComplete bool    // the last entry ended with a newline
	late         bool    // the last entry was read minFileFillTime or more after its timestamp
}

// suspect reports whether the stream may have lost or repeated output before this entry.
func (c *streamCheck) suspect(at time.Time, text []byte) bool {
	stamp := at.UnixNano()
	suspected := c.repeats(stamp) || c.skips(at)
	if suspected && stamp != c.accepted {
		c.accepted = stamp
		return true
	}
	c.record(at, text)
	return false
}

func (c *streamCheck) repeats(stamp int64) bool {
	n := len(c.stamps)
	if n == 0 || stamp > c.stamps[n-1] {
		return false
	}
	index, seen := slices.BinarySearch(c.stamps, stamp)
	isPart := stamp == c.stamps[n-1] && !c.lineComplete // parts of a line have the same timestamp
	return seen && !isPart || index == 0 && n >= maxStamps
}

func (c *streamCheck) skips(at time.Time) bool {
	n := len(c.stamps)
	return n > 0 && c.late && at.After(c.opened) && at.Sub(time.Unix(0, c.stamps[n-1])) >= minFileFillTime
}

func (c *streamCheck) record(at time.Time, text []byte) {
	index, _ := slices.BinarySearch(c.stamps, at.UnixNano())
	c.stamps = slices.Insert(c.stamps, index, at.UnixNano())
	if len(c.stamps) == 2*maxStamps {
		c.stamps = append(c.stamps[:0], c.stamps[maxStamps:]...)
	}
	c.lineComplete = len(text) > 0 && text[len(text)-1] == '\n'
	c.late = time.Since(at) >= minFileFillTime
}
