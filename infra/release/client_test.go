package release_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"software.sslmate.com/src/go-pkcs12"

	"runnerd/infra/release"
	msg "runnerd/messages"
)

const registered = `{"runnerId":"r/1","accessToken":"access","lastEventId":"7","later":true,
	"config":{"revision":3,"enabled":true,"capacity":2,"evictionSeconds":60,"imageMappings":[{"pattern":"a/*","to":"b/*"}]}}`

// server accepts registrations, and answers other requests by answer.
func server(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/register") && r.Header.Get("Authorization") == "Bearer token" {
			_, _ = io.WriteString(w, registered)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, url string) *release.Client {
	t.Helper()
	c, err := release.New(release.Options{URL: url, Token: " token \n", Name: "n", UUID: "u", Version: "1", PublicKey: []byte("key"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func registeredClient(t *testing.T, url string) *release.Client {
	t.Helper()
	c := client(t, url)
	if _, err := c.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// respond returns a handler that answers with a status, a content type, a body and headers.
func respond(status int, media, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		for n := 0; n < len(headers); n += 2 {
			w.Header().Set(headers[n], headers[n+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	html    = "text/html"
	page    = "<html>\n  <h1>Welcome\x00</h1>"
	problem = "application/problem+json"
)

func TestRegisterProvidesCredentials(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" || r.Header.Get("User-Agent") != "runnerd/1" || r.URL.EscapedPath() != "/base/api/v1/runners/r%2F1/heartbeat" {
			t.Errorf("%s %v", r.URL.EscapedPath(), r.Header)
		}
		_, _ = io.WriteString(w, `{"abort":[{"jobId":"j","executionId":"","reason":"no"}]}`)
	})
	c := client(t, s.URL+"/base")
	var refusal *msg.Refusal
	if _, err := c.Heartbeat(t.Context(), nil); !errors.As(err, &refusal) || !refusal.Unregistered() {
		t.Errorf("before registering: %v", err)
	}
	got, err := c.Register(t.Context())
	want := msg.Registration{RunnerID: "r/1", AccessToken: "access", LastEventID: "7", Config: msg.Config{
		Revision: 3, Enabled: true, Capacity: 2, Eviction: time.Minute, ImageMappings: []msg.Mapping{{Pattern: "a/*", To: "b/*"}},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	orders, err := c.Heartbeat(t.Context(), []msg.JobPhase{{ID: "j", Phase: "running"}})
	if diff := cmp.Diff([]msg.StopOrder{{ID: "j", Reason: "no"}}, orders); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for what, test := range map[string]struct {
		answer   http.HandlerFunc
		want     *msg.Refusal // nil: an error that is not a Refusal
		wantText string
	}{
		"a problem":                      {respond(409, problem, `{"title":"Conflict","status":409,"detail":"an older offer"}`), &msg.Refusal{Op: "confirm", Status: 409, Detail: "an older offer"}, ""},
		"a problem without detail":       {respond(410, problem, `{"title":"Gone","status":410}`), &msg.Refusal{Op: "confirm", Status: 410, Detail: "Gone"}, ""},
		"unauthorized without a problem": {respond(401, html, page), &msg.Refusal{Op: "confirm", Status: 401, Detail: "<html> <h1>Welcome </h1>"}, ""},
		"busy, wait seconds":             {respond(503, problem, `{"title":"Busy","status":503}`, "Retry-After", "7"), &msg.Refusal{Op: "confirm", Status: 503, Detail: "Busy", RetryAfter: 7 * time.Second}, ""},
		"busy, wait a year":              {respond(429, "", "", "Retry-After", "31536000"), &msg.Refusal{Op: "confirm", Status: 429, RetryAfter: time.Hour}, ""},
		"busy, until a date long ago":    {respond(503, "", "", "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), &msg.Refusal{Op: "confirm", Status: 503}, ""},
		"busy, until a date far away":    {respond(503, "", "", "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), &msg.Refusal{Op: "confirm", Status: 503, RetryAfter: time.Hour}, ""},
		"busy, until something":          {respond(503, "", "", "Retry-After", "soon"), &msg.Refusal{Op: "confirm", Status: 503}, ""},
		"a proxy without a backend":      {respond(404, html, page), nil, "HTTP 404, but not from a Release server"},
		"a page with 200":                {respond(200, html, page), nil, `HTTP 200, but not from a Release server (expected HTTP 204; the body begins with "<html> <h1>Welcome </h1>")`},
		"a redirect to a login":          {respond(302, html, "", "Location", "http://login.test/"), nil, `redirects to "http://login.test/"`},
		"no answer":                      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, "EOF"},
	} {
		t.Run(what, func(t *testing.T) {
			err := registeredClient(t, server(t, test.answer).URL).Confirm(t.Context(), "j", "e")
			var refusal *msg.Refusal
			errors.As(err, &refusal)
			if diff := cmp.Diff(test.want, refusal); diff != "" {
				t.Error(err, diff)
			}
			if err == nil || !strings.Contains(err.Error(), test.wantText) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

const offer = `{"jobId":"j","executionId":"e","kind":"task","taskId":"t","taskType":"a.B","image":"i","sessionKey":"a2V5","input":"aW4="`

func TestReserveChecksOffers(t *testing.T) {
	for what, test := range map[string]struct {
		body     string
		wantText string // empty: one offer
	}{
		"valid":                       {`{"jobs":[` + offer + `}]}`, ""},
		"with all optional fields":    {`{"jobs":[` + offer + `,"imagePullPolicy":"always","priority":3,"timeoutSeconds":9,"limits":{"memory":1,"cpus":0.5,"pids":2},"new":{}}]}`, ""},
		"one of two is invalid":       {`{"jobs":[{},` + offer + `}]}`, ""},
		"no jobs":                     {`{}`, "jobs: missing"},
		"an empty list":               {`{"jobs":[]}`, "the list is empty"},
		"an HTML page":                {page, "expected JSON"},
		"a list":                      {`[]`, "expected an object"},
		"a missing field":             {`{"jobs":[` + strings.Replace(offer, `"image":"i",`, "", 1) + `}]}`, "jobs[0].image: missing"},
		"a field is null":             {`{"jobs":[` + strings.Replace(offer, `"i"`, "null", 1) + `}]}`, "jobs[0].image: missing"},
		"a field of another type":     {`{"jobs":[` + offer + `,"priority":"high"}]}`, "jobs[0].priority"},
		"a key that is no base64":     {`{"jobs":[` + strings.Replace(offer, "a2V5", "%", 1) + `}]}`, "jobs[0].sessionKey"},
		"without input":               {`{"jobs":[` + strings.Replace(offer, `,"input":"aW4="`, "", 1) + `}]}`, "jobs[0].input: missing, as is inputUrl"},
		"an empty id":                 {`{"jobs":[` + strings.Replace(offer, `"e"`, `""`, 1) + `}]}`, "executionId"},
		"an id that changes the path": {`{"jobs":[` + strings.Replace(offer, `"j"`, `".."`, 1) + `}]}`, `jobs[0].jobId: ".." would change the path`},
		"an unknown kind":             {`{"jobs":[` + strings.Replace(offer, `"task"`, `"cron"`, 1) + `}]}`, `jobs[0].kind: "cron"`},
		"an unknown policy":           {`{"jobs":[` + offer + `,"imagePullPolicy":"often"}]}`, `"often"`},
		"a negative limit":            {`{"jobs":[` + offer + `,"limits":{"memory":-1}}]}`, "must not be negative"},
		"a time limit of centuries":   {`{"jobs":[` + offer + `,"timeoutSeconds":99999999999}]}`, "timeoutSeconds"},
	} {
		t.Run(what, func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("max") != "2" || r.URL.Query().Get("wait") != "50s" {
					t.Errorf("query %s", r.URL.RawQuery)
				}
				_, _ = io.WriteString(w, test.body)
			})
			offers, err := registeredClient(t, s.URL).Reserve(t.Context(), 2, 50*time.Second)
			switch {
			case test.wantText == "" && (err != nil || len(offers) != 1 || offers[0].Image != "i" || string(offers[0].SessionKey) != "key"):
				t.Errorf("%+v, %v", offers, err)
			case test.wantText != "" && (err == nil || !strings.Contains(err.Error(), test.wantText)):
				t.Errorf("got error %v", err)
			}
			var refusal *msg.Refusal
			if errors.As(err, &refusal) {
				t.Error("the error is a Refusal")
			}
		})
	}
}

func TestReserveWithoutJobsIsNoError(t *testing.T) {
	offers, err := registeredClient(t, server(t, respond(204, "", "")).URL).Reserve(t.Context(), 1, 0)
	if err != nil || offers != nil {
		t.Errorf("%v, %v", offers, err)
	}
}

func TestRegisterRejectsInvalidConfiguration(t *testing.T) {
	for what, test := range map[string]struct{ old, new, wantText string }{
		"negative capacity":   {`"capacity":2`, `"capacity":-2`, "config.capacity: -2 must not be negative"},
		"missing capacity":    {`"capacity":2,`, ``, "config.capacity: missing"},
		"fractional capacity": {`"capacity":2`, `"capacity":2.5`, "config.capacity"},
		"negative eviction":   {`"evictionSeconds":60`, `"evictionSeconds":-1`, "config.evictionSeconds"},
		"half a mapping":      {`,"to":"b/*"`, ``, "config.imageMappings[0].to: missing"},
		"no token":            {`"access"`, `""`, "accessToken"},
		"two lines of token":  {`"access"`, `"acc\ness"`, "must not contain control characters"},
		"a path":              {`"r/1"`, `".."`, "runnerId"},
	} {
		t.Run(what, func(t *testing.T) {
			s := httptest.NewServer(respond(200, "application/json", strings.Replace(registered, test.old, test.new, 1)))
			defer s.Close()
			_, err := client(t, s.URL).Register(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.wantText) || strings.Contains(what, "negative") != errors.Is(err, msg.ErrConfig) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestAppendLogSendsContentRange(t *testing.T) {
	for what, test := range map[string]struct {
		offset, total int64
		text, want    string
	}{
		"the first":       {0, -1, "abc", "bytes 0-2/*"},
		"a later one":     {10, -1, "abc", "bytes 10-12/*"},
		"the last":        {10, 13, "abc", "bytes 10-12/13"},
		"the last, empty": {13, 13, "", "bytes */13"},
		"of an empty log": {0, 0, "", "bytes */0"},
	} {
		t.Run(what, func(t *testing.T) {
			s := server(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if got := r.Header.Get("Content-Range"); got != test.want || string(body) != test.text || r.Method != http.MethodPatch {
					t.Errorf("%s %q %q", r.Method, got, body)
				}
				respond(204, "", "", "Log-Offset", "42")(w, r)
			})
			if n, err := registeredClient(t, s.URL).AppendLog(t.Context(), "j", test.offset, []byte(test.text), test.total); n != 42 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

func TestAppendLogReturnsServersOffset(t *testing.T) {
	conflict := `{"title":"Conflict","status":409}`
	for what, test := range map[string]struct {
		answer http.HandlerFunc
		want   *msg.Refusal
	}{
		"another offset":        {respond(409, problem, conflict, "Log-Offset", "5"), &msg.Refusal{Op: "log", Status: 409, Detail: "Conflict", Offset: 5}},
		"too large":             {respond(413, problem, `{"title":"Too large","status":413}`), &msg.Refusal{Op: "log", Status: 413, Detail: "Too large"}},
		"too large for a proxy": {respond(413, html, page), nil},
		"409 without offset":    {respond(409, problem, conflict), nil},
		"204 without offset":    {respond(204, "", ""), nil},
		"negative offset":       {respond(204, "", "", "Log-Offset", "-1"), nil},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := registeredClient(t, server(t, test.answer).URL).AppendLog(t.Context(), "j", 0, []byte("x"), -1)
			var refusal *msg.Refusal
			errors.As(err, &refusal)
			if diff := cmp.Diff(test.want, refusal); err == nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

func TestFinishPathDependsOnKind(t *testing.T) {
	for kind, path := range map[msg.Kind]string{msg.Task: "/api/v1/jobs/a%2Fb/finish", msg.Script: "/api/v1/scripts/a%2Fb/finish"} {
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.URL.EscapedPath() != path || string(body) != `{"executionId":"e","exitCode":3,"outcome":"timed-out","result":"cg=="}` {
				t.Errorf("%s %s", r.URL.EscapedPath(), body)
			}
			w.WriteHeader(204)
		})
		job := msg.Job{ID: "a/b", Execution: "e", Kind: kind}
		if err := registeredClient(t, s.URL).Finish(t.Context(), job, msg.Ending{Outcome: msg.TimedOut, ExitCode: 3}, []byte("cg==")); err != nil {
			t.Error(err)
		}
	}
}

func TestTokenIsSentToTheServerOnly(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent to another origin")
		}
		_, _ = io.WriteString(w, "aW5wdXQ=")
	}))
	defer elsewhere.Close()
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer access":
			t.Error("the token was not sent to the server")
		case r.URL.Path == "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case r.URL.Path == "/page":
			respond(200, html, page)(w, r)
		default:
			_, _ = io.WriteString(w, "aW5wdXQ=")
		}
	})
	c := registeredClient(t, s.URL)
	for _, from := range []string{"/api/v1/jobs/j/input", "input", s.URL + "/x", "/moved", elsewhere.URL} {
		body, err := c.FetchInput(t.Context(), from)
		if err != nil {
			t.Error(from, err)
			continue
		}
		if text, err := io.ReadAll(body); string(text) != "aW5wdXQ=" || err != nil {
			t.Errorf("%s: %q, %v", from, text, err)
		}
		body.Close()
	}
	for _, from := range []string{"file:///etc/passwd", "http://", ":", "/page"} {
		if _, err := c.FetchInput(t.Context(), from); err == nil {
			t.Errorf("%s was fetched", from)
		}
	}
}

func TestCallReturnsCauseOfItsContext(t *testing.T) {
	cause := errors.New("draining")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := server(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(cause)
		<-r.Context().Done()
	})
	if _, err := registeredClient(t, s.URL).Reserve(ctx, 1, 50*time.Second); !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestConnectionErrorsSayWhatToDo(t *testing.T) {
	secure := httptest.NewTLSServer(respond(200, "application/json", registered))
	defer secure.Close()
	plain := server(t, respond(204, "", ""))
	gone := httptest.NewServer(nil)
	gone.Close()
	for what, test := range map[string]struct{ url, wantText string }{
		"an unknown CA":   {secure.URL, "set --rest-client-ca"},
		"no listener":     {gone.URL, "nothing listens there"},
		"no TLS":          {strings.Replace(plain.URL, "http:", "https:", 1), "begin the URL with http://"},
		"an unknown host": {"http://server.invalid", "server.invalid"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := client(t, test.url).Register(t.Context())
			var refusal *msg.Refusal
			if err == nil || !strings.Contains(err.Error(), test.wantText) || errors.As(err, &refusal) {
				t.Errorf("got error %v", err)
			}
		})
	}

}

func TestExpiredCertificateIsNamed(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	expired := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, expired, expired, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(respond(200, "application/json", registered))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
	s.StartTLS()
	defer s.Close()
	roots, err := release.Roots(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := release.New(release.Options{URL: s.URL, Token: "token", RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	var refusal *msg.Refusal
	if _, err := c.Register(t.Context()); err == nil || errors.As(err, &refusal) || !strings.Contains(err.Error(), "renew the server's certificate") {
		t.Errorf("got error %v", err)
	}
}

func TestOperatorsCAIsTrusted(t *testing.T) {
	s := httptest.NewTLSServer(respond(200, "application/json", registered))
	defer s.Close()
	store, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{s.Certificate()}, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	for what, given := range map[string]struct{ pem, store []byte }{
		"in PEM":           {pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})},
		"in a trust store": {store: store},
	} {
		t.Run(what, func(t *testing.T) {
			roots, err := release.Roots(given.pem, given.store, "changeit")
			if err != nil {
				t.Fatal(err)
			}
			c, err := release.New(release.Options{URL: s.URL, Token: "token", RootCAs: roots})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Register(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNewRejectsInvalidOptions(t *testing.T) {
	for what, o := range map[string]release.Options{
		"no URL":         {Token: "t"},
		"no scheme":      {Token: "t", URL: "release.test:5516"},
		"another scheme": {Token: "t", URL: "ftp://release.test"},
		"no token":       {URL: "http://release.test"},
		"an empty token": {URL: "http://release.test", Token: " \n"},
	} {
		if _, err := release.New(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for _, pem := range []string{"no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := release.Roots([]byte(pem), nil, ""); err == nil {
			t.Error("a CA file without a certificate was accepted")
		}
	}
	if _, err := release.Roots(nil, []byte("no store"), ""); err == nil {
		t.Error("an invalid trust store was accepted")
	}
}

// Otherwise the runner would drop the credentials that it has just received.
func TestRefusalOfOldCredentialsKeepsNewOnes(t *testing.T) {
	tokens := 0
	var c *release.Client
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/register") {
			tokens++
			_, _ = io.WriteString(w, strings.Replace(registered, `"access"`, strconv.Quote("access"+strconv.Itoa(tokens)), 1))
			return
		}
		if tokens == 1 { // another registration during the request
			if _, err := c.Register(context.Background()); err != nil {
				t.Error(err)
			}
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	c = registeredClient(t, s.URL)
	for _, want := range []bool{false, true} {
		var refusal *msg.Refusal
		if _, err := c.Heartbeat(t.Context(), nil); !errors.As(err, &refusal) || refusal.Unregistered() != want {
			t.Errorf("after %d registrations: %v, register again: %v", tokens, err, !want)
		}
	}
}

func TestSlowBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	body, err := registeredClient(t, s.URL).FetchInput(t.Context(), "/input")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadAll(body); err == nil || !strings.Contains(err.Error(), "slower than 256 bytes per second") {
		t.Errorf("error %v", err)
	}
}
