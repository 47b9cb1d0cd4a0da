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
	dirEntries, err := files.ReadDir(dir)
	ok(t, err)
	for _, e := range dirEntries {
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

// damaged returns a copy of a spool with one changed file.
func damaged(t testing.TB, files *memfs.FS, name string, damage func(spool.File) error) *memfs.FS {
	t.Helper()
	copied := files.Crash(func() bool { return true })
	f, err := copied.Open(name)
	ok(t, err)
	ok(t, damage(f))
	return copied
}

// parts splits a state by owner: the directory of a job or executor, or a file.
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

// checkDamaged opens a damaged spool and checks that only the owner of the file has changed, and only if that is listed as a problem or
// allowed by maybe. If again, it checks that a second Open returns the same state.
func checkDamaged(t *testing.T, files *memfs.FS, want state, file, what string, again bool, maybe func(was, is any) bool) {
	t.Helper()
	s, err := reopen(files)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	st, err := stateOf(s)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	was, is, damagedPart := parts(want), parts(st), owner(file)
	for name := range was {
		if name != damagedPart && !reflect.DeepEqual(was[name], is[name]) {
			t.Fatalf("%s changes %s: (-want +got)\n%s", what, name, cmp.Diff(was[name], is[name]))
		}
	}
	listed := false
	for _, p := range s.Problems() {
		listed = listed || owner(p.Name) == damagedPart
		if p.Quarantined != "" {
			if _, err := files.ReadDir(path.Dir(p.Quarantined)); err != nil {
				t.Fatalf("%s: not quarantined in %s: %v", what, p.Quarantined, err)
			}
		}
	}
	if !listed && !reflect.DeepEqual(was[damagedPart], is[damagedPart]) && !maybe(was[damagedPart], is[damagedPart]) {
		t.Fatalf("%s is not detected: (-want +got)\n%s", what, cmp.Diff(was[damagedPart], is[damagedPart]))
	}
	ok(t, files.Close())
	if again {
		ok(t, differ(reopenedState(t, files), st))
	}
}

// allowsRereading allows changes that need no Problem: the server says how much of the log it has, a damaged end of the log is read
// again from the executor's output, and an older line of an executor's record may count, into which the job is restored.
func allowsRereading(was, is any) bool {
	switch was := was.(type) {
	case jobPart:
		is, here := is.(jobPart)
		fewer := here && is.Rec.Log.Size <= was.Rec.Log.Size && strings.HasPrefix(was.Log, is.Log) && !was.Rec.Log.Closed
		is.Rec.Log.Size, is.Rec.Log.Resume, is.Rec.Log.Acked, is.Log = was.Rec.Log.Size, was.Rec.Log.Resume, was.Rec.Log.Acked, was.Log
		return (fewer || is.Rec.Log.Size == was.Rec.Log.Size) && reflect.DeepEqual(is, was)
	case msg.ExecutorRecord:
		is, here := is.(msg.ExecutorRecord)
		return here && is.Job == was.Job && is.Created.Equal(was.Created)
	}
	return false
}

// raceEnabled is true if the race detector is on, which makes everything ten times slower. Then some tests skip cases;
// `go tool task test` also runs them without the race detector.
var raceEnabled bool

// stride returns the distance in bytes between two damaged bytes.
func stride() int64 {
	if raceEnabled {
		return 31
	}
	return 1
}

func TestFlippedByteIsDetectedOrHarmless(t *testing.T) {
	t.Parallel()
	files := memfs.New()
	filledSpool(t, files)
	ok(t, files.Close())
	ok(t, files.SyncAll())
	want := reopenedState(t, files)
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
			checkDamaged(t, copied, want, name, fmt.Sprintf("bit %08b of byte %d of %s", bit, at, name), at%4 == 0, allowsRereading)
			flipped++
		}
	})
	if flipped < 5_000/int(stride()) {
		t.Fatalf("the spool has only %d bytes", flipped)
	}
}

func TestTruncatedFileIsDetectedOrHarmless(t *testing.T) {
	t.Parallel()
	files := memfs.New()
	filledSpool(t, files)
	ok(t, files.Close())
	ok(t, files.SyncAll())
	want := reopenedState(t, files)
	eachFile(t, files, ".", func(name string, size int64) {
		// Undetectable: steps missing at the end of a journal, except the hand-out, and an empty result file.
		maybe := func(was, is any) bool {
			job, isJob := was.(jobPart)
			now, here := is.(jobPart)
			if isJob && here && path.Base(name) == "journal" {
				return now.Rec.Stage < job.Rec.Stage && (job.Rec.Stage < msg.HandedOut || job.Rec.Executor == "" || now.Rec.Stage >= msg.HandedOut)
			}
			return isJob && here && path.Base(name) == "result" && !now.Rec.HasResult || allowsRereading(was, is)
		}
		for length := int64(0); length < size; length += stride() {
			copied := damaged(t, files, name, func(f spool.File) error { return f.Truncate(length) })
			checkDamaged(t, copied, want, name, fmt.Sprintf("%s, cut from %d to %d bytes", name, size, length), length%4 == 0, maybe)
		}
	})
}
