package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"

	msg "runnerd/messages"
)

// slot is the room of one mark. A file has two, written in turn, so that a torn write never reaches the mark before it, and
// however long the log, its marks stay this small.
const slot = 512

// mark says how much of the log counts, and where reading goes on. It proves the newest piece, not the whole: what is before
// was proven by the mark before.
type mark struct {
	Number uint64       `json:"n"`
	From   int64        `json:"from"`
	Size   int64        `json:"size"`
	Sum    uint32       `json:"crc32c"` // of the text from From to Size
	Next   msg.Position `json:"next"`
}

// AppendLog adds masked text; after a loss reading goes on at next. Both are durable on return, or neither counts: the text is
// synced before its mark is written, and text behind the newest mark is overwritten.
func (s *Spool) AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error {
	j, err := s.hold(id)
	if err != nil {
		return err
	}
	defer j.io.Unlock()
	rec := s.record(j)
	if rec.Log.Ended {
		return fmt.Errorf("append to the log of job %q: it has ended", id)
	}
	next.Time = next.Time.UTC().Round(0)
	m := mark{Number: j.marks + 1, From: rec.Log.Size, Size: rec.Log.Size + int64(len(text)), Sum: sum(text), Next: next}
	if err := s.appendLog(j.dir, text, m); err != nil {
		return fmt.Errorf("append to the log of job %q: %w", id, err)
	}
	j.marks = m.Number
	rec.Log.Size, rec.Log.Resume = m.Size, next
	s.publish(j, rec)
	return nil
}

func (s *Spool) appendLog(dir string, text []byte, m mark) error {
	if len(text) > 0 {
		if err := s.overwrite(path.Join(dir, logFile), text, m.From, true); err != nil {
			return err
		}
	}
	line, err := encode(m)
	if err != nil {
		return err
	}
	padded := bytes.Repeat([]byte(" "), slot)
	copy(padded, bytes.TrimRight(line, "\n"))
	padded[slot-1] = '\n'
	return s.overwrite(path.Join(dir, markFile), padded, int64(m.Number%2)*slot, true)
}

// overwrite writes at a place in a file that is there.
func (s *Spool) overwrite(name string, content []byte, at int64, durable bool) error {
	return s.edit(name, func(f File) error {
		if _, err := f.WriteAt(content, at); err != nil || !durable {
			return err
		}
		return f.Sync()
	})
}

// ReadLog reads up to max bytes at offset; fewer only at the durable end.
func (s *Spool) ReadLog(id msg.ExecutionID, offset int64, limit int) (text []byte, err error) {
	j, rec, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > rec.Log.Size {
		return nil, fmt.Errorf("read the log of job %q at %d: it has %d bytes", id, offset, rec.Log.Size)
	}
	err = s.edit(path.Join(j.dir, logFile), func(f File) error {
		text = make([]byte, min(int64(limit), rec.Log.Size-offset))
		_, err := io.ReadFull(io.NewSectionReader(f, offset, int64(len(text))), text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of job %q: %w", id, err)
	}
	return text, nil
}

// AckLog notes how far the server has the log. Not durable: the server says where to go on.
func (s *Spool) AckLog(id msg.ExecutionID, offset int64) error {
	j, err := s.hold(id)
	if err != nil {
		return err
	}
	defer j.io.Unlock()
	rec := s.record(j)
	if offset < 0 || offset > rec.Log.Size {
		return fmt.Errorf("acknowledge %d bytes of the log of job %q: it has %d", offset, id, rec.Log.Size)
	}
	// Of equal length always, so that no digit of a longer one stays.
	if err := s.overwrite(path.Join(j.dir, ackFile), fmt.Appendf(nil, "%020d\n", offset), 0, false); err != nil {
		return fmt.Errorf("acknowledge the log of job %q: %w", id, err)
	}
	rec.Log.Acked = offset
	s.publish(j, rec)
	return nil
}

// loadLog finds the newest mark that the log bears out, and cuts what is behind it.
func (s *Spool) loadLog(j *job, rec *msg.JobRecord) error {
	marks, err := s.read(path.Join(j.dir, markFile))
	if err != nil {
		return err
	}
	var newest mark
	err = s.edit(path.Join(j.dir, logFile), func(f File) error {
		for len(marks) > 0 {
			n := min(slot, len(marks))
			var m mark
			if decode(marks[:n], &m) == nil && m.Number > newest.Number && proves(f, m) {
				newest = m
			}
			marks = marks[n:]
		}
		size, err := f.Size()
		if err == nil && size > newest.Size {
			err = f.Truncate(newest.Size)
		}
		return err
	})
	if err != nil {
		return err
	}
	j.marks = newest.Number
	rec.Log.Size, rec.Log.Resume = newest.Size, newest.Next
	acked, err := s.loadAck(j)
	if acked > newest.Size { // only what is safe is sent
		s.problems = append(s.problems, Problem{
			What: "log", Name: path.Join(j.dir, logFile), Job: rec.Execution,
			Err: fmt.Errorf("%w: the server has %d bytes, of which %d can be read", ErrCorrupt, acked, newest.Size),
		})
	}
	rec.Log.Acked = min(acked, newest.Size)
	return err
}

func proves(log File, m mark) bool {
	text := make([]byte, max(0, m.Size-m.From))
	_, err := io.ReadFull(io.NewSectionReader(log, m.From, int64(len(text))), text)
	return err == nil && sum(text) == m.Sum
}

// loadAck takes what is no number for none: the server says where to go on.
func (s *Spool) loadAck(j *job) (int64, error) {
	text, err := s.read(path.Join(j.dir, ackFile))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) || n < 0 {
		return 0, nil
	}
	return n, nil
}
