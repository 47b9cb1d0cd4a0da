package masking

import (
	"time"

	msg "runnerd/messages"
)

// Filter masks and normalises one stream. It belongs to one goroutine.
//
// A stream may be given up anywhere and read again by a new Filter, from the first of the Held bytes: nothing is lost, and
// no part of a secret shows, because a boundary never lies inside a match. One thing is then not as it would have been: a
// mask that covers more than 64 KiB may be repeated.
type Filter struct {
	patterns *automaton
	mask     masker
	markers  marker
	times    stamper
	oldest   time.Time // when the first of the held bytes came
	taken    int64     // raw bytes
	left     int64     // masked bytes that have left the markers
	lag      int64     // raw bytes behind them, minus left
	shifts   []shift
}

// longWait is how many raw bytes the markers may hold back: a mask of eight may stand for thousands.
const longWait = 1 << 20

// shift says that what was taken and what was made of it differ in length: past the masked offset at, raw offsets are
// further by that much.
type shift struct{ at, by int64 }

// NewFilter makes a filter for one stream, or for the rest of one. Midline: what left before does not end a line.
func NewFilter(secrets []msg.Secret, midline bool) *Filter {
	a := newAutomaton(patternsOf(secrets))
	return &Filter{patterns: a, mask: masker{automaton: a}, markers: marker{midline: midline}, times: stamper{midline: midline}}
}

// Write takes the next bytes, and when they came, and returns what is ready to leave. The slice is the caller's. Without a time
// no line gets one.
func (f *Filter) Write(raw []byte, at time.Time) []byte {
	first := at
	if f.Held() > 0 {
		first = f.oldest
	}
	f.taken += int64(len(raw))
	masked := f.mask.push(raw)
	out := f.markers.push(masked)
	f.account()
	if f.Held() > longWait {
		out = append(out, f.markers.giveUp()...)
		f.account()
	}
	f.oldest = first
	if f.Held() <= len(raw) {
		f.oldest = at
	}
	return f.times.stamp(out, first, at)
}

// Held is how many of the bytes taken, the newest, have not left yet: all those before them are represented in what was
// returned so far.
func (f *Filter) Held() int { return int(f.taken - f.left - f.lag) }

// Learn masks these secrets, which are all of them, from the bytes that are held on. It returns what is ready to leave.
func (f *Filter) Learn(secrets []msg.Secret) []byte {
	f.patterns = newAutomaton(patternsOf(secrets))
	old := f.mask
	f.mask = masker{automaton: f.patterns, base: old.base, made: old.made, shifts: old.shifts}
	out := f.markers.push(f.mask.push(old.held))
	f.account()
	return f.times.stamp(out, f.oldest, f.oldest)
}

// Flush returns the rest, after which nothing is held. It is for the end of a stream: what still comes is filtered by itself.
func (f *Filter) Flush() []byte {
	masked := f.mask.flush()
	out := append(f.markers.push(masked), f.markers.giveUp()...)
	f.account()
	return f.times.stamp(out, f.oldest, f.oldest)
}

// account follows the masked bytes through the markers. The markers hold back from a line's beginning or from a #,
// never from inside a mask.
func (f *Filter) account() {
	f.shifts = append(f.shifts, f.mask.takeShifts()...)
	f.left = f.mask.made - int64(f.markers.held())
	for len(f.shifts) > 0 && f.shifts[0].at <= f.left {
		f.lag += f.shifts[0].by
		f.shifts = f.shifts[1:]
	}
}
