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

// Whatever the content of a file is, Open succeeds, nothing else is affected, and a second Open returns the same state. The seeds are
// what the spool writes and typical damage of it; they run as tests. To fuzz:
//
//	go test -fuzz FuzzJournal ./spool

func FuzzJournal(f *testing.F)        { fuzzFile(f, "jobs/ended/journal") }
func FuzzJobHead(f *testing.F)        { fuzzFile(f, "jobs/ended/job.json") }
func FuzzResult(f *testing.F)         { fuzzFile(f, "jobs/ended/result") }
func FuzzLog(f *testing.F)            { fuzzFile(f, "jobs/finished/log") }
func FuzzCheckpoints(f *testing.F)    { fuzzFile(f, "jobs/finished/log.pos") }
func FuzzAck(f *testing.F)            { fuzzFile(f, "jobs/finished/log.acked") }
func FuzzExecutorRecord(f *testing.F) { fuzzFile(f, "executors/xe/executor.json") }
func FuzzIdentity(f *testing.F)       { fuzzFile(f, "identity.json") }
func FuzzSetting(f *testing.F)        { fuzzFile(f, "server.json") }

// invalidValues are records with invalid values. fuzzFile adds valid checksums to them.
var invalidValues = map[string][]string{
	"journal":       {`[]`, `null`, `[null]`, `[{}]`, `[{"step":"ended"}]`, `[{"step":"handed-out","executor":"../..","jobNumber":-1}]`, `[{"step":"log-ended","size":-9}]`, `{"step":1}`},
	"job.json":      {`{}`, `null`, `{"job":{"executionId":"../../x"},"input":{"size":-1}}`, `{"input":{"size":9223372036854775807,"crc32c":0}}`},
	"result":        {`{}`, `{"body":{"size":-5}}`, `{"exitCode":1e99}`, `{"body":{"size":9223372036854775807}}`},
	"log.pos":       {`{"n":18446744073709551615,"from":-3,"size":2}`, `{"n":9,"from":9,"size":3}`, `{"n":7,"from":0,"size":9223372036854775807}`},
	"executor.json": {`{}`, `null`, `[]`, `{"id":"xe","job":"finished"}`, `{"id":"other"}`, `{"id":"xe","job":"reserved","before":"reserved"}`},
}

func fuzzFile(f *testing.F, name string) {
	files := memfs.New()
	filledSpool(f, files)
	ok(f, files.Close())
	ok(f, files.SyncAll())
	want := parts(reopenedState(f, files))
	written := contentOf(f, files, name)
	for _, seed := range [][]byte{written, nil, {}, []byte("\n"), written[:len(written)/2], append(bytes.Clone(written), written...),
		bytes.ReplaceAll(written, []byte("\n"), nil), bytes.Repeat([]byte{0}, 600), []byte("99999999999999999999999\n")} {
		f.Add(seed, false)
	}
	for _, invalid := range invalidValues[path.Base(name)] {
		f.Add([]byte(invalid+"\n"), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, addChecksums bool) {
		if addChecksums {
			content = withChecksums(content)
		}
		copied := damaged(t, files, name, func(f spool.File) error {
			if err := f.Truncate(0); err != nil || len(content) == 0 {
				return err
			}
			_, err := f.WriteAt(content, 0)
			return err
		})
		st := reopenedState(t, copied)
		for part, is := range parts(st) {
			if was := want[part]; part != owner(name) && was != nil && !reflect.DeepEqual(is, was) && !mayChange(name, part) {
				t.Errorf("%s has changed to %+v", part, is)
			}
		}
		ok(t, differ(reopenedState(t, copied), st))
	})
}

// mayChange reports whether a change of the file name may change another part: a valid record of a job may change an executor's, and
// vice versa.
func mayChange(name, part string) bool {
	dir := path.Dir(path.Dir(name))
	return dir == "jobs" && path.Dir(part) == "executors" || dir == "executors" && path.Dir(part) == "jobs"
}

// withChecksums adds the valid checksum to every line.
func withChecksums(content []byte) (all []byte) {
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
