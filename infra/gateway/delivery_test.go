package gateway

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

// narrow is a GET of the Secret on a connection that takes a few kilobytes and then only what is read.
func (x *executor) narrow() (*net.TCPConn, *tls.Conn) {
	x.t.Helper()
	small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		outer := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if outer != nil {
			return outer
		}
		return err
	}}
	plain, err := small.Dial("tcp", x.Listeners.Secrets.Addr().String())
	must(x.t, err)
	x.t.Cleanup(func() { _ = plain.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(x.access.Files["sa/ca.crt"])
	secure := tls.Client(plain, &tls.Config{RootCAs: roots, ServerName: x.Host.String()})
	_, err = fmt.Fprintf(secure, "GET %s/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", collection, secretName(x.id), gatewaytest.Token(x.access))
	must(x.t, err)
	return plain.(*net.TCPConn), secure
}

func TestAJobIsDeliveredOnceItsLastByteIsAcknowledged(t *testing.T) {
	for _, size := range []int{200 << 10, 8 << 20} { // it fits into the sender's buffer, and it does not
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			x := newEnv(t, func(o *Options) { o.InlineInput = 16 << 20 }).executor("narrow", msg.Daemon)
			_, secure := x.narrow()
			request := expect[msg.SecretRequested](x).Request
			j := x.job()
			must(t, x.OpenURLs(x.id, j.url()))
			x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", size)})
			r, err := http.ReadResponse(bufio.NewReaderSize(secure, 16), nil)
			must(t, err)
			other := gatewaytest.Python(t, x.access)
			for range 10 { // round trips on other connections, and nothing is told but them
				_, request := x.ask(other)
				x.Answer(x.id, request, msg.Superseded{})
			}
			_, err = io.Copy(io.Discard, r.Body)
			must(t, err)
			if got := expect[msg.Delivered](x); got.Execution != j.id {
				t.Errorf("delivered: %+v", got)
			}
		})
	}
}

func TestAJobWhoseConnectionBreaksIsNotDelivered(t *testing.T) {
	x := newEnv(t, nil).executor("broken", msg.Daemon)
	plain, secure := x.narrow()
	request := expect[msg.SecretRequested](x).Request
	j := x.job()
	must(t, x.OpenURLs(x.id, j.url()))
	x.Answer(x.id, request, msg.GiveJob{Execution: j.id, Input: strings.Repeat("A", 200<<10)})
	_, err := io.ReadFull(secure, make([]byte, 100))
	must(t, err)
	must(t, plain.SetLinger(0))
	must(t, plain.Close())
	x.stop() // waits for whoever waits for the acknowledgement
	for len(x.events) > 0 {
		if got := <-x.events; got == msg.SessionEvent(msg.Delivered{Execution: j.id}) {
			t.Error("it is told as delivered")
		}
	}
}

// The job that the plugin was given last counts: an older one is over.
func TestAnOlderJobIsNotDelivered(t *testing.T) {
	e := newSilentEnv(t, nil)
	_, err := e.Admit(msg.ExecutorRecord{ID: "older", Job: "current"})
	must(t, err)
	at := e.find("older")
	at.isDelivered("before")
	at.isDelivered("current")
	if len(at.queue.events) != 1 || at.queue.events[0] != msg.SessionEvent(msg.Delivered{Execution: "current"}) {
		t.Errorf("told %v", at.queue.events)
	}
	e.close()
}
