package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
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

// manager acts as systemd: it owns the sockets, starts the program with them, and receives its notifications.
type manager struct {
	t        *testing.T
	server   *devServer
	state    string
	sockets  map[string]net.Listener
	notices  *net.UnixConn
	received []string // notices that no test has waited for yet
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

// start runs the program with the sockets. A shell sets LISTEN_PID to its own pid and replaces itself with the program.
func (m *manager) start(flags ...string) *exec.Cmd {
	m.t.Helper()
	return m.startWith(&syncBuffer{}, flags...)
}

// startWith is like start, with stderr as the program's.
func (m *manager) startWith(stderr io.Writer, flags ...string) *exec.Cmd {
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
	c.Stderr = stderr
	must(m.t, c.Start())
	m.t.Cleanup(func() {
		_ = c.Process.Kill() // fails if it has ended
		_ = c.Wait()
		if m.t.Failed() {
			m.t.Log(stderr)
		}
	})
	return c
}

// syncBuffer is a buffer that can be read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *syncBuffer) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

func (o *syncBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// waitForNotice waits until the notice has arrived. Other notices may arrive before it, because a slow start may become ready early.
func (m *manager) waitForNotice(notice string) {
	m.t.Helper()
	must(m.t, m.notices.SetReadDeadline(time.Now().Add(testTimeout)))
	for text := make([]byte, 4096); !slices.Contains(m.received, notice); {
		n, err := m.notices.Read(text)
		if err != nil {
			m.t.Fatalf("no notice %s, but %q: %v", notice, m.received, err)
		}
		m.received = append(m.received, string(text[:n]))
	}
	i := slices.Index(m.received, notice)
	m.received = slices.Delete(m.received, i, i+1)
}

// status sends a request on the connection and returns the status of the answer.
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

func TestConnectionsToKeptSocketsWaitForNextStart(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	first := m.start()
	m.waitForNotice("READY=1")
	m.waitForNotice("STATUS=ready")
	if got := status(t, dial(t, m.sockets[apiSocket]), "https://gateway/"); got != http.StatusForbidden {
		t.Errorf("request to the first start: status %d", got)
	}
	must(t, first.Process.Kill())
	_ = first.Wait() // it was killed

	api, callback := dial(t, m.sockets[apiSocket]), dial(t, m.sockets[callbackSocket])
	second := m.start("--on-exit=detach")
	if got := status(t, api, "https://gateway/"); got != http.StatusForbidden {
		t.Errorf("waiting GET: status %d", got)
	}
	if got := status(t, callback, "http://gateway/callback/x"); got != http.StatusNotFound {
		t.Errorf("waiting callback: status %d", got)
	}
	m.waitForNotice("READY=1")
	must(t, second.Process.Signal(syscall.SIGTERM))
	m.waitForNotice("STOPPING=1")
	must(t, second.Wait())
	dial(t, m.sockets[apiSocket]) // the manager still owns it
}

func TestWrongSocketNamesHaveUsageCode(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	m.sockets = map[string]net.Listener{"https": m.sockets[apiSocket]}
	c := m.start()
	_ = c.Wait() // the exit code is checked
	if code := c.ProcessState.ExitCode(); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if output := c.Stderr.(*syncBuffer).String(); !strings.Contains(output, "passes the sockets https, but api and callback are expected") {
		t.Errorf("output: %s", output)
	}
}

func TestSocketsMustMatchTheSettings(t *testing.T) {
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
		name     string
		set      address
		sockets  map[string]net.Listener
		want     address
		wantText string
	}{
		{name: "nothing is set", sockets: both, want: address{"127.0.0.1", port(api), port(callback)}},
		{name: "the same is set", set: address{"127.0.0.1", port(api), port(callback)}, sockets: both, want: address{"127.0.0.1", port(api), port(callback)}},
		{name: "they listen at all addresses", set: address{Host: "10.0.0.1"}, sockets: map[string]net.Listener{apiSocket: everywhere, callbackSocket: everywhere},
			want: address{"10.0.0.1", port(everywhere), port(everywhere)}},
		{name: "another address is set", set: address{Host: "10.0.0.1"}, sockets: both, wantText: "--gateway-address is 10.0.0.1, but the service manager's socket has 127.0.0.1"},
		{name: "another port is set", set: address{Callbacks: 1}, sockets: both, wantText: "--gateway-callback-port is 1, but"},
		{name: "one is missing", sockets: map[string]net.Listener{callbackSocket: callback}, wantText: "passes the sockets callback, but"},
		{name: "one is too many", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: callback, "x": api}, wantText: "passes the sockets api, callback, x, but"},
		{name: "one is no TCP socket", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: unix}, wantText: "make it listen at an IP address"},
		{name: "one listens elsewhere", sockets: map[string]net.Listener{apiSocket: api, callbackSocket: everywhere}, wantText: "listen at different addresses"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.set.matchSockets(row.sockets)
			switch {
			case row.wantText != "" && (err == nil || !strings.Contains(err.Error(), row.wantText)):
				t.Errorf("got error %v, want %s", err, row.wantText)
			case row.wantText == "" && (err != nil || got != row.want):
				t.Errorf("%+v, %v; want %+v", got, err, row.want)
			}
		})
	}
}

func TestSocketsMustMatchRunningExecutorsAddress(t *testing.T) {
	t.Parallel()
	files, err := spool.Dir(t.TempDir())
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	defer s.Close()
	d := &daemon{spool: s, sockets: map[string]net.Listener{apiSocket: listen(t), callbackSocket: listen(t)}}
	last := address{"127.0.0.1", 1, port(d.sockets[callbackSocket])}
	must(t, d.saveAddress(last))
	if _, err := d.decideAddress(t.Context()); err != nil {
		t.Errorf("without an executor: %v", err)
	}
	must(t, s.CreateExecutor(msg.ExecutorRecord{ID: "lives"}, nil))
	if _, err := d.decideAddress(t.Context()); err == nil || !strings.Contains(err.Error(), "running executors use "+last.String()) {
		t.Errorf("with an executor: %v", err)
	}
}
