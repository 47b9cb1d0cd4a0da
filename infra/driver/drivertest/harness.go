// Package drivertest is the conformance suite of the driver contract: what a driver must do for the rest of runnerd to keep
// its promises, one test per promise. A driver's own tests call Run with a Harness; the fake's do too.
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

// Behaviour is what the program in an executor does.
type Behaviour string

const (
	Quits    Behaviour = "quits"    // prints "one\n", "two\n", "three\n" and exits 7
	Lives    Behaviour = "lives"    // prints "ready\n", then waits; SIGABRT or SIGTERM ends it with 128 + its number
	Stubborn Behaviour = "stubborn" // prints "ready\n", then waits; ignores SIGABRT and SIGTERM
	Floods   Behaviour = "floods"   // prints "line 0\n" … "line 1999\n" and exits 0
	LongLine Behaviour = "longline" // prints 40,000 times "x" and "\n", and exits 0
	OOM      Behaviour = "oom"      // takes memory until it is killed for it
)

// Harness is how the suite gets what it tests.
type Harness struct {
	// Driver returns a driver that is ready. What the suite makes with it is removed by the suite.
	Driver func(*testing.T) driver.Driver
	// Spec says how to create an executor that behaves so; the suite chooses the id. False: the driver cannot.
	Spec func(*testing.T, driver.Driver, Behaviour) (msg.ExecutorSpec, bool)
	// Restart is what docker restart -t 0 is, or docker start of an executor that has ended. Nil: nobody can do that.
	Restart func(*testing.T, driver.Driver, msg.ExecutorID)
	// Reopen returns the driver that the next start of the runner has, for what d has made; d is not used any more.
	Reopen func(t *testing.T, d driver.Driver) driver.Driver
	// EndsWithRunner: an executor does not outlive the runner that has started it. The next driver lists it as exited with the
	// code -1, and still has its output. False: it goes on.
	EndsWithRunner bool
	// Image is a reference that Pull finds without a registry, Missing one that is nowhere. Empty: the driver pulls nothing.
	Image, Missing string
}

// patience bounds a test that would hang; nothing is measured by it.
const patience = 3 * time.Minute

// bench is a driver with what a test does to it again and again.
type bench struct {
	driver.Driver
	*testing.T
	harness Harness
	ctx     context.Context
}

func (h Harness) bench(t *testing.T) *bench {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return &bench{Driver: h.Driver(t), T: t, harness: h, ctx: ctx}
}

func newID() msg.ExecutorID { return msg.ExecutorID(strings.ToLower(rand.Text()[:12])) }

func (b *bench) create(does Behaviour) msg.ExecutorID {
	b.Helper()
	spec := b.spec(does)
	b.ok(b.Create(b.ctx, spec))
	return spec.ID
}

// spec is one of an executor that is removed when the test ends.
func (b *bench) spec(does Behaviour) msg.ExecutorSpec {
	b.Helper()
	spec, can := b.harness.Spec(b.T, b.Driver, does)
	if !can {
		b.Skipf("this driver has no executor that %s", does)
	}
	spec.ID = newID()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Remove(ctx, spec.ID); err != nil {
			b.Error(err)
		}
	})
	return spec
}

// start returns once the executor runs; one that Lives or is Stubborn, once it is ready for signals.
func (b *bench) start(does Behaviour) msg.ExecutorID {
	b.Helper()
	id := b.create(does)
	b.ok(b.Start(b.ctx, id))
	if does == Lives || does == Stubborn {
		b.awaitText(id, "ready\n")
	}
	return id
}

func (b *bench) awaitText(id msg.ExecutorID, want string) {
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
		b.Fatalf("executor %s says %q and not %q: %v", id, got.String(), want, err)
	}
}

func (b *bench) exit(id msg.ExecutorID) msg.Exit {
	b.Helper()
	exit, err := b.Wait(b.ctx, id)
	b.ok(err)
	return exit
}

func (b *bench) log(id msg.ExecutorID, from msg.Position) (log []msg.LogEntry) {
	b.Helper()
	read := false
	b.ok(b.Logs(b.ctx, id, from, func(batch []msg.LogEntry) error {
		if len(batch) > 0 && !read {
			b.Error("entries come before anybody knows that the log is being read")
		}
		read = true
		log = append(log, batch...)
		return nil
	}))
	return log
}

func (b *bench) ok(err error) {
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
