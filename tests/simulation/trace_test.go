package simulation

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	msg "runnerd/messages"
)

// trace records what happened, in order. Its hash identifies a run.
type trace struct {
	limit int // number of newest lines that tail returns; 0: no lines are stored
	off   bool
	hash  uint64 // FNV-1a
	lines []string
	began time.Time
	line  []byte
}

func newTrace(limit int) *trace {
	return &trace{limit: limit, hash: 14695981039346656037, began: time.Now()}
}

func (t *trace) add(path string, n uint64, what string) {
	if t.off {
		return
	}
	t.begin(path)
	if n > 0 {
		t.line = append(t.line, '#')
		t.line = strconv.AppendUint(t.line, n, 10)
	}
	t.line = append(append(t.line, ' '), what...)
	t.end()
}

// message records a message with its fields, so that a difference between two runs shows as soon as it arises.
func (t *trace) message(path string, m any) {
	if t.off {
		return
	}
	t.begin(path)
	t.line = append(t.line, " <- "...)
	t.line = t.appendValue(t.line, reflect.ValueOf(m))
	t.end()
}

func (t *trace) recordf(format string, args ...any) {
	if t.off {
		return
	}
	t.begin("")
	t.line = fmt.Appendf(t.line, format, args...)
	t.end()
}

func (t *trace) begin(path string) {
	t.line = strconv.AppendFloat(t.line[:0], time.Since(t.began).Seconds(), 'f', 9, 64)
	t.line = append(append(t.line, ' '), path...)
}

func (t *trace) end() {
	for _, c := range t.line {
		t.hash = (t.hash ^ uint64(c)) * 1099511628211
	}
	if t.limit == 0 {
		return
	}
	if len(t.lines) >= 2*t.limit {
		t.lines = append(t.lines[:0], t.lines[t.limit:]...)
	}
	t.lines = append(t.lines, string(t.line))
}

// tail returns the last lines of the trace.
func (t *trace) tail() string {
	return strings.Join(t.lines[max(0, len(t.lines)-t.limit):], "\n")
}

// maxText is the longest text that is recorded in full, in bytes. Of a longer one, usually ciphertext, only the length is recorded.
const maxText = 120

// appendValue appends a value. It omits addresses and functions, because they differ from run to run.
func (t *trace) appendValue(b []byte, v reflect.Value) []byte {
	if !v.IsValid() {
		return append(b, "nil"...)
	}
	if v.CanInterface() {
		switch x := v.Interface().(type) {
		case time.Time:
			if x.IsZero() {
				return append(b, '-')
			}
			return strconv.AppendFloat(b, x.Sub(t.began).Seconds(), 'f', 9, 64)
		case time.Duration:
			return append(b, x.String()...)
		case msg.Secret:
			return append(b, "***"...)
		case error:
			if v.Kind() != reflect.Pointer || !v.IsNil() {
				return append(b, x.Error()...)
			}
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.Float64:
		return strconv.AppendFloat(b, v.Float(), 'g', -1, 64)
	case reflect.String:
		if v.Len() > maxText {
			return append(strconv.AppendInt(append(b, '<'), int64(v.Len()), 10), '>')
		}
		return append(b, v.String()...)
	case reflect.Interface, reflect.Pointer:
		return t.appendValue(b, v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(strconv.AppendInt(append(b, '<'), int64(v.Len()), 10), '>')
		}
		b = append(b, '[')
		for i := range v.Len() {
			b = append(t.appendValue(b, v.Index(i)), ' ')
		}
		return append(b, ']')
	case reflect.Struct:
		return t.appendFields(b, v)
	}
	return append(b, v.Kind().String()...)
}

func (t *trace) appendFields(b []byte, v reflect.Value) []byte {
	b = append(append(b, v.Type().Name()...), '{')
	if strings.HasSuffix(v.Type().PkgPath(), "/messages") {
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() {
				b = append(append(b, v.Type().Field(i).Name...), ':')
				b = append(t.appendValue(b, f), ' ')
			}
		}
	}
	return append(b, '}')
}
