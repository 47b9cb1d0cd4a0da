package docker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

func TestReadingResumesWithRacingStreams(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "both-streams", ""))
	whole := e.log(t, id, msg.Position{})
	if len(whole) != 600 {
		t.Fatalf("%d entries, want 600", len(whole))
	}
	var at msg.Position
	for i, entry := range whole {
		if entry.Time.Before(at.Time) {
			t.Fatalf("entry %d is stamped %v, before %v", i, entry.Time, at.Time)
		}
		if !entry.Time.Equal(at.Time) {
			at = msg.Position{Time: entry.Time}
		}
		at.Count++
		if i%7 > 0 && i < len(whole)-1 {
			continue // a call of Logs for each entry would take too long
		}
		got, want := textOf(e.log(t, id, at)), textOf(whole[i+1:])
		if got != want {
			t.Fatalf("from %+v behind entry %d: got %d bytes, want %d", at, i, len(got), len(want))
		}
	}
}

func TestLogIsCompleteDespiteRotationWhileReading(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.runWithLogFiles(t, "80000", "32m", "8")
	lines, rest := 0, ""
	check(t, e.driver.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		rest += textOf(batch)
		for {
			line, more, whole := strings.Cut(rest, "\n")
			if !whole {
				return nil
			}
			if want := fmt.Sprintf("%0999d", lines); line != want {
				return fmt.Errorf("line %d is %q", lines, strings.TrimLeft(line, "0"))
			}
			lines, rest = lines+1, more
		}
	}))
	if lines != 80_000 || rest != "" {
		t.Errorf("%d lines and %d bytes", lines, len(rest))
	}
}

func TestLogReportsDiscardedOutput(t *testing.T) {
	t.Parallel()
	e := engine(t)
	// The reader waits until everything is written. Filling a file takes longer than minFileFillTime, as for a real executor.
	id := e.runWithLogFiles(t, "50000", "16m", "2")
	var text strings.Builder
	check(t, e.driver.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		if len(batch) > 0 && text.Len() == 0 {
			if _, err := e.driver.Wait(t.Context(), id); err != nil {
				return err
			}
		}
		text.WriteString(textOf(batch))
		return nil
	}))
	read, lost := 0, 0
	next := -1 // output discarded before the first read cannot be detected
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "runnerd: output is missing ") {
			lost, next = lost+1, -1
			continue
		}
		var number int
		_, err := fmt.Sscanf(line, "%d", &number)
		check(t, err)
		if next >= 0 && number != next {
			t.Fatalf("line %d is followed by %d without a report", next-1, number)
		}
		read, next = read+1, number+1
	}
	if read == 50_000 || lost == 0 || next != 50_000 {
		t.Errorf("%d lines, %d reports of missing output, last line %d", read, lost, next-1)
	}
}

// An engine that rotates the file while the stream is opened may wait at the end of the old file.
func TestStreamSilentAfterMuchOutputIsReopened(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "long-log", "3000"))
	p := newProxy(t, e.engine.DaemonHost(), nil)
	p.stallAfter.Store(3 << 19)
	lines := 0
	check(t, driverAt(t, p.host, e.runner).Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		lines += strings.Count(textOf(batch), "\n")
		return nil
	}))
	if lines != 3000 {
		t.Errorf("%d lines, want 3000", lines)
	}
}

// runWithLogFiles runs a program that writes lines, with the given number and size of log files. The driver finds it by its labels.
func (e *env) runWithLogFiles(t *testing.T, lines, size, files string) msg.ExecutorID {
	t.Helper()
	spec := e.spec(t, "long-log", lines)
	_, err := e.engine.ContainerCreate(t.Context(), &container.Config{
		Image: string(spec.Image), Env: []string{"DO=long-log", "ARG=" + lines},
		Labels: map[string]string{"runnerd.runner": e.runner, "runnerd.executor": string(spec.ID)},
	}, &container.HostConfig{
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": size, "max-file": files}},
	}, nil, nil, e.container(spec.ID))
	check(t, err)
	return e.run(t, spec)
}

func (e *env) log(t *testing.T, id msg.ExecutorID, from msg.Position) (log []msg.LogEntry) {
	t.Helper()
	check(t, e.driver.Logs(t.Context(), id, from, func(batch []msg.LogEntry) error {
		log = append(log, batch...)
		return nil
	}))
	return log
}

func textOf(log []msg.LogEntry) string {
	var text strings.Builder
	for _, e := range log {
		text.Write(e.Text)
	}
	return text.String()
}
