package spool

import "bytes"

// journal is a file to which checksummed lines are appended. The file is opened for each line: an fsync costs a thousand times as
// much, and during a long outage of the server there are more jobs than a process may have descriptors. It is not safe for
// concurrent use.
type journal struct {
	name   string
	synced int64  // size of the synced part in bytes
	end    int64  // size of the valid part in bytes
	last   []byte // the line that ends at end
	torn   bool   // the file may have invalid bytes where the next line goes
}

// writeLine writes a new last line at an offset in bytes, over an unsynced one if there is one. If durable, the line is synced on
// return. After an error writeLine restores the previous content; if that fails too, the next writeLine cuts off the rest.
func (j *journal) writeLine(s *Spool, at int64, line []byte, durable bool) error {
	err := s.withFile(j.name, func(f File) error {
		if j.torn {
			if err := f.Truncate(at); err != nil {
				return err
			}
		}
		j.torn = true
		err := writeAt(f, line, at, durable)
		if err != nil && f.Truncate(at) == nil && j.end > at {
			_, _ = f.WriteAt(j.last, at)
		}
		return err
	})
	if err != nil {
		return err
	}
	j.torn, j.last, j.end = false, line, at+int64(len(line))
	if durable {
		j.synced = j.end
	}
	return nil
}

// splitLines splits at newlines. The rest after the last newline is a torn write, which was never reported as done.
func splitLines(content []byte) (lines [][]byte, rest []byte) {
	for {
		line, after, found := bytes.Cut(content, []byte("\n"))
		if !found {
			return lines, content
		}
		lines, content = append(lines, line), after
	}
}
