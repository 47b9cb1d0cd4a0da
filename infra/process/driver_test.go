package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"runnerd/infra/driver"
	"runnerd/infra/driver/drivertest"
	msg "runnerd/messages"
)

// The plugin of these tests is the test's own binary.
const (
	behave              = "TEST_BEHAVIOUR"
	tellsItsEnvironment = drivertest.Behaviour("environment")
	leavesAChild        = drivertest.Behaviour("leaves a child")
)

func TestMain(m *testing.M) {
	if does := drivertest.Behaviour(os.Getenv(behave)); does != "" {
		os.Exit(plugin(does))
	}
	goleak.VerifyTestMain(m)
}

func plugin(does drivertest.Behaviour) int {
	switch does {
	case drivertest.Quits:
		fmt.Print("one\ntwo\nthree\n")
		return 7
	case drivertest.Lives, drivertest.Stubborn:
		return live(does == drivertest.Stubborn)
	case drivertest.Floods:
		for i := range 2000 {
			fmt.Printf("line %d\n", i)
		}
	case drivertest.LongLine:
		fmt.Println(strings.Repeat("x", 40_000))
	case tellsItsEnvironment:
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case leavesAChild:
		self, _ := os.Executable()
		child := exec.Command(self)
		child.Env = []string{behave + "=" + string(drivertest.Stubborn)}
		if err := child.Start(); err != nil {
			fmt.Println(err)
		}
		fmt.Println(child.Process.Pid)
		return live(false)
	}
	return 0
}

func live(stubborn bool) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGABRT, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range signals {
		if !stubborn {
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
	d, err := New(Options{Dir: dir, Images: map[string]string{"plugin:1": self, "gone:1": dir + "/nothing"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func spec(t *testing.T, d driver.Driver, does drivertest.Behaviour) msg.ExecutorSpec {
	t.Helper()
	image, err := d.Pull(t.Context(), "plugin:1", msg.PullIfNotPresent, "")
	if err != nil {
		t.Fatal(err)
	}
	return msg.ExecutorSpec{ID: "executor1", Image: image, Env: map[string]string{behave: string(does)}}
}

func TestItIsADriver(t *testing.T) {
	drivertest.Run(t, drivertest.Harness{
		Driver: func(t *testing.T) driver.Driver { return open(t, t.TempDir()) },
		Spec: func(t *testing.T, d driver.Driver, does drivertest.Behaviour) (msg.ExecutorSpec, bool) {
			return spec(t, d, does), does != drivertest.OOM
		},
		Image: "plugin:1", Missing: "plugin:2",
	})
}

// start runs an executor until its first line, which it returns.
func start(t *testing.T, d *Driver, does drivertest.Behaviour) (id msg.ExecutorID, line string) {
	t.Helper()
	s := spec(t, d, does)
	s.Mounts = []msg.Mount{{Source: "/host/out", Target: "/out"}}
	s.Env["OUTPUT_LOCATION"], s.Env["OTHER"] = "/out/result", "/output"
	if err := errors.Join(d.Create(t.Context(), s), d.Start(t.Context(), s.ID)); err != nil {
		t.Fatal(err)
	}
	first := errors.New("enough")
	err := d.Logs(t.Context(), s.ID, msg.Position{}, func(batch []msg.LogEntry) error {
		if len(batch) == 0 {
			return nil
		}
		line = string(batch[0].Text)
		return first
	})
	if !errors.Is(err, first) {
		t.Fatal(err)
	}
	return s.ID, line
}

func stateOf(t *testing.T, d *Driver) msg.ContainerState {
	t.Helper()
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("listed %v, %v", list, err)
	}
	return list[0].State
}

func TestAChildOutlivesItsRunnerAndIsFoundAgain(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, e *executor){
		"by its pid": func(*testing.T, *executor) {},
		"by its environment, where the runner died before it had noted the pid": func(t *testing.T, e *executor) {
			if err := e.write("process.json", process{Started: e.process.Started}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			before := open(t, dir)
			id, _ := start(t, before, drivertest.Lives)
			before.Close()
			meanwhile(t, before.executors[id])

			d := open(t, dir)
			if s := stateOf(t, d); s != msg.ContainerRunning {
				t.Fatalf("found as %s", s)
			}
			if err := d.Signal(t.Context(), id, msg.SIGTERM); err != nil {
				t.Fatal(err)
			}
			exit, err := d.Wait(t.Context(), id)
			if err != nil || exit.Code != -1 || exit.At.IsZero() {
				t.Fatalf("ended with %+v, %v; want the code unknown", exit, err)
			}
			later := open(t, dir)
			if again, err := later.Wait(t.Context(), id); err != nil || !again.At.Equal(exit.At) {
				t.Errorf("a later runner says %+v, %v", again, err)
			}
		})
	}
}

func TestTheKeyOfAJobIsOpenInNoRecordOfAChildThatHasStarted(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	s := spec(t, d, drivertest.Lives)
	s.Env["SESSION_KEY"] = "the key"
	if err := errors.Join(d.Create(t.Context(), s), d.Start(t.Context(), s.ID)); err != nil {
		t.Fatal(err)
	}
	e := d.executors[s.ID]
	isThere := func() bool {
		t.Helper()
		found := exec.Command("grep", "-rq", "the key", e.dir).Run()
		if code, is := errors.AsType[*exec.ExitError](found); found != nil && (!is || code.ExitCode() != 1) {
			t.Fatal(found)
		}
		return found == nil
	}
	if isThere() {
		t.Error("it is there")
	}
	d.Close()
	if err := e.write("spec.json", s); err != nil { // as if the runner had died before
		t.Fatal(err)
	}
	later := open(t, dir)
	if isThere() {
		t.Error("it is there after a restart")
	}
	if err := later.Remove(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
}

func TestAnExitCodeIsKeptForTheNextRunner(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	id, _ := start(t, d, drivertest.Quits)
	first, err := d.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := open(t, dir).Wait(t.Context(), id); err != nil || again.Code != 7 || !again.At.Equal(first.At) {
		t.Errorf("the next runner says %+v, %v", again, err)
	}
}

func TestAnotherProcessWithThePidIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	id, _ := start(t, d, drivertest.Lives)
	d.Close()
	e := d.executors[id]
	real := e.process
	older := real
	older.Ticks--
	if err := e.write("process.json", older); err != nil {
		t.Fatal(err)
	}
	next := open(t, dir)
	if s := stateOf(t, next); s != msg.ContainerExited {
		t.Errorf("found as %s", s)
	}
	if err := errors.Join(next.Signal(t.Context(), id, msg.SIGKILL), next.Remove(t.Context(), id)); err != nil {
		t.Error(err)
	}
	handle, err := real.open()
	if err != nil {
		t.Fatalf("the process that has the pid now: %v", err)
	}
	defer handle.Close()
	if err := real.signal(msg.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := await(t.Context(), handle); err != nil {
		t.Error(err)
	}
}

func TestWhatAChildLeavesBehindEndsWithIt(t *testing.T) {
	d := open(t, t.TempDir())
	id, line := start(t, d, leavesAChild)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	left := process{PID: pid}
	if err := left.identify(); err != nil {
		t.Fatal(err)
	}
	handle, err := left.open()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if err := d.Signal(t.Context(), id, msg.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := await(ctx, handle); err != nil {
		t.Errorf("the process left behind still runs: %v", err)
	}
}

func TestAChildSeesOnlyTheEnvironmentThatItIsGiven(t *testing.T) {
	t.Setenv("RUNNER_PRIVATE", "x")
	d := open(t, t.TempDir())
	id, _ := start(t, d, tellsItsEnvironment)
	var names []string
	err := d.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		for _, e := range batch {
			name, value, _ := strings.Cut(strings.TrimSpace(string(e.Text)), "=")
			names = append(names, name)
			if want := map[string]string{"OUTPUT_LOCATION": "/host/out/result", "OTHER": "/output"}[name]; want != "" && value != want {
				t.Errorf("%s is %s, want %s", name, value, want)
			}
		}
		return nil
	})
	slices.Sort(names)
	want := []string{"HOME", "OTHER", "OUTPUT_LOCATION", "PATH", markName, behave}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("it sees %v, %v; want %v", names, err, want)
	}
}

func TestAPullThatFindsNothingSaysWhatToDo(t *testing.T) {
	d := open(t, t.TempDir())
	for image, want := range map[string]string{"other:1": "known are: gone:1, plugin:1", "gone:1": "is not there; build it"} {
		if _, err := d.Pull(t.Context(), image, "", ""); !errors.Is(err, msg.ErrNoImage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", image, err)
		}
	}
}

func TestAnIDThatIsAPathIsRefused(t *testing.T) {
	d := open(t, t.TempDir())
	for _, id := range []msg.ExecutorID{"", "..", "a/b", "../x", "/etc"} {
		s := spec(t, d, drivertest.Quits)
		s.ID = id
		if err := d.Create(t.Context(), s); err == nil {
			t.Errorf("%q was taken", id)
		}
	}
}
