package spool

import "bytes"

// journal is a file that grows by checksummed lines. It is opened for each line: an fsync costs a thousand times that, and a
// long outage of the server leaves more jobs than a process has descriptors. One goroutine at a time.
type journal struct {
	name string
	safe int64  // so much of it is synced
	end  int64  // so much of it counts
	last []byte // the line that ends there
	torn bool   // it has more than that, or maybe other bytes behind what is safe
}

// put writes a line at an offset, which becomes the last. With durable it is safe on return. After an error it does not count:
// it is taken back, and should that fail too, the next put cuts it off.
func (j *journal) put(s *Spool, at int64, line []byte, durable bool) error {
	err := s.edit(j.name, func(f File) error {
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
		j.safe = j.end
	}
	return nil
}

// splitLines cuts at newlines. The rest after the last is torn: the write of it was never reported as done.
func splitLines(content []byte) (lines [][]byte, rest []byte) {
	for {
		line, after, found := bytes.Cut(content, []byte("\n"))
		if !found {
			return lines, content
		}
		lines, content = append(lines, line), after
	}
}
