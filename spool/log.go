package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strconv"

	msg "runnerd/messages"
)

// slot is the room of one mark. A file has two, written in turn, so that a torn write never reaches the mark before it, and
// however long the log, its marks stay this small.
const slot = 512

// mark says how much of the log counts, and where reading goes on. It proves the newest piece; that the text before it has not
// changed since it was proven by the mark before, too.
type mark struct {
	Number uint64       `json:"n"`
	From   int64        `json:"from"`
	Size   int64        `json:"size"`
	Sum    uint32       `json:"crc32c"` // of the text from From to Size
	Whole  uint32       `json:"whole"`  // of all of it
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
	m := mark{
		Number: j.marks + 1, From: rec.Log.Size, Size: rec.Log.Size + int64(len(text)), Next: next,
		Sum: sum(text), Whole: crc32.Update(j.logSum, castagnoli, text),
	}
	if err := s.appendLog(j.dir, text, m); err != nil {
		return fmt.Errorf("append to the log of job %q: %w", id, err)
	}
	j.marks, j.logSum = m.Number, m.Whole
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
	blank := bytes.Repeat([]byte(" "), slot)
	blank[slot-1] = '\n'
	padded := bytes.Clone(blank)
	copy(padded, bytes.TrimRight(line, "\n"))
	return s.edit(path.Join(dir, markFile), func(f File) error {
		at := int64(m.Number%2) * slot
		err := writeAt(f, padded, at, true)
		if err != nil {
			_, _ = f.WriteAt(blank, at) // the mark before stands in the other slot
		}
		return err
	})
}

// overwrite writes at a place in a file that is there.
func (s *Spool) overwrite(name string, content []byte, at int64, durable bool) error {
	return s.edit(name, func(f File) error { return writeAt(f, content, at, durable) })
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
	if offset == rec.Log.Size {
		return nil, nil
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
	if rec.Log.Ended && offset == rec.Log.Acked {
		return nil
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
	var changed bool
	err = s.edit(path.Join(j.dir, logFile), func(f File) error {
		size, err := f.Size()
		if err != nil {
			return err
		}
		for slot := range slices.Chunk(marks, slot) {
			var m mark
			if decode(slot, &m) != nil || m.Number <= newest.Number {
				continue
			}
			piece, whole, err := m.bornOutBy(f, size)
			if err != nil {
				return err
			}
			if piece {
				newest, changed = m, !whole
			}
		}
		if size > newest.Size {
			return f.Truncate(newest.Size)
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.marks, j.logSum = newest.Number, newest.Whole
	rec.Log.Size, rec.Log.Resume = newest.Size, newest.Next
	acked, err := s.loadAck(j)
	if had := max(acked, j.logSize); had > newest.Size { // only what is safe is sent
		s.logProblem(j, rec, fmt.Errorf("it had %d bytes, of which %d can be read", had, newest.Size))
	}
	if changed {
		s.logProblem(j, rec, errors.New("its text is not what was written"))
	}
	rec.Log.Acked = min(acked, newest.Size)
	return err
}

func (s *Spool) logProblem(j *job, rec *msg.JobRecord, err error) {
	s.problem(Problem{
		What: "log", Name: path.Join(j.dir, logFile), Job: rec.Execution, Err: fmt.Errorf("%w: %w", ErrCorrupt, err),
	})
}

// bornOutBy reports whether the log, of so many bytes, has the piece that the mark tells of, and all the text before it. An
// error is the disk's.
func (m mark) bornOutBy(log File, size int64) (piece, whole bool, err error) {
	if m.From < 0 || m.From > m.Size || m.Size > size {
		return false, false, nil
	}
	newest, err := sumOf(0, io.NewSectionReader(log, m.From, m.Size-m.From))
	if err != nil || newest != m.Sum {
		return false, false, err
	}
	all, err := sumOf(0, io.NewSectionReader(log, 0, m.Size))
	return true, all == m.Whole, err
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
