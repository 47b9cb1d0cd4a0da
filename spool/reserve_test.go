package spool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

const (
	lowWater = 64 << 10
	reserve  = 128 << 10
)

func openWithReserve(t *testing.T, files spool.FS) *spool.Spool {
	t.Helper()
	s, err := spool.Open(files, spool.Options{LowWater: lowWater, Reserve: reserve})
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestResultsAndStepsUseReserveOnFullDisk(t *testing.T) {
	inMemory := func(full syscall.Errno) func(*testing.T) (func() spool.FS, func(), func()) {
		return func(*testing.T) (func() spool.FS, func(), func()) {
			files := memfs.New()
			files.Space, files.Full = 1<<20, full
			return func() spool.FS { return files }, func() { files.Space = 0 }, func() { files.Space = 1 << 20 }
		}
	}
	for name, c := range map[string]func(t *testing.T) (files func() spool.FS, fill, clear func()){
		"in memory":               inMemory(syscall.ENOSPC),
		"in memory, with a quota": inMemory(syscall.EDQUOT),
		"tmpfs": func(t *testing.T) (func() spool.FS, func(), func()) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Skip("a small file system cannot be mounted: ", err)
			}
			t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
			files := func() spool.FS {
				files, err := spool.Dir(filepath.Join(dir, "spool"))
				ok(t, err)
				return files
			}
			others := filepath.Join(dir, "others")
			fill := func() {
				f, err := os.Create(others)
				ok(t, err)
				for err == nil {
					_, err = f.Write(make([]byte, 4096))
				}
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				ok(t, f.Close())
			}
			return files, fill, func() { ok(t, os.Remove(others)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, fill, clear := c(t)
			s := withJob(t, openWithReserve(t, files()))
			ok(t, s.Add(offer("second")))
			fill()

			if err := s.Add(offer("third")); !errors.Is(err, spool.ErrLowSpace) {
				t.Fatalf("Add on a full disk: %v", err)
			}
			if err := s.AppendLog(execution, []byte(strings.Repeat("x", 20<<10)), msg.Position{Time: noon, Count: 1}); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
				t.Fatalf("AppendLog on a full disk: %v", err)
			}
			body := strings.Repeat("r", 50<<10)
			same(t, stored(t, s, body), true)
			ok(t, s.Abort("second", "enough"))
			if err := s.CheckSpace(); !errors.Is(err, spool.ErrLowSpace) {
				t.Fatalf("CheckSpace on a full disk: %v", err)
			}

			clear()
			ok(t, s.CheckSpace()) // restores the reserve
			fill()
			_, err := s.StoreResult("second", msg.Result{Body: []byte(body)})
			ok(t, err)
			ok(t, s.Close())
			s = openWithReserve(t, files())
			for _, id := range []msg.ExecutionID{execution, "second"} {
				got, err := s.Result(id)
				ok(t, err)
				same(t, len(got), len(body))
			}
			same(t, len(s.Problems()), 0)
		})
	}
}

func TestReserveSurvivesRestart(t *testing.T) {
	files := memfs.New()
	files.Space = 1 << 20
	s := openWithReserve(t, files)
	free := files.Space
	for range 3 {
		ok(t, s.Close())
		s = openWithReserve(t, files)
		same(t, files.Space, free)
	}
	files.Space = 0
	ok(t, s.Close())
	s = openWithReserve(t, files)
	ok(t, s.Save(spool.Gateway, []byte(`{"port":1}`)))
	for space, enough := range map[uint64]bool{100: false, lowWater + 100: false, lowWater + reserve - 1: false, lowWater + reserve + 100: true} {
		files := memfs.New()
		files.Space = space
		if err := openWithReserve(t, files).CheckSpace(); enough != (err == nil) {
			t.Errorf("with %d bytes: %v", space, err)
		}
	}
}

func TestRequiredSpaceIncludesReleasedReserve(t *testing.T) {
	files := memfs.New()
	files.Space = lowWater + reserve - 1
	s := openWithReserve(t, files)
	same(t, s.RequiredSpace(), uint64(lowWater+reserve))
	if err := s.CheckSpace(); err == nil {
		t.Error("CheckSpace with too little space: no error")
	}
	files.Space = 1 << 20
	ok(t, s.CheckSpace())
	same(t, s.RequiredSpace(), uint64(lowWater))
}

func TestFreeInodesCountAsFreeSpace(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("nr_inodes=%d", spool.RequiredInodes+100)); err != nil {
		t.Skip("a file system with few inodes cannot be mounted: ", err)
	}
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := withJob(t, openDir(t, filepath.Join(dir, "spool")))
	ok(t, s.CheckSpace())
	others := filepath.Join(dir, "others")
	ok(t, os.Mkdir(others, 0o700))
	for n := range 100 {
		ok(t, os.WriteFile(filepath.Join(others, fmt.Sprint(n)), nil, 0o600))
	}
	for _, err := range []error{s.CheckSpace(), s.Add(offer("job-2"))} {
		if !errors.Is(err, spool.ErrLowSpace) || !strings.Contains(err.Error(), "inodes free") {
			t.Errorf("error %v", err)
		}
	}
	same(t, stored(t, s, "r"), true)
	ok(t, os.RemoveAll(others))
	ok(t, s.Add(offer("job-2")))
}
