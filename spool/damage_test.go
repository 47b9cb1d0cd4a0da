package spool_test

import (
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// eachFile calls do for every file below a directory.
func eachFile(t *testing.T, files *memfs.FS, dir string, do func(name string, size int64)) {
	t.Helper()
	entries, err := files.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			eachFile(t, files, name, do)
			continue
		}
		info, err := e.Info()
		ok(t, err)
		do(name, info.Size())
	}
}

// damaged is a copy of a spool in which one file is not as it was.
func damaged(t testing.TB, files *memfs.FS, name string, harm func(spool.File) error) *memfs.FS {
	t.Helper()
	copied := files.Crash(func() bool { return true })
	f, err := copied.Open(name)
	ok(t, err)
	ok(t, harm(f))
	return copied
}

// parts are a state by what each piece of it belongs to: the directory of a job or executor, or a file.
func parts(st state) map[string]any {
	all := map[string]any{"server.json": st.Server, "identity": st.Identity}
	for n, rec := range st.Jobs {
		all["jobs/"+string(rec.Execution)] = jobPart{rec, st.Inputs[n], st.Results[n], st.Logs[n]}
	}
	for _, e := range st.Executors {
		all["executors/"+string(e.ID)] = e
	}
	return all
}

type jobPart struct {
	Rec                msg.JobRecord
	Input, Result, Log string
}

func owner(file string) string {
	if dir, rest, found := strings.Cut(file, "/"); found {
		name, _, _ := strings.Cut(rest, "/")
		return dir + "/" + name
	}
	if strings.HasPrefix(file, "identity") {
		return "identity"
	}
	return file
}

// examine opens a damaged spool: all that the file does not belong to is as it was, and what it belongs to is as it was, or is listed,
// or may be so. What is opened again is no different.
func examine(t *testing.T, files *memfs.FS, want state, file, what string, again bool, maybe func(was, is any) bool) {
	t.Helper()
	s, err := reopen(files)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	st, err := look(s)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	was, is, hit := parts(want), parts(st), owner(file)
	for name := range was {
		if name != hit && !reflect.DeepEqual(was[name], is[name]) {
			t.Fatalf("%s changes %s: (-want +got)\n%s", what, name, cmp.Diff(was[name], is[name]))
		}
	}
	listed := false
	for _, p := range s.Problems() {
		listed = listed || owner(p.Name) == hit
		if p.Kept != "" {
			if _, err := files.ReadDir(path.Dir(p.Kept)); err != nil {
				t.Fatalf("%s: it is not kept in %s: %v", what, p.Kept, err)
			}
		}
	}
	if !listed && !reflect.DeepEqual(was[hit], is[hit]) && !maybe(was[hit], is[hit]) {
		t.Fatalf("%s is not noticed: (-want +got)\n%s", what, cmp.Diff(was[hit], is[hit]))
	}
	ok(t, files.Close())
	if again {
		ok(t, differ(shown(t, files), st))
	}
}

// readAgain allows what needs no alarm: the server says how much of the log it has, and reading the executor's output goes on
// before a piece that is damaged; of an executor's record an older line is found, in which the job is given back.
func readAgain(was, is any) bool {
	switch was := was.(type) {
	case jobPart:
		is, here := is.(jobPart)
		fewer := here && is.Rec.Log.Size <= was.Rec.Log.Size && strings.HasPrefix(was.Log, is.Log) && !was.Rec.Log.Ended
		is.Rec.Log.Size, is.Rec.Log.Resume, is.Rec.Log.Acked, is.Log = was.Rec.Log.Size, was.Rec.Log.Resume, was.Rec.Log.Acked, was.Log
		return (fewer || is.Rec.Log.Size == was.Rec.Log.Size) && reflect.DeepEqual(is, was)
	case msg.ExecutorRecord:
		is, here := is.(msg.ExecutorRecord)
		return here && is.Job == was.Job && is.Created.Equal(was.Created)
	}
	return false
}

// raced says that the race detector is on, with which all costs ten times as much. Then some of the tables have not every row;
// `go tool task test` runs them without it too.
var raced bool

// stride is the distance between two bytes that are damaged.
func stride() int64 {
	if raced {
		return 31
	}
	return 1
}

func TestAFlippedByteAnywhereIsNoticedOrDoesNotMatter(t *testing.T) {
	t.Parallel()
	files := memfs.New()
	full(t, files)
	ok(t, files.Close())
	ok(t, files.SyncAll())
	want := shown(t, files)
	flipped := 0
	eachFile(t, files, ".", func(name string, size int64) {
		for at := int64(0); at < size; at += stride() {
			bit := byte(1) << (at % 8)
			copied := damaged(t, files, name, func(f spool.File) error {
				b := make([]byte, 1)
				if _, err := f.ReadAt(b, at); err != nil {
					return err
				}
				b[0] ^= bit
				_, err := f.WriteAt(b, at)
				return err
			})
			examine(t, copied, want, name, fmt.Sprintf("bit %08b of byte %d of %s", bit, at, name), at%4 == 0, readAgain)
			flipped++
		}
	})
	if flipped < 5_000/int(stride()) {
		t.Fatalf("the spool has only %d bytes", flipped)
	}
}

func TestAFileThatIsCutAnywhereIsNoticedOrDoesNotMatter(t *testing.T) {
	t.Parallel()
	files := memfs.New()
	full(t, files)
	ok(t, files.Close())
	ok(t, files.SyncAll())
	want := shown(t, files)
	eachFile(t, files, ".", func(name string, size int64) {
		// What nothing else tells of: steps at the end of a journal, but for the hand-out, and a result that is not there at all.
		maybe := func(was, is any) bool {
			job, isJob := was.(jobPart)
			now, here := is.(jobPart)
			if isJob && here && path.Base(name) == "journal" {
				return now.Rec.Stage < job.Rec.Stage && (job.Rec.Stage < msg.HandedOut || job.Rec.Executor == "" || now.Rec.Stage >= msg.HandedOut)
			}
			return isJob && here && path.Base(name) == "result" && !now.Rec.HasResult || readAgain(was, is)
		}
		for length := int64(0); length < size; length += stride() {
			copied := damaged(t, files, name, func(f spool.File) error { return f.Truncate(length) })
			examine(t, copied, want, name, fmt.Sprintf("%s, cut from %d to %d bytes", name, size, length), length%4 == 0, maybe)
		}
	})
}
