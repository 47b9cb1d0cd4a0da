package spool

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	msg "runnerd/messages"
)

// exported are the files of a job that may leave the machine as they are: none holds a key.
var exported = []string{journalFile, logFile, markFile, ackFile, resultFile, answerFile}

// Export writes a tar of a job: all that is kept of it but its session key. Input and result stay encrypted.
func Export(files FS, f Found, w io.Writer) error {
	if f.Job.Execution == "" {
		return fmt.Errorf("export %s: it is no job that can be read", f.Place)
	}
	s := &Spool{fs: still{files}}
	out := tar.NewWriter(w)
	if err := s.exportHead(out, f); err != nil {
		return fmt.Errorf("export %s: %w", f.Place, err)
	}
	for _, name := range exported {
		if err := s.exportFile(out, f, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("export %s: %s: %w", f.Place, name, err)
		}
	}
	return out.Close()
}

// exportHead makes two files of one: the head without the key, and the input.
func (s *Spool) exportHead(out *tar.Writer, f Found) error {
	head, err := json.MarshalIndent(struct {
		msg.Job
		Added any `json:"added"`
	}{f.Job.Job, f.Job.Added}, "", "  ")
	if err != nil {
		return err
	}
	if err := add(out, f, jobFile, append(head, '\n')); err != nil {
		return err
	}
	return s.edit(path.Join(f.Place, jobFile), func(file File) error {
		input, err := readBody(file, new(jobHead))
		if err != nil {
			return err
		}
		return add(out, f, "input", input)
	})
}

// exportFile takes what was there at first of a file that grows.
func (s *Spool) exportFile(out *tar.Writer, f Found, name string) error {
	return s.edit(path.Join(f.Place, name), func(file File) error {
		size, err := file.Size()
		if err != nil {
			return err
		}
		if err := out.WriteHeader(header(f, name, size)); err != nil {
			return err
		}
		_, err = io.Copy(out, io.NewSectionReader(file, 0, size))
		return err
	})
}

func add(out *tar.Writer, f Found, name string, content []byte) error {
	if err := out.WriteHeader(header(f, name, int64(len(content)))); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}

func header(f Found, name string, size int64) *tar.Header {
	return &tar.Header{Name: path.Join(path.Base(f.Place), name), Mode: int64(private), Size: size, ModTime: f.Job.Added}
}
