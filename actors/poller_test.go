package actors

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// inbox is a msg.Receiver that passes the messages to an actor on to the test.
type inbox[M any] chan M

func (e inbox[M]) Tell(m M) { e <- m }

// noSpool stores nothing, because these tests are about messages only.
type noSpool struct{ Spool }

func (noSpool) Jobs() []msg.JobRecord                         { return nil }
func (noSpool) Job(msg.ExecutionID) (_ msg.JobRecord, _ bool) { return }
func (noSpool) CheckSpace() error                             { return nil }
func (noSpool) Add(msg.Offer) error                           { return nil }
func (noSpool) Remove(msg.ExecutionID) error                  { return nil }
func (noSpool) Confirm(msg.ExecutionID) error                 { return nil }

// noKeyring accepts every key.
type noKeyring struct{ Keyring }

func (noKeyring) Open([]byte, string) ([]msg.Secret, []byte, error) { return nil, nil, nil }

// fakeRelease is a server that the test controls.
type fakeRelease struct {
	Release
	confirmed chan error // answer to a confirm
	reserves  chan int   // max of each reserve
	jobs      chan msg.Offer
}

func (s *fakeRelease) Confirm(context.Context, msg.JobID, msg.ExecutionID) error {
	return <-s.confirmed
}

func (s *fakeRelease) Reserve(ctx context.Context, max int, _ time.Duration) ([]msg.Offer, error) {
	s.reserves <- max
	select {
	case job := <-s.jobs:
		return []msg.Offer{job}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestJobConfirmedDuringFreeSlotsRequestIsCounted(t *testing.T) {
	for _, row := range []struct {
		what    string
		confirm error // the server's answer for the first job
		free    int   // free slots in the dispatcher's answers, which do not count the first job
		asked   int   // max of the next reserve
	}{
		{"confirmed, one more slot is free", nil, 2, 1},
		{"refused, but counted as taken", &msg.Refusal{Status: 409}, 1, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			server := &fakeRelease{confirmed: make(chan error), reserves: make(chan int), jobs: make(chan msg.Offer, 1)}
			dispatcher, runner := make(inbox[msg.ToDispatcher], 10), make(inbox[msg.ToRunner], 10)
			system := actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})
			defer func() { _ = system.Stop(context.Background()) }()
			ref, err := actorrt.SpawnRoot(system, actorrt.Spec[msg.ToPoller]{Name: "poller", New: func() actorrt.Behavior[msg.ToPoller] {
				return &poller{release: server, spool: noSpool{}, keyring: noKeyring{}, dispatcher: dispatcher, runner: runner}
			}})
			if err != nil {
				t.Fatal(err)
			}
			expectRequest := func() {
				t.Helper()
				if m := <-dispatcher; m != (msg.FreeSlotsRequested{To: ref}) {
					t.Fatalf("the dispatcher received %#v", m)
				}
			}

			ref.Tell(msg.IntakeOpened{})
			expectRequest()
			server.jobs <- msg.Offer{Job: msg.Job{ID: "a", Execution: "a"}}
			ref.Tell(msg.FreeSlots{N: row.free})
			<-server.reserves
			expectRequest() // the answer to this request does not count the job yet
			server.confirmed <- row.confirm
			if row.confirm == nil {
				<-dispatcher // JobConfirmed
				ref.Tell(msg.FreeSlots{N: row.free})
			} else {
				waitUntilIdle(t, system)
				ref.Tell(msg.FreeSlots{N: row.free})
				expectRequest() // without this request the poller would never ask again
				ref.Tell(msg.FreeSlots{N: row.free})
			}
			if n := <-server.reserves; n != row.asked {
				t.Errorf("reserve for %d jobs, want %d", n, row.asked)
			}
		})
	}
}

func TestJustOfferedJobIsTakenWhenIntakeCloses(t *testing.T) {
	for _, row := range []struct {
		what   string
		since  time.Duration // age of the reserve
		offers bool          // the server answers it with a job
		quiet  time.Duration // expected time until nothing is in flight
	}{
		{what: "a young reserve is answered", offers: true},
		{what: "a young reserve is not answered", since: 200 * time.Millisecond, quiet: minReserveAge - 200*time.Millisecond},
		{what: "an old reserve", since: 30 * time.Second},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &fakeRelease{confirmed: make(chan error, 1), reserves: make(chan int, 1), jobs: make(chan msg.Offer, 1)}
				dispatcher, runner := make(inbox[msg.ToDispatcher], 10), make(inbox[msg.ToRunner], 10)
				system := actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})
				defer func() { _ = system.Stop(context.Background()) }()
				ref, err := actorrt.SpawnRoot(system, actorrt.Spec[msg.ToPoller]{Name: "poller", New: func() actorrt.Behavior[msg.ToPoller] {
					return &poller{release: server, spool: noSpool{}, keyring: noKeyring{}, dispatcher: dispatcher, runner: runner}
				}})
				if err != nil {
					t.Fatal(err)
				}
				ref.Tell(msg.IntakeOpened{})
				<-dispatcher // FreeSlotsRequested
				ref.Tell(msg.FreeSlots{N: 1})
				<-server.reserves
				time.Sleep(row.since)

				began, quiet := time.Now(), make(chan time.Time, 1)
				ref.Tell(msg.IntakeClosed{Done: func() { quiet <- time.Now() }})
				if row.offers {
					server.confirmed <- nil
					server.jobs <- msg.Offer{Job: msg.Job{ID: "a", Execution: "a"}}
				}
				if took := (<-quiet).Sub(began); took != row.quiet {
					t.Errorf("nothing in flight after %v, want %v", took, row.quiet)
				}
				select {
				case m := <-dispatcher:
					if _, ok := m.(msg.JobConfirmed); !ok || !row.offers {
						t.Errorf("the dispatcher received %#v", m)
					}
				default:
					if row.offers {
						t.Error("the dispatcher did not receive the job")
					}
				}
			})
		})
	}
}

// waitUntilIdle waits until the poller has no messages and no tasks.
func waitUntilIdle(t *testing.T, system *actorrt.System) {
	t.Helper()
	for {
		node := system.Tree()[0]
		if len(node.Tasks) == 0 && node.Queue == 0 && node.Busy == "" {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the poller does not become idle")
		}
	}
}
