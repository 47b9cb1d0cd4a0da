package spool

import "bytes"

// journal is a file that grows by checksummed lines. It is opened for each line: an fsync costs a thousand times that, and a
// long outage of the server leaves more jobs than a process has descriptors. One goroutine at a time.
type journal struct {
	name string
	safe int64 // so much of it is synced
	end  int64 // so much of it counts
	torn bool  // it has more than that, or maybe other bytes behind what is safe
}

// put writes a line at an offset, which becomes the last. With durable it is safe on return. After an error the line may or may
// not be found by the next Open; here it does not count, and the next put cuts it off.
func (j *journal) put(s *Spool, at int64, line []byte, durable bool) error {
	err := s.edit(j.name, func(f File) error {
		if j.torn {
			if err := f.Truncate(at); err != nil {
				return err
			}
		}
		j.torn = true
		if _, err := f.WriteAt(line, at); err != nil || !durable {
			return err
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	j.torn, j.end = false, at+int64(len(line))
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
