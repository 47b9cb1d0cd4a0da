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
	// minFileFillTime is less than the time in which an engine fills a log file. If a file was skipped, two consecutive timestamps are
	// at least this far apart, and the reader was at least this late before: the skipped file was full when the previous one was read.
	minFileFillTime = 100 * time.Millisecond
	// A stream that has sent muchOutput bytes is abandoned after it has been silent for quietTimeout.
	muchOutput   = 1 << 20
	quietTimeout = time.Second
	// maxStamps bounds the memory of a stream. A race of stdout and stderr does not explain a timestamp older than all of these.
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
func (d *streamCheck) suspect(at time.Time, text []byte) bool {
	stamp := at.UnixNano()
	suspected := d.repeats(stamp) || d.skips(at)
	if suspected && stamp != d.accepted {
		d.accepted = stamp
		return true
	}
	d.record(at, text)
	return false
}

func (d *streamCheck) repeats(stamp int64) bool {
	n := len(d.stamps)
	if n == 0 || stamp > d.stamps[n-1] {
		return false
	}
	at, seen := slices.BinarySearch(d.stamps, stamp)
	isPart := stamp == d.stamps[n-1] && !d.lineComplete // parts of a line have the same timestamp
	return seen && !isPart || at == 0 && n >= maxStamps
}

func (d *streamCheck) skips(at time.Time) bool {
	n := len(d.stamps)
	return n > 0 && d.late && at.After(d.opened) && at.Sub(time.Unix(0, d.stamps[n-1])) >= minFileFillTime
}

func (d *streamCheck) record(at time.Time, text []byte) {
	index, _ := slices.BinarySearch(d.stamps, at.UnixNano())
	d.stamps = slices.Insert(d.stamps, index, at.UnixNano())
	if len(d.stamps) == 2*maxStamps {
		d.stamps = append(d.stamps[:0], d.stamps[maxStamps:]...)
	}
	d.lineComplete = len(text) > 0 && text[len(text)-1] == '\n'
	d.late = time.Since(at) >= minFileFillTime
}
