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

// ears hands on what an actor is told.
type ears[M any] chan M

func (e ears[M]) Tell(m M) { e <- m }

// noSpool keeps nothing: what counts here is who has heard of which job.
type noSpool struct{ Spool }

func (noSpool) Jobs() []msg.JobRecord                         { return nil }
func (noSpool) Job(msg.ExecutionID) (_ msg.JobRecord, _ bool) { return }
func (noSpool) CheckSpace() error                             { return nil }
func (noSpool) Add(msg.Offer) error                           { return nil }
func (noSpool) Remove(msg.ExecutionID) error                  { return nil }
func (noSpool) Confirm(msg.ExecutionID) error                 { return nil }

// noKeyring opens nothing.
type noKeyring struct{ Keyring }

func (noKeyring) Open([]byte, string) ([]msg.Secret, []byte, error) { return nil, nil, nil }

// oneJob is a server that says what it is asked.
type oneJob struct {
	Release
	confirmed chan error // the server's word on the job
	asked     chan int   // max of each reserve
	jobs      chan msg.Offer
}

func (s *oneJob) Confirm(context.Context, msg.JobID, msg.ExecutionID) error { return <-s.confirmed }

func (s *oneJob) Reserve(ctx context.Context, max int, _ time.Duration) ([]msg.Offer, error) {
	s.asked <- max
	select {
	case job := <-s.jobs:
		return []msg.Offer{job}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestAJobThatIsHandedOverWhileTheAnswerIsOnItsWayTakesItsRoom(t *testing.T) {
	for _, row := range []struct {
		what  string
		word  error // of the server, on the first job
		room  int   // in the answer that does not count it
		asked int   // for how many jobs the server is asked then
	}{
		{"it is ours, and there is room for another", nil, 2, 1},
		{"it is not ours, and nobody knew when the room was counted", &msg.Refusal{Status: 409}, 1, 1},
	} {
		t.Run(row.what, func(t *testing.T) {
			server := &oneJob{confirmed: make(chan error), asked: make(chan int), jobs: make(chan msg.Offer, 1)}
			dispatcher, runner := make(ears[msg.ToDispatcher], 10), make(ears[msg.ToRunner], 10)
			system := actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})
			defer func() { _ = system.Stop(context.Background()) }()
			ref, err := actorrt.SpawnRoot(system, actorrt.Spec[msg.ToPoller]{Name: "poller", New: func() actorrt.Behavior[msg.ToPoller] {
				return &poller{release: server, spool: noSpool{}, keyring: noKeyring{}, dispatcher: dispatcher, runner: runner}
			}})
			if err != nil {
				t.Fatal(err)
			}
			wanted := func() {
				t.Helper()
				if m := <-dispatcher; m != (msg.FreeSlotsRequested{To: ref}) {
					t.Fatalf("the dispatcher hears %#v", m)
				}
			}

			ref.Tell(msg.IntakeOpened{})
			wanted()
			server.jobs <- msg.Offer{Job: msg.Job{ID: "a", Execution: "a"}}
			ref.Tell(msg.FreeSlots{N: row.room})
			<-server.asked
			wanted() // the answer to this one crosses the job
			server.confirmed <- row.word
			if row.word == nil {
				<-dispatcher // JobConfirmed
				ref.Tell(msg.FreeSlots{N: row.room})
			} else {
				settle(t, system)
				ref.Tell(msg.FreeSlots{N: row.room})
				wanted() // or it would never ask again
				ref.Tell(msg.FreeSlots{N: row.room})
			}
			if n := <-server.asked; n != row.asked {
				t.Errorf("the server is asked for %d jobs, want %d", n, row.asked)
			}
		})
	}
}

func TestWhatTheServerHasJustOfferedIsTakenWhenTheIntakeCloses(t *testing.T) {
	for _, row := range []struct {
		what   string
		since  time.Duration // the reserve is out
		offers bool          // the server has a job for it
		quiet  time.Duration // after so long
	}{
		{what: "a poll that has just begun is answered", offers: true},
		{what: "a poll that has just begun is not answered", since: 200 * time.Millisecond, quiet: minReserveAge - 200*time.Millisecond},
		{what: "a poll has waited long", since: 30 * time.Second},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &oneJob{confirmed: make(chan error, 1), asked: make(chan int, 1), jobs: make(chan msg.Offer, 1)}
				dispatcher, runner := make(ears[msg.ToDispatcher], 10), make(ears[msg.ToRunner], 10)
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
				<-server.asked
				time.Sleep(row.since)

				began, quiet := time.Now(), make(chan time.Time, 1)
				ref.Tell(msg.IntakeClosed{Settled: func() { quiet <- time.Now() }})
				if row.offers {
					server.confirmed <- nil
					server.jobs <- msg.Offer{Job: msg.Job{ID: "a", Execution: "a"}}
				}
				if took := (<-quiet).Sub(began); took != row.quiet {
					t.Errorf("it is quiet after %v, want %v", took, row.quiet)
				}
				select {
				case m := <-dispatcher:
					if _, ok := m.(msg.JobConfirmed); !ok || !row.offers {
						t.Errorf("the dispatcher hears %#v", m)
					}
				default:
					if row.offers {
						t.Error("the dispatcher does not hear of the job")
					}
				}
			})
		})
	}
}

// settle waits until the poller has nothing in hand.
func settle(t *testing.T, system *actorrt.System) {
	t.Helper()
	for {
		node := system.Tree()[0]
		if len(node.Tasks) == 0 && node.Queue == 0 && node.Busy == "" {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the poller does not come to rest")
		}
	}
}
