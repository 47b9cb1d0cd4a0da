package gateway

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestTakenPortErrorNamesTheFix(t *testing.T) {
	host := net.IPv4(127, 0, 0, 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = taken.Close() }()
	_, err = Listen(host, port(taken), 0)
	if err == nil || !strings.Contains(err.Error(), "stop that program") {
		t.Errorf("got %v", err)
	}
}

func TestListenBindsMissingAddress(t *testing.T) {
	l, err := Listen(net.IPv4(192, 0, 2, 7), 0, 0)
	must(t, err)
	must(t, errors.Join(l.Secrets.Close(), l.Callbacks.Close()))
}
