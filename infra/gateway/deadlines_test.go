package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	msg "runnerd/messages"
)

// These tests check time limits with virtual time. They use the servers of Serve on connections in memory.

// pipes is a listener for connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// close closes the watcher and the listeners, as Serve would.
func (e *env) close() {
	must(e.t, errors.Join(e.watcher.Close(), e.Listeners.Secrets.Close(), e.Listeners.Callbacks.Close()))
}

// withVirtualTime runs a test of one of the two servers with virtual time.
func withVirtualTime(t *testing.T, handler func(*Gateway) http.HandlerFunc, test func(t *testing.T, e *env, dial func() net.Conn)) {
	e := newIdleEnv(t, nil)
	defer e.close()
	synctest.Test(t, func(t *testing.T) {
		server := e.server(handler(e.Gateway))
		listener := pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- server.Serve(listener) }()
		test(t, e, listener.dial)
		must(t, server.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Second) // a connection with unread data stays open for a moment
	})
}

func callbackServer(g *Gateway) http.HandlerFunc { return g.serveCallbacks }

func TestIncompleteHeaderTimesOut(t *testing.T) {
	for name, handler := range map[string]func(*Gateway) http.HandlerFunc{
		"Secrets API": func(g *Gateway) http.HandlerFunc { return g.serveSecrets }, "callbacks": callbackServer,
	} {
		t.Run(name, func(t *testing.T) {
			withVirtualTime(t, handler, func(t *testing.T, _ *env, dial func() net.Conn) {
				c := dial()
				_, err := io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\n")
				must(t, err)
				start := time.Now()
				_, err = io.ReadAll(c) // would never return without a limit
				must(t, err)
				if d := time.Since(start); d != 10*time.Second {
					t.Errorf("closed after %v", d)
				}
			})
		})
	}
}

func TestTooLargeHeaderIsRefused(t *testing.T) {
	withVirtualTime(t, callbackServer, func(t *testing.T, _ *env, dial func() net.Conn) {
		c := dial()
		go func() {
			_, _ = io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
		}()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", r.StatusCode)
		}
		must(t, c.Close())
	})
}

// startCallback starts a callback with this content length and writes body, which may be shorter.
func startCallback(t *testing.T, e *env, c net.Conn, length int, body string) {
	t.Helper()
	_, err := e.Admit(msg.ExecutorRecord{ID: "slow", Job: "job"})
	must(t, err)
	must(t, e.OpenURLs("slow", msg.JobURL{Execution: "job"}))
	_, err = fmt.Fprintf(c, "POST /%s/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", callbackRoute, e.pathSecret(callbackRoute, "job"), length, body)
	must(t, err)
}

func TestIncompleteCallbackBodyTimesOut(t *testing.T) {
	for what, body := range map[string]string{"half of the body": "half", "no body": ""} {
		t.Run(what, func(t *testing.T) {
			withVirtualTime(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
				c, start := dial(), time.Now()
				startCallback(t, e, c, 100, body)
				r, err := http.ReadResponse(bufio.NewReader(c), nil) // would never return without a deadline
				must(t, err)
				if d := time.Since(start); r.StatusCode != http.StatusServiceUnavailable || d != readTimeout {
					t.Errorf("status %d after %v", r.StatusCode, d)
				}
				if permits := len(e.findEndpoint("slow").bodies); permits != 0 {
					t.Error("the permit was not released")
				}
				must(t, c.Close())
			})
		})
	}
}

// Python gives up after 60 s and then reports that its job failed.
func TestRule9UnansweredCallbackGets503After45Seconds(t *testing.T) {
	withVirtualTime(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
		c, start := dial(), time.Now()
		startCallback(t, e, c, 4, "body")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if d := time.Since(start); r.StatusCode != http.StatusServiceUnavailable || d != 45*time.Second {
			t.Errorf("status %d after %v", r.StatusCode, d)
		}
		if slow := e.findEndpoint("slow"); len(slow.waiting)+len(slow.queue.events)+len(slow.bodies) > 0 {
			t.Errorf("remaining: %v, %v, %d bodies", slow.waiting, slow.queue.events, len(slow.bodies))
		}
		must(t, c.Close())
	})
}

func TestCallbackWaitsForBodyPermitUntilTimeout(t *testing.T) {
	withVirtualTime(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
		_, err := e.Admit(msg.ExecutorRecord{ID: "slow", Job: "job"})
		must(t, err)
		e.findEndpoint("slow").bodies <- struct{}{}
		c, start := dial(), time.Now()
		startCallback(t, e, c, 4, "body")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if d := time.Since(start); r.StatusCode != http.StatusServiceUnavailable || d != storeTimeout {
			t.Errorf("status %d after %v", r.StatusCode, d)
		}
		must(t, c.Close())
	})
}

// A plugin that writes constantly must not cause constant reads.
func TestResultFileEventsAreRateLimited(t *testing.T) {
	e := newIdleEnv(t, nil)
	defer e.close()
	synctest.Test(t, func(t *testing.T) {
		_, err := e.Admit(msg.ExecutorRecord{ID: "writes"})
		must(t, err)
		writer := e.findEndpoint("writes")
		reported := make(chan struct{}, 100)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_ = e.Requests(ctx, "writes", func(msg.SessionEvent) error {
				reported <- struct{}{}
				defer writer.beginFileRead()()
				time.Sleep(200 * time.Millisecond)
				return nil
			})
		}()
		for range 4000 { // 4 s
			writer.reportFileChange()
			time.Sleep(time.Millisecond)
		}
		cancel()
		synctest.Wait()
		if n := len(reported); n != 4 { // once per second
			t.Errorf("reported %d times", n)
		}
		e.Dismiss("writes")
	})
}

func TestDismissStopsFileTimer(t *testing.T) {
	e := newIdleEnv(t, nil)
	defer e.close()
	_, err := e.Admit(msg.ExecutorRecord{ID: "timer"})
	must(t, err)
	endpoint := e.findEndpoint("timer")
	endpoint.nextFileRead = time.Now().Add(time.Hour)
	endpoint.reportFileChange()
	e.Dismiss("timer")
	if endpoint.fileTimer.Stop() {
		t.Error("the timer still runs")
	}
	endpoint.fileTimer = nil
	endpoint.reportFileChange()
	if endpoint.fileTimer != nil {
		t.Error("the endpoint started another timer")
	}
}
