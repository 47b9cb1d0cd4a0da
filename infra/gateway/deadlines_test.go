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

// The limits in time, on virtual time: the servers are those of Serve, on connections in memory.

// pipes is a listener of connections in memory.
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

// close is for a gateway that did not serve.
func (e *env) close() {
	must(e.t, errors.Join(e.files.Close(), e.Listeners.Secrets.Close(), e.Listeners.Callbacks.Close()))
}

// bubble runs a test on virtual time with one of the two servers.
func bubble(t *testing.T, handler func(*Gateway) http.HandlerFunc, test func(t *testing.T, e *env, dial func() net.Conn)) {
	e := newSilentEnv(t, nil)
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
		time.Sleep(time.Second) // a connection with more to read lingers
	})
}

func callbackServer(g *Gateway) http.HandlerFunc { return g.serveCallbacks }

func TestAHeaderThatDoesNotEndIsCut(t *testing.T) {
	for name, handler := range map[string]func(*Gateway) http.HandlerFunc{
		"Secrets API": func(g *Gateway) http.HandlerFunc { return g.serveSecrets }, "callbacks": callbackServer,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, handler, func(t *testing.T, _ *env, dial func() net.Conn) {
				c := dial()
				_, err := io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\n")
				must(t, err)
				begun := time.Now()
				_, err = io.ReadAll(c) // for ever, without a limit
				must(t, err)
				if took := time.Since(begun); took != 10*time.Second {
					t.Errorf("it is cut after %v", took)
				}
			})
		})
	}
}

func TestAHeaderThatIsTooLargeIsRefused(t *testing.T) {
	bubble(t, callbackServer, func(t *testing.T, _ *env, dial func() net.Conn) {
		c := dial()
		go func() {
			_, _ = io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
		}()
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("answered %d", r.StatusCode)
		}
		must(t, c.Close())
	})
}

// posts begins a callback of so many bytes, of which it writes the body.
func posts(t *testing.T, e *env, c net.Conn, length int, body string) {
	t.Helper()
	_, err := e.Admit(msg.ExecutorRecord{ID: "slow", Job: "job"})
	must(t, err)
	must(t, e.OpenURLs("slow", msg.JobURL{Execution: "job"}))
	_, err = fmt.Fprintf(c, "POST /%s/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", callbackPath, e.secretPath(callbackPath, "job"), length, body)
	must(t, err)
}

func TestABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	for what, body := range map[string]string{"half of a body": "half", "none of it": ""} {
		t.Run(what, func(t *testing.T) {
			bubble(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
				c, begun := dial(), time.Now()
				posts(t, e, c, 100, body)
				r, err := http.ReadResponse(bufio.NewReader(c), nil) // never, without a deadline
				must(t, err)
				if took := time.Since(begun); r.StatusCode != http.StatusServiceUnavailable || took != readTime {
					t.Errorf("answered %d after %v", r.StatusCode, took)
				}
				if permits := len(e.find("slow").bodies); permits != 0 {
					t.Error("its body still has the permit")
				}
				must(t, c.Close())
			})
		})
	}
}

// Python gives up after 60 s, and would then say that its job failed.
func TestRule9ACallbackThatNobodyAnswersIsAskedToComeAgainWithin45Seconds(t *testing.T) {
	bubble(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
		c, begun := dial(), time.Now()
		posts(t, e, c, 4, "body")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if took := time.Since(begun); r.StatusCode != http.StatusServiceUnavailable || took != 45*time.Second {
			t.Errorf("answered %d after %v", r.StatusCode, took)
		}
		if at := e.find("slow"); len(at.waiting)+len(at.queue.events)+len(at.bodies) > 0 {
			t.Errorf("left: %v, %v, %d bodies", at.waiting, at.queue.events, len(at.bodies))
		}
		must(t, c.Close())
	})
}

func TestABodyWaitsForAnotherNoLongerThanItsOwnTime(t *testing.T) {
	bubble(t, callbackServer, func(t *testing.T, e *env, dial func() net.Conn) {
		_, err := e.Admit(msg.ExecutorRecord{ID: "slow", Job: "job"})
		must(t, err)
		e.find("slow").bodies <- struct{}{}
		c, begun := dial(), time.Now()
		posts(t, e, c, 4, "body")
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		if took := time.Since(begun); r.StatusCode != http.StatusServiceUnavailable || took != storeTime {
			t.Errorf("answered %d after %v", r.StatusCode, took)
		}
		must(t, c.Close())
	})
}

// A plugin that writes without end must not have its file read without end.
func TestChangesOfTheResultFileAreToldNoMoreOftenThanItsReadingRests(t *testing.T) {
	e := newSilentEnv(t, nil)
	defer e.close()
	synctest.Test(t, func(t *testing.T) {
		_, err := e.Admit(msg.ExecutorRecord{ID: "writes"})
		must(t, err)
		at := e.find("writes")
		told := make(chan time.Duration, 100)
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_ = e.Requests(ctx, "writes", func(msg.SessionEvent) error {
				told <- time.Since(begun)
				defer at.readsFile()()
				time.Sleep(200 * time.Millisecond)
				return nil
			})
		}()
		for range 4000 { // 4 s
			at.fileChanged()
			time.Sleep(time.Millisecond)
		}
		cancel()
		synctest.Wait()
		if n := len(told); n != 4 { // once a second
			t.Errorf("told %d times", n)
		}
		e.Dismiss("writes")
	})
}

func TestADismissedExecutorLeavesNoTimer(t *testing.T) {
	e := newSilentEnv(t, nil)
	defer e.close()
	_, err := e.Admit(msg.ExecutorRecord{ID: "timer"})
	must(t, err)
	at := e.find("timer")
	at.fileRests = time.Now().Add(time.Hour)
	at.fileChanged()
	e.Dismiss("timer")
	if at.fileTimer.Stop() {
		t.Error("its timer still runs")
	}
	at.fileTimer = nil
	at.fileChanged()
	if at.fileTimer != nil {
		t.Error("it starts another one")
	}
}
