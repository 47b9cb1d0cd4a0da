package spool_test

import (
	"bytes"
	"fmt"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
)

// The benchmarks use the disk of the temporary directory and measure its fsync.

func benchSpool(b *testing.B) *spool.Spool {
	files, err := spool.Dir(b.TempDir())
	ok(b, err)
	s, err := spool.Open(files, spool.Options{})
	ok(b, err)
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func benchJobs(b *testing.B, s *spool.Spool) []msg.ExecutionID {
	ids := make([]msg.ExecutionID, b.N)
	for n := range ids {
		ids[n] = msg.ExecutionID(fmt.Sprintf("job-%d", n))
		ok(b, s.Add(offer(ids[n])))
	}
	return ids
}

// BenchmarkAdd adds a job after another one was removed, as a busy runner does.
func BenchmarkAdd(b *testing.B) {
	s := benchSpool(b)
	for n := range b.N {
		id := msg.ExecutionID(fmt.Sprintf("job-%d", n))
		ok(b, s.Add(offer(id)))
		b.StopTimer()
		ok(b, s.Remove(id))
		b.StartTimer()
	}
}

func BenchmarkRemove(b *testing.B) {
	s := benchSpool(b)
	ids := benchJobs(b, s)
	b.ResetTimer()
	for _, id := range ids {
		ok(b, s.Remove(id))
	}
}

func BenchmarkHandOut(b *testing.B) {
	s := benchSpool(b)
	ids := benchJobs(b, s)
	for n := range ids {
		ok(b, s.CreateExecutor(msg.ExecutorRecord{ID: msg.ExecutorID(fmt.Sprintf("ex%d", n))}, nil))
	}
	b.ResetTimer()
	for n, id := range ids {
		ok(b, s.HandOut(msg.HandOut{Execution: id, Executor: msg.ExecutorID(fmt.Sprintf("ex%d", n)), From: noon}))
	}
}

func BenchmarkStoreResult(b *testing.B) {
	s := benchSpool(b)
	ids := benchJobs(b, s)
	body := bytes.Repeat([]byte("r"), 2000)
	b.ResetTimer()
	for _, id := range ids {
		_, err := s.StoreResult(id, msg.Result{Body: body})
		ok(b, err)
	}
}

func BenchmarkAppendLog(b *testing.B) {
	s := benchSpool(b)
	ok(b, s.Add(offer(execution)))
	text := bytes.Repeat([]byte("a line\n"), 100)
	b.ResetTimer()
	for n := range b.N {
		ok(b, s.AppendLog(execution, text, msg.Position{Time: noon, Count: n}))
	}
}
