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

// hydrant is an engine with one container, which has ended and whose output is the same words over and over.
type hydrant struct {
	words []byte
	size  int64 // of all output
	seen  func()
}

// ServeHTTP sends the output as an engine does: in pieces of 16 KiB, each with a header and a stamp, and once.
func (h *hydrant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const labels = `{"runnerd.runner":"11111111-1111-1111-1111-111111111111","runnerd.executor":"executor"}`
	switch {
	case strings.HasSuffix(r.URL.Path, "/json"):
		w.Header().Set("Content-Type", "application/json")
		about := `{"Id":"c","Labels":` + labels + `,"State":{"Status":"exited"},"Config":{"Labels":` + labels + `}}`
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			about = "[" + strings.Replace(about, `"State":{"Status":"exited"}`, `"State":"exited"`, 1) + "]"
		}
		_, _ = io.WriteString(w, about)
		return
	case !strings.HasSuffix(r.URL.Path, "/logs") || r.URL.Query().Get("since") != "":
		return
	}
	const piece = 16 << 10
	text := bytes.Repeat(h.words, 2*piece/len(h.words))
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for sent := int64(0); sent < h.size; {
		n := min(piece, h.size-sent)
		from := sent % int64(len(h.words))
		frame := append([]byte{2, 0, 0, 0, 0, 0, 0, 0}, at.Format("2006-01-02T15:04:05.000000000Z ")...)
		frame = append(frame, text[from:from+n]...)
		binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-8))
		if _, err := w.Write(frame); err != nil {
			return
		}
		at, sent = at.Add(time.Microsecond), sent+n
		if h.seen != nil && sent%(8<<20) < n {
			h.seen()
		}
	}
}

// pour lets the output of an engine run through the driver, the logbook, the filter and into a spool on disk. It returns
// so many bytes of the log's end, and how long that is.
func pour(t *testing.T, h *hydrant, limit int64, last int) (end string, size int64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // the test's own has a name that may be too long for a socket
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
	kept, err := spool.Open(files, spool.Options{})
	noError(t, err)
	t.Cleanup(func() { noError(t, kept.Close()) })
	noError(t, kept.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: "job"}}))

	logs := &logAttributor{spool: kept, limit: limit, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	logs.open("job", time.Time{}, []msg.Secret{"hunter2", "swordfish"})
	noError(t, drv.Logs(t.Context(), "executor", logs.rewind(), func(entries []msg.LogEntry) error {
		_, _, err := logs.write(entries)
		return err
	}))
	noError(t, logs.close("job"))
	rec, _ := kept.Job("job")
	text, err := kept.ReadLog("job", max(0, rec.Log.Size-int64(last)), last)
	noError(t, err)
	return string(text), rec.Log.Size
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raced says that the race detector is on, with which all takes ten times as long. `go tool task test` runs what is skipped then
// without it.
var raced bool

func TestAGibibyteOfOutputWithoutANewlineTakesNoMemoryAndIsCut(t *testing.T) {
	if raced {
		t.Skip("nothing here runs at the same time")
	}
	const most = 64 << 20 // as much as the collector lets lie on a busy machine
	words := "no line \x00 no text \xff\xfe no ##[start: comment] end "
	const size = int64(1 << 30)
	kept := size / 4 // what is more is not filtered

	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	samples := 0
	end, all := pour(t, &hydrant{words: []byte(words), size: size, seen: func() {
		runtime.ReadMemStats(&now)
		peak, samples = max(peak, now.HeapAlloc), samples+1
	}}, kept, 200)
	if samples < int(size>>23) || peak > before.HeapAlloc+most {
		t.Errorf("%d MiB in use at the highest of %d times, %d MiB before", peak>>20, samples, before.HeapAlloc>>20)
	}
	text, marker, _ := strings.Cut(end, "\n… the log ends here")
	if n := all - int64(len(end)-len(text)); n < kept-1<<20 || n > kept || !strings.HasPrefix(marker, fmt.Sprintf(": of a job's log this runner keeps %d bytes\n", kept)) {
		t.Errorf("of the log there are %d bytes, and then %q", n, marker)
	}
}

func TestOutputThatIsNoTextIsKeptToTheByte(t *testing.T) {
	words := "no line \x00 no text \xff\xfe and hunter2, "
	want := "2026-01-01T00:00:00.000Z " + strings.ReplaceAll(strings.Repeat(words, 40_000), "hunter2", "********")
	if got, all := pour(t, &hydrant{words: []byte(words), size: int64(len(words) * 40_000)}, 0, len(want)); got != want || all != int64(len(want)) {
		t.Errorf("%d bytes are kept of %d, or others", all, len(want))
	}
}

// counting is a filter that counts what it is given.
type counting struct {
	clear
	bytes *int
}

func (c counting) Write(p []byte, _ time.Time) []byte { *c.bytes += len(p); return p }

func TestWhatIsNotKeptIsNotFilteredEither(t *testing.T) {
	kept, err := spool.Open(memfs.New(), spool.Options{})
	noError(t, err)
	noError(t, kept.Add(msg.Offer{Job: msg.Job{ID: "job", Execution: "job"}}))
	filtered := 0
	logs := &logAttributor{spool: kept, limit: 100, newFilter: func([]msg.Secret, bool) Filter { return counting{bytes: &filtered} }}
	logs.open("job", time.Time{}, nil)
	for n := range 1000 {
		_, _, err := logs.write([]msg.LogEntry{{Time: time.Unix(int64(n), 0), Text: []byte("ten bytes\n")}})
		noError(t, err)
	}
	noError(t, logs.close("job"))
	if filtered < 100 || filtered > 130 {
		t.Errorf("%d bytes were filtered, and 100 are kept", filtered)
	}
}

func TestALogThatIsTooLongEndsWithAWholeCharacter(t *testing.T) {
	for text, want := range map[string]string{
		"äääää":                    "äää",
		"1234567 and more":         "1234567",
		strings.Repeat("\x80", 10): strings.Repeat("\x80", 7), // of none
	} {
		store := &shelf{logs: map[msg.ExecutionID]string{}}
		logs := &logAttributor{spool: store, limit: 7, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
		logs.open("job", time.Time{}, nil)
		_, _, err := logs.write([]msg.LogEntry{{Time: time.Unix(1, 0), Text: []byte(text)}})
		noError(t, err)
		if got, _, _ := strings.Cut(store.logs["job"], "\n… the log ends here"); got != want {
			t.Errorf("of %q it keeps %q, want %q", text, got, want)
		}
	}
}
