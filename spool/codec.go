package spool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
)

// ErrCorrupt is wrapped by the error about a record that cannot be read.
var ErrCorrupt = errors.New("corrupt record")

// errIncomplete means that a file is shorter than its head says.
var errIncomplete = fmt.Errorf("%w: unexpected end of file", ErrCorrupt)

// errUnwritten means that a file has no head. The head is written last.
var errUnwritten = fmt.Errorf("%w: the head is missing", errIncomplete)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC-32C, which detects torn writes and flipped bytes. It does not protect against tampering.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// encode returns a record as a line: eight hex digits of checksum, a blank, JSON.
func encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", checksum(text), text), nil
}

// decode reads a line, with or without its newline.
func decode(line []byte, v any) error {
	digits, text, _ := bytes.Cut(bytes.TrimRight(line, " \n"), []byte(" "))
	want, err := strconv.ParseUint(string(digits), 16, 32)
	if err != nil || len(digits) != 8 || uint32(want) != checksum(text) {
		return fmt.Errorf("%w: checksum mismatch", ErrCorrupt)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// body describes the bytes that follow a head.
type body struct {
	Size int64  `json:"size"`
	Sum  uint32 `json:"crc32c"`
}

func newBody(b []byte) body { return body{Size: int64(len(b)), Sum: checksum(b)} }

// bodyHeader is the head of a file with a body.
type bodyHeader interface{ body() body }

// readHead reads the first line into head and returns the section of the file that is the body.
func readHead(f File, head bodyHeader) (*io.SectionReader, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(io.NewSectionReader(f, 0, size)).ReadBytes('\n')
	if size == 0 || bytes.HasPrefix(line, make([]byte, len("00000000 "))) {
		return nil, errUnwritten
	}
	if errors.Is(err, io.EOF) {
		return nil, errIncomplete
	}
	if err != nil {
		return nil, err
	}
	if err := decode(line, head); err != nil {
		return nil, err
	}
	at, want := int64(len(line)), head.body().Size
	if want < 0 {
		return nil, fmt.Errorf("%w: negative body size %d bytes", ErrCorrupt, want)
	}
	if size-at < want {
		return nil, errIncomplete
	}
	return io.NewSectionReader(f, at, want), nil
}

// readBody reads the head and the body, and verifies the body's checksum.
func readBody(f File, head bodyHeader) ([]byte, error) {
	part, err := readHead(f, head)
	if err != nil {
		return nil, err
	}
	content := make([]byte, part.Size())
	if _, err := io.ReadFull(part, content); err != nil {
		return nil, err
	}
	if checksum(content) != head.body().Sum {
		return nil, fmt.Errorf("%w: checksum mismatch of the body", ErrCorrupt)
	}
	return content, nil
}

// updateChecksum adds everything in r to a checksum.
func updateChecksum(crc uint32, r *io.SectionReader) (uint32, error) {
	buffer := make([]byte, min(r.Size(), 64<<10))
	for {
		n, err := r.Read(buffer)
		crc = crc32.Update(crc, castagnoli, buffer[:n])
		if errors.Is(err, io.EOF) || r.Size() == 0 {
			return crc, nil
		}
		if err != nil {
			return crc, err
		}
	}
}

// checkBody verifies a file as readBody does, without holding the whole body in memory.
func checkBody(f File, head bodyHeader) error {
	part, err := readHead(f, head)
	if err != nil {
		return err
	}
	crc, err := updateChecksum(0, part)
	if err != nil {
		return err
	}
	if crc != head.body().Sum {
		return fmt.Errorf("%w: checksum mismatch of the body", ErrCorrupt)
	}
	return nil
}
