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

// Stalled is a GET of the Secret on a connection with a receive buffer of a few kilobytes. A larger answer is not acknowledged until the
// test reads it.
type Stalled struct {
	t      testing.TB
	plain  *net.TCPConn
	secure *tls.Conn
}

// Stall sends a GET whose answer the test reads later.
func (c *Client) Stall() *Stalled {
	c.t.Helper()
	host := c.access.Env[contract.KubernetesHost]
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		outer := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		if outer != nil {
			return outer
		}
		return err
	}}
	plain, err := dialer.Dial("tcp", net.JoinHostPort(host, c.access.Env[contract.KubernetesPort]))
	Must(c.t, err)
	c.t.Cleanup(func() { _ = plain.Close() })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.access.Files["sa/"+contract.CAFile])
	secure := tls.Client(plain, &tls.Config{RootCAs: roots, ServerName: host})
	_, err = fmt.Fprintf(secure, "GET %s HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nAuthorization: Bearer %s\r\n\r\n", c.SecretPath(), c.agent, Token(c.access))
	Must(c.t, err)
	return &Stalled{c.t, plain.(*net.TCPConn), secure}
}

// ReadHeader reads the response's header and returns its body.
func (s *Stalled) ReadHeader() io.ReadCloser {
	s.t.Helper()
	r, err := http.ReadResponse(bufio.NewReaderSize(s.secure, 16), nil)
	Must(s.t, err)
	return r.Body
}

// Reset resets the connection.
func (s *Stalled) Reset() {
	s.t.Helper()
	Must(s.t, s.plain.SetLinger(0))
	Must(s.t, s.plain.Close())
}
