package spool

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	msg "runnerd/messages"
)

// exported lists the files that an export contains unchanged.
var exported = []string{logFile, checkpointFile, ackFile, resultFile, answerFile}

// Export writes a tar of all of a job's files without its session key. Input and result stay encrypted.
func Export(files FS, e Entry, w io.Writer) error {
	if e.Job.Execution == "" {
		return fmt.Errorf("export %s: not a readable job", e.Location)
	}
	s := &Spool{fs: readOnly{files}}
	out := tar.NewWriter(w)
	if err := s.exportHead(out, e); err != nil {
		return fmt.Errorf("export %s: %w", e.Location, err)
	}
	if err := s.exportJournal(out, e); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("export %s: %s: %w", e.Location, journalFile, err)
	}
	for _, name := range exported {
		if err := s.exportFile(out, e, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("export %s: %s: %w", e.Location, name, err)
		}
	}
	return out.Close()
}

// exportHead writes job.json as two files: the head without the key, and the input.
func (s *Spool) exportHead(out *tar.Writer, e Entry) error {
	head, err := json.MarshalIndent(struct {
		msg.Job
		Added any `json:"added"`
	}{e.Job.Job, e.Job.Added}, "", "  ")
	if err != nil {
		return err
	}
	if err := add(out, e, jobFile, append(head, '\n')); err != nil {
		return err
	}
	return s.withFile(path.Join(e.Location, jobFile), func(file File) error {
		input, err := readBody(file, new(jobHead))
		if err != nil {
			return err
		}
		return add(out, e, "input", input)
	})
}

// exportJournal writes each step as a line of JSON, without the sealed keys and secrets. Of a damaged line it writes only the length.
func (s *Spool) exportJournal(out *tar.Writer, e Entry) error {
	content, err := s.read(path.Join(e.Location, journalFile))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	lines, rest := splitLines(content)
	for _, line := range append(lines, rest) {
		var steps []step
		if err := decode(line, &steps); err != nil && len(line) > 0 {
			fmt.Fprintf(&text, "unreadable line of %d bytes\n", len(line))
		}
		for _, st := range steps {
			st.Key, st.Mask = nil, nil
			if err := json.NewEncoder(&text).Encode(st); err != nil {
				return err
			}
		}
	}
	return add(out, e, journalFile, text.Bytes())
}

// exportFile writes a file up to its size at the start of the call, because it may grow meanwhile.
func (s *Spool) exportFile(out *tar.Writer, e Entry, name string) error {
	return s.withFile(path.Join(e.Location, name), func(file File) error {
		size, err := file.Size()
		if err != nil {
			return err
		}
		if err := out.WriteHeader(header(e, name, size)); err != nil {
			return err
		}
		_, err = io.Copy(out, io.NewSectionReader(file, 0, size))
		return err
	})
}

func add(out *tar.Writer, e Entry, name string, content []byte) error {
	if err := out.WriteHeader(header(e, name, int64(len(content)))); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}

func header(e Entry, name string, size int64) *tar.Header {
	return &tar.Header{Name: path.Join(path.Base(e.Location), name), Mode: int64(privateFile), Size: size, ModTime: e.Job.Added}
}
