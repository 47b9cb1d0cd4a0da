// Package drivertest is the conformance suite of driver.Driver. A driver's tests call Run with a Harness.
package drivertest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// Behavior says what the program in an executor does.
type Behavior string

const (
	Exits          Behavior = "exits"           // prints "one\n", "two\n", "three\n" and exits 7
	Waits          Behavior = "waits"           // prints "ready\n", then waits; SIGABRT or SIGTERM ends it with 128 + its number
	IgnoresSignals Behavior = "ignores-signals" // prints "ready\n", then waits; ignores SIGABRT and SIGTERM
	Floods         Behavior = "floods"          // prints "line 0\n" … "line 1999\n" and exits 0
	LongLine       Behavior = "longline"        // prints 40,000 times "x" and "\n", and exits 0
	OOM            Behavior = "oom"             // allocates memory until it is killed
)

// Harness gives the suite access to a driver.
type Harness struct {
	// Driver returns a driver that is ready. The suite removes the executors that it creates.
	Driver func(*testing.T) driver.Driver
	// Spec returns the spec of an executor with this behavior; the suite sets the id. False: the driver does not support it.
	Spec func(*testing.T, driver.Driver, Behavior) (msg.ExecutorSpec, bool)
	// Restart restarts an executor externally, like docker restart -t 0, or docker start of one that has exited. Nil: not possible.
	Restart func(*testing.T, driver.Driver, msg.ExecutorID)
	// Reopen returns the driver of the runner's next start, with the executors of d. The suite stops using d.
	Reopen func(t *testing.T, d driver.Driver) driver.Driver
	// EndsWithRunner says that executors do not outlive the runner that started them. The next driver lists them as exited with
	// code -1, and still has their output.
	EndsWithRunner bool
	// Image is a reference that Pull finds without a registry, Missing one that does not exist. Empty: the driver pulls nothing.
	Image, Missing string
}

// testTimeout ends a test that hangs. No test depends on its length.
const testTimeout = 3 * time.Minute

// fixture is the driver under test with helpers.
type fixture struct {
	driver.Driver
	*testing.T
	harness Harness
	ctx     context.Context
}

func (h Harness) fixture(t *testing.T) *fixture {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return &fixture{Driver: h.Driver(t), T: t, harness: h, ctx: ctx}
}

func newID() msg.ExecutorID { return msg.ExecutorID(strings.ToLower(rand.Text()[:12])) }

func (b *fixture) create(does Behavior) msg.ExecutorID {
	b.Helper()
	spec := b.spec(does)
	b.ok(b.Create(b.ctx, spec))
	return spec.ID
}

// spec returns the spec of an executor that is removed when the test ends.
func (b *fixture) spec(does Behavior) msg.ExecutorSpec {
	b.Helper()
	spec, supported := b.harness.Spec(b.T, b.Driver, does)
	if !supported {
		b.Skipf("this driver does not support the behavior %s", does)
	}
	spec.ID = newID()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := b.Remove(ctx, spec.ID); err != nil {
			b.Error(err)
		}
	})
	return spec
}

// start starts an executor. For Waits and IgnoresSignals, it returns once the program is ready for signals.
func (b *fixture) start(does Behavior) msg.ExecutorID {
	b.Helper()
	id := b.create(does)
	b.ok(b.Start(b.ctx, id))
	if does == Waits || does == IgnoresSignals {
		b.awaitText(id, "ready\n")
	}
	return id
}

func (b *fixture) awaitText(id msg.ExecutorID, want string) {
	b.Helper()
	ctx, seen := context.WithCancel(b.ctx)
	defer seen()
	var got strings.Builder
	err := b.Logs(ctx, id, msg.Position{}, func(batch []msg.LogEntry) error {
		got.WriteString(textOf(batch))
		if strings.Contains(got.String(), want) {
			seen()
		}
		return nil
	})
	if ctx.Err() == nil || b.ctx.Err() != nil {
		b.Fatalf("executor %s printed %q, want %q: %v", id, got.String(), want, err)
	}
}

func (b *fixture) exit(id msg.ExecutorID) msg.Exit {
	b.Helper()
	exit, err := b.Wait(b.ctx, id)
	b.ok(err)
	return exit
}

func (b *fixture) log(id msg.ExecutorID, from msg.Position) (log []msg.LogEntry) {
	b.Helper()
	read := false
	b.ok(b.Logs(b.ctx, id, from, func(batch []msg.LogEntry) error {
		if len(batch) > 0 && !read {
			b.Error("the first batch has entries")
		}
		read = true
		log = append(log, batch...)
		return nil
	}))
	return log
}

func (b *fixture) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func textOf(log []msg.LogEntry) string {
	var text strings.Builder
	for _, e := range log {
		text.Write(e.Text)
	}
	return text.String()
}
