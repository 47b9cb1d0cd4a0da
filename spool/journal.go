package spool

import "bytes"

// journal is a file that grows by checksummed lines. It is opened for each line: an fsync costs a thousand times that, and a
// long outage of the server leaves more jobs than a process has descriptors. One goroutine at a time.
type journal struct {
	name string
	safe int64  // so much of it is synced
	tail []byte // what follows, not synced
	torn bool   // the file may have more, or other, bytes after safe than tail says
}

// append adds a line; with durable it and all before it are safe on return. After an error the line may or may not be found by
// the next Open; here it does not count. The next append then writes everything that was not safe once more: an fsync that
// failed has forgotten it.
func (j *journal) append(s *Spool, line []byte, durable bool) error {
	tail := append(bytes.Clone(j.tail), line...)
	err := s.edit(j.name, func(f File) error {
		at := j.safe + int64(len(j.tail))
		if j.torn {
			if err := f.Truncate(j.safe); err != nil {
				return err
			}
			at, line = j.safe, tail
		}
		j.torn = true
		if _, err := f.WriteAt(line, at); err != nil {
			return err
		}
		if durable {
			return f.Sync()
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.torn, j.tail = false, tail
	if durable {
		j.safe, j.tail = j.safe+int64(len(tail)), nil
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
