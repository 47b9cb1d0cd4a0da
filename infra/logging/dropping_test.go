package logging

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestUnreadPipeDropsLinesAndNeverBlocks(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewDroppingWriter(writer, "json")
	if err != nil {
		t.Fatal(err)
	}
	log, err := New(w, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	const count = 50_000 // far more than the queue and the pipe take
	for n := range count {
		log.Info().Int("n", n).Msg("line")
	}
	if err := w.Close(); err != nil { // does not wait for a reader
		t.Fatal(err)
	}
	var got, dropped int
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(reader); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	for line := range lines {
		if _, rest, ok := strings.Cut(line, `"lines":`); ok {
			number, _, _ := strings.Cut(rest, ",")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			dropped += n
		} else {
			got++
		}
		if got+dropped == count {
			_ = writer.Close()
		}
	}
	if dropped == 0 || got < queuedLines || got+dropped != count {
		t.Errorf("%d lines are read and %d dropped, of %d", got, dropped, count)
	}
}

func TestCloseWritesQueuedLines(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewDroppingWriter(file, "json")
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		_, _ = w.Write([]byte("line\n"))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil || strings.Count(string(text), "\n") != 1000 {
		t.Errorf("%d bytes, error %v", len(text), err)
	}
}
