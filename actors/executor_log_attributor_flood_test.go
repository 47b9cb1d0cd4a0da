package actors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"runnerd/infra/docker"
	"runnerd/infra/masking"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// logFlood is an engine with one exited container, whose output repeats the same words.
type logFlood struct {
	words      []byte
	size       int64 // of all output
	onProgress func()
}

// ServeHTTP sends the output once, as an engine does: in chunks of 16 KiB, each with a header and a timestamp.
func (h *logFlood) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const labels = `{"runnerd.runner":"11111111-1111-1111-1111-111111111111","runnerd.executor":"executor"}`
	switch {
	case strings.HasSuffix(r.URL.Path, "/json"):
		w.Header().Set("Content-Type", "application/json")
		body := `{"Id":"c","Labels":` + labels + `,"State":{"Status":"exited"},"Config":{"Labels":` + labels + `}}`
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			body = "[" + strings.Replace(body, `"State":{"Status":"exited"}`, `"State":"exited"`, 1) + "]"
		}
		_, _ = io.WriteString(w, body)
		return
	case !strings.HasSuffix(r.URL.Path, "/logs") || r.URL.Query().Get("since") != "":
		return
	}
	const chunk = 16 << 10
	text := bytes.Repeat(h.words, 2*chunk/len(h.words))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for sent := int64(0); sent < h.size; {
		n := min(chunk, h.size-sent)
		from := sent % int64(len(h.words))
		frame := append([]byte{2, 0, 0, 0, 0, 0, 0, 0}, at.Format("2006-01-02T15:04:05.000000000Z ")...)
		frame = append(frame, text[from:from+n]...)
		binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-8))
		if _, err := w.Write(frame); err != nil {
			return
		}
		at, sent = at.Add(time.Microsecond), sent+n
		if h.onProgress != nil && sent%(8<<20) < n {
			h.onProgress()
		}
	}
}

// readFlood reads the engine's output through the driver, the attributor and the filter into a spool on disk. It returns the last bytes of
// the log, and its size.
func readFlood(t *testing.T, h *logFlood, limit int64, last int) (end string, size int64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // t.TempDir may be too long for a socket's path
	noError(t, err)
	t.Cleanup(func() { noError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	noError(t, err)
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(listener) }() // ends with the test
	t.Cleanup(func() { noError(t, server.Close()) })
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	drv, err := docker.New(docker.Options{RunnerID: "11111111-1111-1111-1111-111111111111"})
	noError(t, err)
	t.Cleanup(func() { noError(t, drv.Close()) })

	files, err := spool.Dir(t.TempDir())
	noError(t, err)
	store, err := spool.Open(files, spool.Options{})
	noError(t, err)
	t.Cleanup(func() { noError(t, store.Close()) })
	noError(t, store.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: "job"}}))

	logs := &logAttributor{spool: store, limit: limit, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	logs.open("job", time.Time{}, []msg.Secret{"hunter2", "swordfish"})
	noError(t, drv.Logs(t.Context(), "executor", logs.rewind(), func(entries []msg.LogEntry) error {
		_, _, err := logs.write(entries)
		return err
	}))
	noError(t, logs.close("job"))
	rec, _ := store.Job("job")
	text, err := store.ReadLog("job", max(0, rec.Log.Size-int64(last)), last)
	noError(t, err)
	return string(text), rec.Log.Size
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raceEnabled reports whether the race detector is on. It makes everything ten times slower, so the tests below are skipped with it;
// `go tool task test` also runs them without it.
var raceEnabled bool

func TestGibibyteWithoutNewlineIsTruncatedInBoundedMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("too slow with the race detector")
	}
	const maxGrowth = 64 << 20 // garbage that the collector may leave on a busy machine
	words := "no line \x00 no text \xff\xfe no ##[start: comment] end "
	const size = int64(1 << 30)
	limit := size / 4 // the rest is not filtered

	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	samples := 0
	end, all := readFlood(t, &logFlood{words: []byte(words), size: size, onProgress: func() {
		runtime.ReadMemStats(&now)
		peak, samples = max(peak, now.HeapAlloc), samples+1
	}}, limit, 200)
	if samples < int(size>>23) || peak > before.HeapAlloc+maxGrowth {
		t.Errorf("peak heap %d MiB in %d samples, %d MiB before", peak>>20, samples, before.HeapAlloc>>20)
	}
	text, marker, _ := strings.Cut(end, "\n… log truncated")
	if n := all - int64(len(end)-len(text)); n < limit-1<<20 || n > limit || !strings.HasPrefix(marker, fmt.Sprintf(": the limit is %d bytes, see --max-log\n", limit)) {
		t.Errorf("the log has %d bytes, followed by %q", n, marker)
	}
}

func TestBinaryOutputIsStoredByteForByte(t *testing.T) {
	words := "no line \x00 no text \xff\xfe and hunter2, "
	want := "2026-01-01T00:00:00.000Z " + strings.ReplaceAll(strings.Repeat(words, 40_000), "hunter2", "********")
	if got, all := readFlood(t, &logFlood{words: []byte(words), size: int64(len(words) * 40_000)}, 0, len(want)); got != want || all != int64(len(want)) {
		t.Errorf("stored %d bytes, want %d with the same content", all, len(want))
	}
}

// countingFilter is a filter that counts the bytes that it receives.
type countingFilter struct {
	passThrough
	bytes *int
}

func (c countingFilter) Write(p []byte, _ time.Time) []byte { *c.bytes += len(p); return p }

func TestTruncatedOutputIsNotFiltered(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	noError(t, err)
	noError(t, store.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: "job"}}))
	filtered := 0
	logs := &logAttributor{spool: store, limit: 100, newFilter: func([]msg.Secret, bool) Filter { return countingFilter{bytes: &filtered} }}
	logs.open("job", time.Time{}, nil)
	for n := range 1000 {
		_, _, err := logs.write([]msg.LogEntry{{Time: time.Unix(int64(n), 0), Text: []byte("ten bytes\n")}})
		noError(t, err)
	}
	noError(t, logs.close("job"))
	if filtered < 100 || filtered > 130 {
		t.Errorf("filtered %d bytes, want little more than the 100 that are stored", filtered)
	}
}

func TestTruncatedLogEndsWithWholeCharacter(t *testing.T) {
	for text, want := range map[string]string{
		"äääää":                    "äää",
		"1234567 and more":         "1234567",
		strings.Repeat("\x80", 10): strings.Repeat("\x80", 7), // not valid UTF-8
	} {
		store := &logSpool{logs: map[msg.ExecutionID]string{}}
		logs := &logAttributor{spool: store, limit: 7, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
		logs.open("job", time.Time{}, nil)
		_, _, err := logs.write([]msg.LogEntry{{Time: time.Unix(1, 0), Text: []byte(text)}})
		noError(t, err)
		if got, _, _ := strings.Cut(store.logs["job"], "\n… log truncated"); got != want {
			t.Errorf("%q is truncated to %q, want %q", text, got, want)
		}
	}
}
