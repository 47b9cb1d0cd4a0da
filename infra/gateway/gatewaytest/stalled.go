package gatewaytest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"runnerd/infra/contract"
)

// Stalled is a GET of the Secret on a connection that takes a few kilobytes, and more only when they are read: an answer that is larger
// than that is not acknowledged before.
type Stalled struct {
	t      testing.TB
	plain  *net.TCPConn
	secure *tls.Conn
}

// Stall sends the GET.
func (c *Client) Stall() *Stalled {
	c.t.Helper()
	host := c.access.Env[contract.KubernetesHost]
	narrow := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		outer := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if outer != nil {
			return outer
		}
		return err
	}}
	plain, err := narrow.Dial("tcp", net.JoinHostPort(host, c.access.Env[contract.KubernetesPort]))
	Must(c.t, err)
	c.t.Cleanup(func() { _ = plain.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.access.Files["sa/"+contract.CAFile])
	secure := tls.Client(plain, &tls.Config{RootCAs: roots, ServerName: host})
	_, err = fmt.Fprintf(secure, "GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nAuthorization: Bearer %s\r\n\r\n", c.Own(), c.agent, Token(c.access))
	Must(c.t, err)
	return &Stalled{c.t, plain.(*net.TCPConn), secure}
}

// Begin waits for the answer's header, and returns a reader of the rest.
func (s *Stalled) Begin() io.ReadCloser {
	s.t.Helper()
	r, err := http.ReadResponse(bufio.NewReaderSize(s.secure, 16), nil)
	Must(s.t, err)
	return r.Body
}

// Break resets the connection.
func (s *Stalled) Break() {
	s.t.Helper()
	Must(s.t, s.plain.SetLinger(0))
	Must(s.t, s.plain.Close())
}
