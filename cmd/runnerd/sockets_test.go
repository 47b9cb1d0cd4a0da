package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runnerd/infra/logging"
	msg "runnerd/messages"
	"runnerd/spool"
)

// manager is to the program what systemd is: it keeps its sockets, starts it with them, and hears how it fares.
type manager struct {
	t       *testing.T
	server  *releaseServer
	state   string
	sockets map[string]net.Listener
	notices *net.UnixConn
	heard   []string // and not asked for yet
}

func newManager(t *testing.T) *manager {
	t.Helper()
	log, err := logging.New(os.Stderr, "json", "error")
	must(t, err)
	m := &manager{t: t, state: t.TempDir(), sockets: map[string]net.Listener{apiSocket: listen(t), callbackSocket: listen(t)}}
	m.server, err = startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t", Capacity: 4}, nil, log)
	must(t, err)
	t.Cleanup(func() { must(t, m.server.close()) })
	m.notices, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(m.state, "notify")})
	must(t, err)
	t.Cleanup(func() { must(t, m.notices.Close()) })
	return m
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// start runs the program with the sockets. Its pid, which it is told, is that of the shell that becomes it.
func (m *manager) start(flags ...string) *exec.Cmd {
	m.t.Helper()
	args := append([]string{"-c", `LISTEN_PID=$$ exec runnerd run "$@"`, "sh", "--release-url", m.server.url, "--token=t", "--state-dir", m.state,
		"--health-address=127.0.0.1:0", "--driver=process", "--process-image=x=/bin/true"}, flags...)
	c := exec.Command("sh", args...)
	var names []string
	for name, l := range m.sockets {
		file, err := l.(*net.TCPListener).File()
		must(m.t, err)
		defer file.Close()
		names, c.ExtraFiles = append(names, name), append(c.ExtraFiles, file)
	}
	c.Env = append(os.Environ(), fmt.Sprint("LISTEN_FDS=", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		"NOTIFY_SOCKET="+m.notices.LocalAddr().String())
	said := &output{}
	c.Stderr = said
	must(m.t, c.Start())
	m.t.Cleanup(func() {
		_ = c.Process.Kill() // one that has ended is not there to be killed
		_ = c.Wait()
		if m.t.Failed() {
			m.t.Log(said)
		}
	})
	return c
}

// output may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// hears waits until the program tells this, or has told it among other things: a start that takes long may be ready before it is over.
func (m *manager) hears(notice string) {
	m.t.Helper()
	must(m.t, m.notices.SetReadDeadline(time.Now().Add(patience)))
	for text := make([]byte, 4096); !slices.Contains(m.heard, notice); {
		n, err := m.notices.Read(text)
		if err != nil {
			m.t.Fatalf("the manager does not hear %s, but %q: %v", notice, m.heard, err)
		}
		m.heard = append(m.heard, string(text[:n]))
	}
	at := slices.Index(m.heard, notice)
	m.heard = slices.Delete(m.heard, at, at+1)
}

// status is what a request on the connection is answered.
func status(t *testing.T, c net.Conn, url string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return c, nil },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	answer, err := client.Get(url)
	must(t, err)
	must(t, answer.Body.Close())
	return answer.StatusCode
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestWhoComesToTheKeptSocketsWhileTheRunnerIsAwayWaitsForItsNextStart(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	first := m.start()
	m.hears("READY=1")
	m.hears("STATUS=ready")
	if got := status(t, dial(t, m.sockets[apiSocket]), "https://gateway/"); got != http.StatusForbidden {
		t.Errorf("the first is served at the sockets with %d", got)
	}
	must(t, first.Process.Kill())
	_ = first.Wait() // it was killed

	api, callback := dial(t, m.sockets[apiSocket]), dial(t, m.sockets[callbackSocket])
	second := m.start("--on-exit=detach")
	if got := status(t, api, "https://gateway/"); got != http.StatusForbidden {
		t.Errorf("who came for a job is answered %d", got)
	}
	if got := status(t, callback, "http://gateway/callback/x"); got != http.StatusNotFound {
		t.Errorf("who came with a result is answered %d", got)
	}
	m.hears("READY=1")
	must(t, second.Process.Signal(syscall.SIGTERM))
	m.hears("STOPPING=1")
	must(t, second.Wait())
	dial(t, m.sockets[apiSocket]) // the manager has it still
}

func TestSocketsThatDoNotFitAreRefusedAsWrongSettings(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.sockets = map[string]net.Listener{"https": m.sockets[apiSocket]}
	c := m.start()
	_ = c.Wait() // the code tells
	if code := c.ProcessState.ExitCode(); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if said := c.Stderr.(*output).String(); !strings.Contains(said, "passes the sockets https; expected are api and callback") {
		t.Errorf("it says %s", said)
	}
}

func TestTheAddressOfTheKeptSocketsMustBeTheOneThatIsSet(t *testing.T) {
	t.Parallel()
	api, callback := listen(t), listen(t)
	everywhere, err := net.Listen("tcp", ":0")
	must(t, err)
	defer everywhere.Close()
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer unix.Close()
	both := map[string]net.Listener{apiSocket: api, callbackSocket: callback}
	for _, row := range []struct {
		what    string
		set     address
		sockets map[string]net.Listener
		want    address
		says    string
	}{
		{what: "nothing is set", sockets: both, want: address{"127.0.0.1", port(api), port(callback)}},
		{what: "the same is set", set: address{"127.0.0.1", port(api), port(callback)}, sockets: both, want: address{"127.0.0.1", port(api), port(callback)}},
		{what: "they listen everywhere", set: address{Host: "10.0.0.1"}, sockets: map[string]net.Listener{apiSocket: everywhere, callbackSocket: everywhere},
			want: address{"10.0.0.1", port(everywhere), port(everywhere)}},
		{what: "another address is set", set: address{Host: "10.0.0.1"}, sockets: both, says: "gateway-address is 10.0.0.1, and the service manager's socket has 127.0.0.1"},
		{what: "another port is set", set: address{Callbacks: 1}, sockets: both, says: "gateway-callback-port is 1, and"},
		{what: "one is missing", sockets: map[string]net.Listener{callbackSocket: callback}, says: "passes the sockets callback; expected are"},
		{what: "one is too many", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: callback, "x": api}, says: "passes the sockets api, callback, x;"},
		{what: "one is no TCP socket", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: unix}, says: "let it listen at an IP address"},
		{what: "one listens elsewhere", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: everywhere}, says: "listen at different addresses"},
	} {
		t.Run(row.what, func(t *testing.T) {
			got, err := row.set.fit(row.sockets)
			switch {
			case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
				t.Errorf("error %v; want one that says %s", err, row.says)
			case row.says == "" && (err != nil || got != row.want):
				t.Errorf("%+v, %v; want %+v", got, err, row.want)
			}
		})
	}
}

func TestKeptSocketsMustListenWhereExecutorsThatLiveWereTold(t *testing.T) {
	t.Parallel()
	files, err := spool.Dir(t.TempDir())
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	defer s.Close()
	d := &daemon{spool: s, sockets: map[string]net.Listener{apiSocket: listen(t), callbackSocket: listen(t)}}
	told := address{"127.0.0.1", 1, port(d.sockets[callbackSocket])}
	must(t, d.keepAddress(told))
	if _, err := d.decideAddress(t.Context()); err != nil {
		t.Errorf("without an executor: %v", err)
	}
	must(t, s.CreateExecutor(msg.ExecutorRecord{ID: "lives"}, nil))
	if _, err := d.decideAddress(t.Context()); err == nil || !strings.Contains(err.Error(), "executors that live were told "+told.String()) {
		t.Errorf("with an executor: %v", err)
	}
}
