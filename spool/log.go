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

// slotSize is the size of one checkpoint in bytes. The file has two slots, written in turn, so that a torn write cannot damage
// the previous checkpoint and the file does not grow with the log.
const slotSize = 512

// checkpoint records how much of the log is valid, and where reading the executor's output resumes. Its checksums cover the newest
// text and the whole log.
type checkpoint struct {
	Number   uint64       `json:"n"`
	From     int64        `json:"from"`
	Size     int64        `json:"size"`
	Sum      uint32       `json:"crc32c"`      // of the text from From to Size
	TotalSum uint32       `json:"totalCrc32c"` // of the log up to Size
	Next     msg.Position `json:"next"`
}

// AppendLog appends masked text; after a crash, reading the executor's output resumes at next. On return both are durable; after an
// error neither counts: the text is synced before its checkpoint is written, and text after the newest checkpoint is overwritten.
func (s *Spool) AppendLog(id msg.ExecutionID, text []byte, next msg.Position) error {
	j, err := s.lockJob(id)
	if err != nil {
		return err
	}
	defer j.ioMu.Unlock()
	rec := s.jobRecord(j)
	if rec.Log.Closed {
		return fmt.Errorf("append to the log of job %q: the log is closed", id)
	}
	next.Time = next.Time.UTC().Round(0)
	m := checkpoint{
		Number: j.checkpoints + 1, From: rec.Log.Size, Size: rec.Log.Size + int64(len(text)), Next: next,
		Sum: checksum(text), TotalSum: crc32.Update(j.logSum, castagnoli, text),
	}
	if err := s.appendLog(j.dir, text, m); err != nil {
		return fmt.Errorf("append to the log of job %q: %w", id, err)
	}
	j.checkpoints, j.logSum = m.Number, m.TotalSum
	rec.Log.Size, rec.Log.Resume = m.Size, next
	s.publishJob(j, rec)
	return nil
}

func (s *Spool) appendLog(dir string, text []byte, m checkpoint) error {
	if len(text) > 0 {
		if err := s.overwrite(path.Join(dir, logFile), text, m.From, true); err != nil {
			return err
		}
	}
	line, err := encode(m)
	if err != nil {
		return err
	}
	blank := bytes.Repeat([]byte(" "), slotSize)
	blank[slotSize-1] = '\n'
	padded := bytes.Clone(blank)
	copy(padded, bytes.TrimRight(line, "\n"))
	return s.withFile(path.Join(dir, checkpointFile), func(f File) error {
		at := int64(m.Number%2) * slotSize
		err := writeAt(f, padded, at, true)
		if err != nil {
			_, _ = f.WriteAt(blank, at) // the other slot has the previous checkpoint
		}
		return err
	})
}

// overwrite writes at an offset in an existing file.
func (s *Spool) overwrite(name string, content []byte, at int64, durable bool) error {
	return s.withFile(name, func(f File) error { return writeAt(f, content, at, durable) })
}

// ReadLog reads up to limit bytes at offset, and fewer only at the durable end of the log.
func (s *Spool) ReadLog(id msg.ExecutionID, offset int64, limit int) (text []byte, err error) {
	j, rec, err := s.findJob(id)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > rec.Log.Size {
		return nil, fmt.Errorf("read the log of job %q at offset %d: it has %d bytes", id, offset, rec.Log.Size)
	}
	if offset == rec.Log.Size {
		return nil, nil
	}
	err = s.withFile(path.Join(j.dir, logFile), func(f File) error {
		text = make([]byte, min(int64(limit), rec.Log.Size-offset))
		_, err := io.ReadFull(io.NewSectionReader(f, offset, int64(len(text))), text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of job %q: %w", id, err)
	}
	return text, nil
}

// AckLog records how many bytes of the log the server has. Not durable: the server says where to resume.
func (s *Spool) AckLog(id msg.ExecutionID, offset int64) error {
	j, err := s.lockJob(id)
	if err != nil {
		return err
	}
	defer j.ioMu.Unlock()
	rec := s.jobRecord(j)
	if offset < 0 || offset > rec.Log.Size {
		return fmt.Errorf("acknowledge %d bytes of the log of job %q: it has %d", offset, id, rec.Log.Size)
	}
	if rec.Log.Closed && offset == rec.Log.Acked {
		return nil
	}
	// The length is fixed, so that no digit of an older number remains.
	if err := s.overwrite(path.Join(j.dir, ackFile), fmt.Appendf(nil, "%020d\n", offset), 0, false); err != nil {
		return fmt.Errorf("acknowledge the log of job %q: %w", id, err)
	}
	rec.Log.Acked = offset
	s.publishJob(j, rec)
	return nil
}

// loadLog finds the newest checkpoint that matches the log, and truncates the log after it.
func (s *Spool) loadLog(j *job, rec *msg.JobRecord) error {
	content, err := s.read(path.Join(j.dir, checkpointFile))
	if err != nil {
		return err
	}
	var newest checkpoint
	var damaged bool
	err = s.withFile(path.Join(j.dir, logFile), func(f File) error {
		size, err := f.Size()
		if err != nil {
			return err
		}
		for slot := range slices.Chunk(content, slotSize) {
			var m checkpoint
			if decode(slot, &m) != nil || m.Number <= newest.Number {
				continue
			}
			tailOK, totalOK, err := m.verify(f, size)
			if err != nil {
				return err
			}
			if tailOK {
				newest, damaged = m, !totalOK
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
	j.checkpoints, j.logSum = newest.Number, newest.TotalSum
	rec.Log.Size, rec.Log.Resume = newest.Size, newest.Next
	acked, err := s.loadAck(j)
	if had := max(acked, j.logSize); had > newest.Size { // only durable text is ever sent
		s.logProblem(j, rec, fmt.Errorf("only %d of %d bytes are readable", newest.Size, had))
	}
	if damaged {
		s.logProblem(j, rec, errors.New("checksum mismatch of the text"))
	}
	rec.Log.Acked = min(acked, newest.Size)
	return err
}

func (s *Spool) logProblem(j *job, rec *msg.JobRecord, err error) {
	s.addProblem(Problem{
		What: "log", Name: path.Join(j.dir, logFile), Job: rec.Execution, Err: fmt.Errorf("%w: %w", ErrCorrupt, err),
	})
}

// verify compares the checkpoint with the log, which has size bytes. tailOK: the text from From to Size matches; totalOK: all of the
// text up to Size matches. An error is a read error.
func (m checkpoint) verify(log File, size int64) (tailOK, totalOK bool, err error) {
	if m.From < 0 || m.From > m.Size || m.Size > size {
		return false, false, nil
	}
	tail, err := updateChecksum(0, io.NewSectionReader(log, m.From, m.Size-m.From))
	if err != nil || tail != m.Sum {
		return false, false, err
	}
	total, err := updateChecksum(0, io.NewSectionReader(log, 0, m.Size))
	return true, total == m.TotalSum, err
}

// loadAck returns how many bytes of the log the server has. An unreadable number counts as 0, because the server says where to resume.
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
