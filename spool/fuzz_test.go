package spool_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"reflect"
	"testing"

	"runnerd/spool"
	"runnerd/spool/memfs"
)

// Whatever stands in a file of the spool, Open goes on, nothing else is affected, and what it then shows it shows again. The seeds
// are what the spool itself writes, and what a disk may make of it; they run as tests. To search on:
//
//	go test -fuzz FuzzAJournal ./spool

func FuzzAJournal(f *testing.F)          { fuzzFile(f, "jobs/ended/journal") }
func FuzzAJobsHead(f *testing.F)         { fuzzFile(f, "jobs/ended/job.json") }
func FuzzAResult(f *testing.F)           { fuzzFile(f, "jobs/ended/result") }
func FuzzALog(f *testing.F)              { fuzzFile(f, "jobs/finished/log") }
func FuzzTheMarksOfALog(f *testing.F)    { fuzzFile(f, "jobs/finished/log.pos") }
func FuzzAnAcknowledgement(f *testing.F) { fuzzFile(f, "jobs/finished/log.acked") }
func FuzzAnExecutorsRecord(f *testing.F) { fuzzFile(f, "executors/xe/executor.json") }
func FuzzTheIdentity(f *testing.F)       { fuzzFile(f, "identity.json") }
func FuzzASetting(f *testing.F)          { fuzzFile(f, "server.json") }

// oddities are right in form and wrong in sense.
var oddities = map[string][]string{
	"journal":       {`[]`, `null`, `[null]`, `[{}]`, `[{"step":"ended"}]`, `[{"step":"handed-out","executor":"../..","nth":-1}]`, `[{"step":"log-ended","size":-9}]`, `{"step":1}`},
	"job.json":      {`{}`, `null`, `{"job":{"executionId":"../../x"},"input":{"size":-1}}`, `{"input":{"size":9223372036854775807,"crc32c":0}}`},
	"result":        {`{}`, `{"body":{"size":-5}}`, `{"exitCode":1e99}`, `{"body":{"size":9223372036854775807}}`},
	"log.pos":       {`{"n":18446744073709551615,"from":-3,"size":2}`, `{"n":9,"from":9,"size":3}`, `{"n":7,"from":0,"size":9223372036854775807}`},
	"executor.json": {`{}`, `null`, `[]`, `{"id":"xe","job":"finished"}`, `{"id":"other"}`, `{"id":"xe","job":"reserved","before":"reserved"}`},
}

func fuzzFile(f *testing.F, name string) {
	files := memfs.New()
	full(f, files)
	ok(f, files.Close())
	ok(f, files.SyncAll())
	want := parts(shown(f, files))
	written := contentOf(f, files, name)
	for _, seed := range [][]byte{written, nil, {}, []byte("\n"), written[:len(written)/2], append(bytes.Clone(written), written...),
		bytes.ReplaceAll(written, []byte("\n"), nil), bytes.Repeat([]byte{0}, 600), []byte("99999999999999999999999\n")} {
		f.Add(seed, false)
	}
	for _, odd := range oddities[path.Base(name)] {
		f.Add([]byte(odd+"\n"), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, sign bool) {
		if sign {
			content = signed(content)
		}
		copied := damaged(t, files, name, func(f spool.File) error {
			if err := f.Truncate(0); err != nil || len(content) == 0 {
				return err
			}
			_, err := f.WriteAt(content, 0)
			return err
		})
		st := shown(t, copied)
		for part, is := range parts(st) {
			if was := want[part]; part != owner(name) && was != nil && !reflect.DeepEqual(is, was) && !isOwners(name, part) {
				t.Errorf("%s is no more as it was, but %+v", part, is)
			}
		}
		ok(t, differ(shown(t, copied), st))
	})
}

// isOwners: what a record says of another one, and says rightly for all that can be known, may change that.
func isOwners(name, part string) bool {
	dir := path.Dir(path.Dir(name))
	return dir == "jobs" && path.Dir(part) == "executors" || dir == "executors" && path.Dir(part) == "jobs"
}

// signed gives every line the checksum that it needs to be believed.
func signed(content []byte) (all []byte) {
	for line := range bytes.Lines(content) {
		text := bytes.TrimRight(line, " \n")
		all = fmt.Appendf(all, "%08x %s\n", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)), text)
	}
	return all
}

func contentOf(t testing.TB, files *memfs.FS, name string) []byte {
	t.Helper()
	f, err := files.Open(name)
	ok(t, err)
	size, err := f.Size()
	ok(t, err)
	content := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), content)
	ok(t, err)
	return content
}
