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

// ErrCorrupt is wrapped by what is said of a record that cannot be read.
var ErrCorrupt = errors.New("corrupt record")

// errIncomplete: the file ends before what it announces.
var errIncomplete = fmt.Errorf("%w: ends too early", ErrCorrupt)

// errUnwritten: the file has no head, which is written last.
var errUnwritten = fmt.Errorf("%w: nothing is at its beginning", errIncomplete)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is CRC-32C: it finds torn and flipped bytes; against people it proves nothing, nor need it.
func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// encode makes the line that all records are: eight hex digits of checksum, a blank, JSON.
func encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", sum(text), text), nil
}

// decode reads a line, with its newline or without.
func decode(line []byte, v any) error {
	digits, text, _ := bytes.Cut(bytes.TrimRight(line, " \n"), []byte(" "))
	want, err := strconv.ParseUint(string(digits), 16, 32)
	if err != nil || len(digits) != 8 || uint32(want) != sum(text) {
		return fmt.Errorf("%w: the checksum is wrong", ErrCorrupt)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// body describes the bytes that follow a header line, so that neither has to be copied into the other.
type body struct {
	Size int64  `json:"size"`
	Sum  uint32 `json:"crc32c"`
}

func bodyOf(b []byte) body { return body{Size: int64(len(b)), Sum: sum(b)} }

// bodied is a header that describes what follows it.
type bodied interface{ body() body }

// readHead reads a header line into head and returns the part of the file that is its body.
func readHead(f File, head bodied) (*io.SectionReader, error) {
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
		return nil, fmt.Errorf("%w: its body has %d bytes", ErrCorrupt, want)
	}
	if size-at < want {
		return nil, errIncomplete
	}
	return io.NewSectionReader(f, at, want), nil
}

// readBody reads and checks all of what follows a header.
func readBody(f File, head bodied) ([]byte, error) {
	part, err := readHead(f, head)
	if err != nil {
		return nil, err
	}
	content := make([]byte, part.Size())
	if _, err := io.ReadFull(part, content); err != nil {
		return nil, err
	}
	if sum(content) != head.body().Sum {
		return nil, fmt.Errorf("%w: the checksum of its body is wrong", ErrCorrupt)
	}
	return content, nil
}

// sumOf continues a sum with all that is read.
func sumOf(crc uint32, r *io.SectionReader) (uint32, error) {
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

// checkBody checks a file as readBody does, in little memory.
func checkBody(f File, head bodied) error {
	part, err := readHead(f, head)
	if err != nil {
		return err
	}
	crc, err := sumOf(0, part)
	if err != nil {
		return err
	}
	if crc != head.body().Sum {
		return fmt.Errorf("%w: the checksum of its body is wrong", ErrCorrupt)
	}
	return nil
}
