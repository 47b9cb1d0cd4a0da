package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"runnerd/infra/driver"
	"runnerd/infra/driver/drivertest"
	msg "runnerd/messages"
)

// The plugin of these tests is the test's own binary.
const (
	behaviorVar       = "TEST_BEHAVIOR"
	printsEnvironment = drivertest.Behavior("environment")
	leavesChild       = drivertest.Behavior("leaves a child")
	actsAsRunner      = drivertest.Behavior("is a runner")
)

func TestMain(m *testing.M) {
	if does := drivertest.Behavior(os.Getenv(behaviorVar)); does != "" {
		os.Exit(plugin(does))
	}
	goleak.VerifyTestMain(m)
}

func plugin(does drivertest.Behavior) int {
	switch does {
	case drivertest.Exits:
		fmt.Print("one\ntwo\nthree\n")
		return 7
	case drivertest.Waits, drivertest.IgnoresSignals:
		return wait(does == drivertest.IgnoresSignals)
	case drivertest.Floods:
		for i := range 2000 {
			fmt.Printf("line %d\n", i)
		}
	case drivertest.LongLine:
		fmt.Println(strings.Repeat("x", 40_000))
	case printsEnvironment:
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case leavesChild:
		self, _ := os.Executable()
		child := exec.Command(self)
		child.Env = append(os.Environ(), behaviorVar+"="+string(drivertest.IgnoresSignals))
		if err := child.Start(); err != nil {
			fmt.Println(err)
		}
		fmt.Println(child.Process.Pid)
		return wait(false)
	case actsAsRunner:
		return runAsRunner(os.Args[1])
	}
	return 0
}

// runAsRunner starts a child that leaves a process behind, prints the child's pid, and waits to be killed.
func runAsRunner(dir string) int {
	self, _ := os.Executable()
	d, err := New(Options{Dir: dir, Images: map[string]string{"plugin:1": self}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	image, err := d.Pull(ctx, "plugin:1", msg.PullNever, "")
	err = errors.Join(err, d.Create(ctx, msg.ExecutorSpec{ID: "executor1", Image: image, Env: map[string]string{behaviorVar: string(leavesChild)}}), d.Start(ctx, "executor1"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(d.executors["executor1"].process.Pid)
	return wait(true)
}

func wait(ignoreSignals bool) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGABRT, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range signals {
		if !ignoreSignals {
			return 128 + int(s.(syscall.Signal))
		}
	}
	return 0
}

func open(t *testing.T, dir string) *Driver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Options{Dir: dir, Images: map[string]string{"plugin:1": self, "gone:1": dir + "/nothing", "text:1": dir + "/text"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func spec(t *testing.T, d driver.Driver, does drivertest.Behavior) msg.ExecutorSpec {
	t.Helper()
	image, err := d.Pull(t.Context(), "plugin:1", msg.PullIfNotPresent, "")
	if err != nil {
		t.Fatal(err)
	}
	return msg.ExecutorSpec{ID: "executor1", Image: image, Env: map[string]string{behaviorVar: string(does)}}
}

func TestProcessDriverConforms(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t *testing.T) driver.Driver { return open(t, t.TempDir()) },
		Spec: func(t *testing.T, d driver.Driver, does drivertest.Behavior) (msg.ExecutorSpec, bool) {
			return spec(t, d, does), does != drivertest.OOM
		},
		Reopen: func(t *testing.T, d driver.Driver) driver.Driver {
			d.(*Driver).Close()
			return open(t, d.(*Driver).dir)
		},
		EndsWithRunner: true,
		Image:          "plugin:1", Missing: "plugin:2",
	})
}

// start starts an executor and returns its first line.
func start(t *testing.T, d *Driver, does drivertest.Behavior) (id msg.ExecutorID, line string) {
	t.Helper()
	s := spec(t, d, does)
	s.Env["OUTPUT_LOCATION"] = "/out/result"
	if err := errors.Join(d.Create(t.Context(), s), d.Start(t.Context(), s.ID)); err != nil {
		t.Fatal(err)
	}
	errEnough := errors.New("enough")
	err := d.Logs(t.Context(), s.ID, msg.Position{}, func(batch []msg.LogEntry) error {
		if len(batch) == 0 {
			return nil
		}
		line = string(batch[0].Text)
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return s.ID, line
}

func TestKillingRunnerEndsItsChildren(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runner := exec.Command(self, dir)
	runner.Env = append(os.Environ(), behaviorVar+"="+string(actsAsRunner))
	out, err := runner.StdoutPipe()
	if err := errors.Join(err, runner.Start()); err != nil {
		t.Fatal(err)
	}
	child := pidfdOf(t, firstLine(t, out))
	output, err := filepath.Glob(dir + "/executor1.*/output")
	if err != nil || len(output) != 1 {
		t.Fatalf("outputs: %v, %v", output, err)
	}
	orphan := pidfdOf(t, awaitLine(t, output[0]))
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait()   // it was killed
	awaitExit(t, child) // without a next runner

	d := open(t, dir)
	awaitExit(t, orphan)
	if exit, err := d.Wait(t.Context(), "executor1"); err != nil || exit.Code != -1 {
		t.Errorf("the next runner returns %+v, %v", exit, err)
	}
	var logText string
	err = d.Logs(t.Context(), "executor1", msg.Position{}, func(batch []msg.LogEntry) error {
		for _, e := range batch {
			logText += string(e.Text)
		}
		return nil
	})
	if want, _ := os.ReadFile(output[0]); err != nil || logText != string(want) || !strings.HasSuffix(logText, "ready\n") {
		t.Errorf("logs returns %q of the output %q, error %v", logText, want, err)
	}
	if err := d.Remove(t.Context(), "executor1"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("remaining: %v, %v", entries, err)
	}
}

func TestCloseIsNotReportedAsExecutorExit(t *testing.T) {
	d := open(t, t.TempDir())
	id, _ := start(t, d, drivertest.IgnoresSignals)
	child := pidfdOf(t, strconv.Itoa(d.executors[id].process.Pid))
	waitErr := make(chan error, 1)
	go func() {
		_, err := d.Wait(context.Background(), id)
		waitErr <- err
	}()
	d.Close()
	awaitExit(t, child)
	_, later := d.Wait(t.Context(), id)
	for when, err := range map[string]error{"before close": <-waitErr, "after close": later} {
		if !errors.Is(err, errClosed) {
			t.Errorf("wait %s returns %v", when, err)
		}
	}
}

func TestChildrenOfOtherRunnersAreKept(t *testing.T) {
	d := open(t, t.TempDir())
	id, _ := start(t, d, drivertest.Waits)
	open(t, t.TempDir())
	open(t, filepath.Dir(d.dir))
	if err := d.Signal(t.Context(), id, msg.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit, err := d.Wait(t.Context(), id); err != nil || exit.Code != 143 {
		t.Errorf("the executor ended with %+v, error %v", exit, err)
	}
}

func firstLine(t *testing.T, from io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil {
		t.Fatalf("read %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// awaitLine waits until a file has two lines and returns the first.
func awaitLine(t *testing.T, name string) string {
	t.Helper()
	for {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(string(text), "\n"); len(lines) > 2 {
			return lines[0]
		}
		time.Sleep(time.Millisecond)
	}
}

// pidfdOf returns a pidfd, which cannot refer to another process later.
func pidfdOf(t *testing.T, pid string) *os.File {
	t.Helper()
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(number, unix.PIDFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	handle := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { _ = handle.Close() })
	return handle
}

// awaitExit waits for a process to exit.
func awaitExit(t *testing.T, handle *os.File) {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(handle.Fd()), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(handle.Fd()), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
	}
	if n != 1 || err != nil {
		t.Fatalf("the process still runs: %v", err)
	}
}

func TestOrphansEndWithTheirChild(t *testing.T) {
	d := open(t, t.TempDir())
	id, line := start(t, d, leavesChild)
	orphan := pidfdOf(t, strings.TrimSpace(line))
	if err := d.Signal(t.Context(), id, msg.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitExit(t, orphan)
}

func TestChildSeesOnlyItsOwnEnvironment(t *testing.T) {
	t.Setenv("RUNNER_PRIVATE", "x")
	d := open(t, t.TempDir())
	id, _ := start(t, d, printsEnvironment)
	var names []string
	err := d.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		for _, e := range batch {
			name, value, _ := strings.Cut(strings.TrimSpace(string(e.Text)), "=")
			names = append(names, name)
			if name == "OUTPUT_LOCATION" && value != "/out/result" {
				t.Errorf("%s is %s", name, value)
			}
		}
		return nil
	})
	slices.Sort(names)
	want := []string{"HOME", "OUTPUT_LOCATION", "PATH", orphanMarker, behaviorVar}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("the plugin has the variables %v, error %v; want %v", names, err, want)
	}
}

func TestPullErrorSaysHowToFix(t *testing.T) {
	d := open(t, t.TempDir())
	if err := os.WriteFile(d.dir+"/text", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"other:1": "configured images: gone:1, plugin:1, text:1",
		"gone:1":  "no such file or directory; build the executable",
		"text:1":  "permission denied; build the executable",
	} {
		if _, err := d.Pull(t.Context(), image, "", ""); !errors.Is(err, msg.ErrNoImage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", image, err)
		}
	}
}

func TestLongLineOfEarlierRunnerIsSplit(t *testing.T) {
	dir, want := t.TempDir(), "short\n"+strings.Repeat("x", 2*batchSize+9)+"\nlast"
	if err := errors.Join(os.Mkdir(dir+"/executor1.1", 0o700), os.WriteFile(dir+"/executor1.1/output", []byte(want), 0o600)); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir)
	read := func(from msg.Position) (entries []msg.LogEntry) {
		err := d.Logs(t.Context(), "executor1", from, func(batch []msg.LogEntry) error {
			entries = append(entries, batch...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	log := read(msg.Position{})
	if len(log) != 5 {
		t.Errorf("%d entries", len(log))
	}
	for _, e := range log {
		var got strings.Builder
		for _, rest := range read(msg.Position{Time: e.Time, Skip: 1}) {
			got.Write(rest.Text)
		}
		if want = want[1:]; got.String() != want {
			t.Errorf("after the first byte of the entry at %v: %d bytes, want %d", e.Time, got.Len(), len(want))
		}
		want = want[len(e.Text)-1:]
	}
}
