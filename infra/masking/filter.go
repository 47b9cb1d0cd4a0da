package masking

import (
	"time"

	msg "runnerd/messages"
)

// Filter masks and normalizes one stream. It must be used from one goroutine.
//
// A new Filter can continue a stream at any time from the first of the Held bytes. Nothing is lost, and no part of a secret shows,
// because the held bytes never begin inside a match. The only difference is that a mask of more than 64 KiB may be repeated.
type Filter struct {
	patterns *automaton
	mask     masker
	markers  markerFilter
	times    stamper
	oldest   time.Time // receipt of the first held byte
	received int64     // raw bytes
	emitted  int64     // masked bytes that markers has emitted
	lag      int64     // raw bytes represented in emitted, minus emitted
	shifts   []shift
}

// maxHeld is how many raw bytes markers may hold. A mask of 8 bytes may represent thousands.
const maxHeld = 1 << 20

// shift is a change of length by a mask: from masked offset at on, raw offsets are larger by this number of bytes.
type shift struct{ at, by int64 }

// NewFilter returns a filter for one stream or the rest of one. Set midline if the text emitted before does not end with a newline.
func NewFilter(secrets []msg.Secret, midline bool) *Filter {
	a := newAutomaton(patternsOf(secrets))
	return &Filter{patterns: a, mask: masker{automaton: a}, markers: markerFilter{midline: midline}, times: stamper{midline: midline}}
}

// Write filters the next bytes, received at a time, and returns the text that is ready, in a slice that the caller owns. If the time is
// zero, lines get no time.
func (f *Filter) Write(raw []byte, at time.Time) []byte {
	first := at
	if f.Held() > 0 {
		first = f.oldest
	}
	f.received += int64(len(raw))
	masked := f.mask.push(raw)
	out := f.markers.push(masked)
	f.updateOffsets()
	if f.Held() > maxHeld {
		out = append(out, f.markers.flush()...)
		f.updateOffsets()
	}
	f.oldest = first
	if f.Held() <= len(raw) {
		f.oldest = at
	}
	return f.times.stamp(out, first, at)
}

// Held returns how many of the newest raw bytes are held back. All bytes before them are represented in the text returned so far.
func (f *Filter) Held() int { return int(f.received - f.emitted - f.lag) }

// SetSecrets replaces the secrets, from the held bytes on, and returns the text that is ready.
func (f *Filter) SetSecrets(secrets []msg.Secret) []byte {
	f.patterns = newAutomaton(patternsOf(secrets))
	old := f.mask
	f.mask = masker{automaton: f.patterns, base: old.base, emitted: old.emitted, shifts: old.shifts}
	out := f.markers.push(f.mask.push(old.held))
	f.updateOffsets()
	return f.times.stamp(out, f.oldest, f.oldest)
}

// Flush returns the held text at the end of a stream. Bytes written later are filtered separately.
func (f *Filter) Flush() []byte {
	masked := f.mask.flush()
	out := append(f.markers.push(masked), f.markers.flush()...)
	f.updateOffsets()
	return f.times.stamp(out, f.oldest, f.oldest)
}

// updateOffsets computes which raw bytes the emitted text represents. The bytes held in markers begin at the start of a line or at a #,
// never inside a mask.
func (f *Filter) updateOffsets() {
	f.shifts = append(f.shifts, f.mask.takeShifts()...)
	f.emitted = f.mask.emitted - int64(f.markers.held())
	for len(f.shifts) > 0 && f.shifts[0].at <= f.emitted {
		f.lag += f.shifts[0].by
		f.shifts = f.shifts[1:]
	}
}
