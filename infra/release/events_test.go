package release_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

type received struct {
	id    string
	event msg.Event
}

// listen collects n events, or all until the stream ends.
func listen(t *testing.T, c *release.Client, after string, n int) ([]received, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // an endless event takes 14 s on a busy machine
	defer cancel()
	enough := errors.New("enough")
	var got []received
	err := c.Events(ctx, after, func(id string, e msg.Event) error {
		if got = append(got, received{id, e}); len(got) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return got, err
}

const aJob = `{"jobId":"j","executionId":"e","kind":"script","taskId":"t","taskType":"a.B","image":"i","input":"aW4=","sessionKey":"a2V5"}`

func stream(text string) http.HandlerFunc { return respond(200, "text/event-stream", text) }

func TestEventsAreOrderedAndInvalidOnesIgnored(t *testing.T) {
	text := "id: 8\nevent: Ping\ndata: {}\n\n" +
		": a comment\n\n" +
		"id: 9\nevent: Configure\ndata: {\"config\":{\"revision\":4,\"enabled\":false,\"capacity\":3,\"evictionSeconds\":0}}\n\n" +
		"id: 10\nevent: Configure\ndata: {\"config\":{}}\n\n" +
		"id: 11\nevent: Explode\ndata: {}\n\n" +
		"id: 12\nevent: ExecuteScript\ndata: {\"job\":\ndata: " + aJob + "}\n\n" +
		"id: 13\nevent: AbortJob\ndata: {\"jobId\":\"j\",\"executionId\":\"e\",\"reason\":\"r\"}\n\n" +
		"id: 14\nevent: AbortJob\ndata: {\"jobId\":\"j\",\"executionId\":\"e\",\"reason\":\"\"}\n\n" +
		"event: Enable\ndata: {}\n\n" +
		"id: 15\nevent: Disable\ndata: {}\n\nid: 16\nevent: Delete\ndata: {}\n\n" +
		"id: 17\nevent: Ping\nda"
	var header http.Header
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		stream(text)(w, r)
	})
	got, err := listen(t, registeredClient(t, s.URL), "7", -1)
	want := []received{
		{"8", msg.Ping{}},
		{"9", msg.Configure{Config: msg.Config{Revision: 4, Capacity: 3}}},
		{"12", msg.ExecuteScript{Offer: msg.Offer{
			Job:   msg.Job{ID: "j", Execution: "e", Kind: msg.Script, TaskID: "t", TaskType: "a.B", Image: "i"},
			Input: "aW4=", SessionKey: []byte("key")}}},
		{"13", msg.StopJob{Order: msg.StopOrder{ID: "j", Execution: "e", Reason: "r"}}},
		{"14", msg.StopJob{Order: msg.StopOrder{ID: "j", Execution: "e", Reason: "the server gave no reason"}}},
		{"14", msg.Enable{}}, {"15", msg.Disable{}}, {"16", msg.Delete{}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(received{})); diff != "" {
		t.Error(diff)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after a cut frame: %v", err)
	}
	if header.Get("Last-Event-ID") != "7" || header.Get("Authorization") != "Bearer access" {
		t.Errorf("request headers %v", header)
	}
}

func TestIgnoredEventIsLoggedTruncated(t *testing.T) {
	output := new(bytes.Buffer)
	c, err := release.New(release.Options{URL: server(t, stream("id: "+strings.Repeat("7", 5000)+"\nevent: "+strings.Repeat("x", 5000)+"\ndata: {}\n\n")).URL,
		Token: "token", Name: "n", UUID: "u", Version: "1", PublicKey: []byte("key"), Log: zerolog.New(output)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(t, c, "7", -1); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if line := output.String(); !strings.Contains(line, "xxx") || len(line) > 1000 {
		t.Errorf("log has %d bytes: %.200s", len(line), line)
	}
}

func TestEventStreamAcceptsAllLineEndings(t *testing.T) {
	text := "id: 8\nevent: Enable\ndata: {}\n\n: a comment\nretry: 5\n\nid: 9\x00\nevent: Disable\ndata:{}\n\nid\nevent:Ping\n\nid: 10\nevent: Delete\ndata: {}\n\n"
	for name, sent := range map[string]string{
		"LF": text, "CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "CR": strings.ReplaceAll(text, "\n", "\r"), "a byte order mark": "\ufeff" + text,
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := listen(t, registeredClient(t, server(t, stream(sent)).URL), "7", 4)
			want := []received{{"8", msg.Enable{}}, {"8", msg.Disable{}}, {"", msg.Ping{}}, {"10", msg.Delete{}}}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(received{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEventsRejectsInvalidStream(t *testing.T) {
	for name, c := range map[string]struct {
		answer   http.HandlerFunc
		wantText string
	}{
		"a page":           {respond(200, "text/html", "<html>sign in</html>"), "expected text/event-stream"},
		"an unknown token": {respond(401, "application/problem+json", `{"title":"no","status":401}`), "server answered 401"},
		"an endless event": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for piece := strings.Repeat("x", 1<<20); ; {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
		}, "exceeds the size limit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := listen(t, registeredClient(t, server(t, c.answer).URL), "", 1)
			if err == nil || !strings.Contains(err.Error(), c.wantText) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestDevelopmentServersEventsArrive(t *testing.T) {
	server, err := devserver.New(devserver.Options{Token: "token", Log: zerolog.Nop(), PingInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	front := httptest.NewServer(server.Handler())
	defer front.Close()
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c, err := release.New(release.Options{URL: front.URL, Token: "token", Name: "n", UUID: identity.UUID(), Version: "1", PublicKey: identity.PublicKey(),
		Capabilities: []string{"remote-script"}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	registration, err := c.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Configure(registration.RunnerID, func(c *api.Config) { c.Capacity = 7 }); err != nil {
		t.Fatal(err)
	}
	id, err := server.Submit(devserver.TaskRequest{TaskType: "a.B", Image: "i", Kind: api.KindScript})
	if err != nil {
		t.Fatal(err)
	}
	var configured, offered, pinged bool
	got, err := listen(t, c, registration.LastEventID, 6)
	for _, s := range got {
		switch e := s.event.(type) {
		case msg.Configure:
			configured = e.Config.Capacity == 7 && e.Config.Revision == registration.Config.Revision+1
		case msg.ExecuteScript:
			offered = string(e.Offer.ID) == id && e.Offer.Kind == msg.Script
		case msg.Ping:
			pinged = true
		case msg.Enable, msg.Disable, msg.Delete, msg.StopJob:
			t.Errorf("unexpected event %+v", e)
		}
	}
	if err != nil || !configured || !offered || !pinged {
		t.Errorf("%v; received: %s", err, fmt.Sprintf("%+v", got))
	}
}
