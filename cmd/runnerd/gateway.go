package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"runnerd/actors"
	"runnerd/infra/gateway"
	"runnerd/spool"
)

// address is the gateway's address. It is stored, because running executors keep using it after a restart.
type address struct {
	Host      string `json:"host"`
	Secrets   int    `json:"secretsPort"`
	Callbacks int    `json:"callbacksPort"`
}

// The names of the sockets that the service manager passes: FileDescriptorName= in infra/systemd.
const (
	apiSocket      = "api"
	callbackSocket = "callback"
)

// socketRetryDelay is how soon executors ask again after a planned stop, if the service manager keeps the sockets: their connections
// then wait for the next start instead of being refused.
const socketRetryDelay = time.Second

func (d *daemon) openGateway(ctx context.Context) error {
	at, err := d.decideAddress(ctx)
	if err != nil {
		return err
	}
	ip := net.ParseIP(at.Host)
	if ip == nil {
		return fmt.Errorf("the gateway's address %q is not an IP address: set --gateway-address to one that executors can reach", at.Host)
	}
	o := gateway.Options{
		Store: d.spool, Keys: d.identity, Log: d.log.With().Str("part", "gateway").Logger(), Host: ip,
		ReleaseURL: d.config.Release.URL, MaxResult: int64(d.config.Executor.MaxResult),
	}
	if d.sockets != nil {
		o.Listeners, o.RetryAfter = gateway.Listeners{Secrets: d.sockets[apiSocket], Callbacks: d.sockets[callbackSocket]}, socketRetryDelay
	} else if o.Listeners, err = gateway.Listen(ip, at.Secrets, at.Callbacks); err != nil {
		return err
	}
	at.Secrets, at.Callbacks = port(o.Listeners.Secrets), port(o.Listeners.Callbacks)
	if err := d.saveAddress(at); err != nil {
		return err
	}
	if d.gateway, err = gateway.New(o); err != nil {
		return err
	}
	return d.admitExecutors()
}

// admitExecutors registers the executors of an earlier start before the gateway serves, because a refused plugin does not retry.
func (d *daemon) admitExecutors() error {
	for _, rec := range d.spool.Executors() {
		if _, err := d.gateway.Admit(rec); err != nil {
			return err
		}
		if err := d.gateway.OpenURLs(rec.ID, actors.CallbackURLs(d.spool, rec)...); err != nil {
			return err
		}
	}
	return nil
}

// decideAddress chooses the gateway's address from the settings, the service manager's sockets, and the address that running executors
// use.
func (d *daemon) decideAddress(ctx context.Context) (want address, err error) {
	saved, err := d.loadAddress()
	if err != nil {
		return want, err
	}
	want = address{Host: d.config.Gateway.Address, Secrets: int(d.config.Gateway.APIPort), Callbacks: int(d.config.Gateway.CallbackPort)}
	if d.sockets == nil {
		return d.completeAddress(ctx, want, saved)
	}
	if want, err = want.matchSockets(d.sockets); err != nil {
		return want, exitError{err, exitUsage}
	}
	if want, err = d.completeAddress(ctx, want, saved); err != nil {
		return want, err
	}
	if saved.Host != "" && want != saved && len(d.spool.Executors()) > 0 {
		return want, fmt.Errorf("the service manager's sockets listen at %v, but running executors use %v: make the sockets listen there,"+
			" or start once without them and drain", want, saved)
	}
	return want, nil
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (a address) String() string {
	return fmt.Sprintf("%s, ports %d and %d", a.Host, a.Secrets, a.Callbacks)
}

// matchSockets returns the address of the service manager's sockets. It fails if the settings differ.
func (a address) matchSockets(sockets map[string]net.Listener) (address, error) {
	host, secrets, err := socketAddress(sockets, apiSocket)
	if err != nil {
		return a, err
	}
	other, callbacks, err := socketAddress(sockets, callbackSocket)
	switch {
	case err != nil:
		return a, err
	case len(sockets) > 2:
		return a, unexpectedSockets(sockets)
	case host != other:
		return a, fmt.Errorf("the service manager's sockets %q and %q listen at different addresses, %q and %q: make them listen at the same one", apiSocket, callbackSocket, host, other)
	}
	got := address{Host: cmp.Or(host, a.Host), Secrets: secrets, Callbacks: callbacks}
	for _, row := range []struct{ setting, given, got string }{
		{"gateway-address", a.Host, got.Host},
		{"gateway-api-port", strconv.Itoa(a.Secrets), strconv.Itoa(got.Secrets)},
		{"gateway-callback-port", strconv.Itoa(a.Callbacks), strconv.Itoa(got.Callbacks)},
	} {
		if row.given != "" && row.given != "0" && row.given != row.got {
			return a, fmt.Errorf("--%s is %s, but the service manager's socket has %s: make them equal, or remove the setting", row.setting, row.given, row.got)
		}
	}
	return got, nil
}

// socketAddress returns where a socket listens; host is empty if it listens at all addresses.
func socketAddress(sockets map[string]net.Listener, name string) (host string, port int, err error) {
	l := sockets[name]
	if l == nil {
		return "", 0, unexpectedSockets(sockets)
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0, fmt.Errorf("the service manager's socket %q listens at %s, which executors cannot reach: make it listen at an IP address and a port", name, l.Addr())
	}
	if at.IP.IsUnspecified() {
		return "", at.Port, nil
	}
	return at.IP.String(), at.Port, nil
}

func unexpectedSockets(sockets map[string]net.Listener) error {
	return fmt.Errorf("the service manager passes the sockets %s, but %s and %s are expected: set FileDescriptorName= in their units",
		strings.Join(slices.Sorted(maps.Keys(sockets)), ", "), apiSocket, callbackSocket)
}

// completeAddress fills in missing parts from the saved address and the engine's bridge. It waits for the engine only if there is no
// bridge of an earlier start, because running executors must reach the gateway even while the engine is down.
func (d *daemon) completeAddress(ctx context.Context, want, saved address) (address, error) {
	want.Secrets, want.Callbacks = cmp.Or(want.Secrets, saved.Secrets), cmp.Or(want.Callbacks, saved.Callbacks)
	for attempt := 1; want.Host == ""; attempt++ {
		host, err := d.engineAddress(ctx)
		switch {
		case err == nil:
			want.Host = host
		case canListen(saved.Host):
			want.Host = saved.Host
		default:
			d.health.setNotReady("waiting for the engine: " + err.Error())
			d.log.Warn().Err(err).Int("attempt", attempt).Msg("waiting for the engine: start it, or check DOCKER_HOST")
			select {
			case <-ctx.Done():
				return want, context.Cause(ctx)
			case <-time.After(2 * time.Second):
			}
		}
	}
	return want, nil
}

// engineAddress asks the engine for its bridge's address; an engine that hangs is an error.
func (d *daemon) engineAddress(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return d.engine.Address(ctx)
}

func canListen(host string) bool {
	if host == "" {
		return false
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	return err == nil && l.Close() == nil
}

func (d *daemon) loadAddress() (saved address, err error) {
	if text, ok := d.spool.Load(spool.Gateway); ok {
		if err := json.Unmarshal(text, &saved); err != nil {
			return saved, fmt.Errorf("read the saved address of the gateway: %w", err)
		}
	}
	return saved, nil
}

func (d *daemon) saveAddress(a address) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := d.spool.Save(spool.Gateway, text); err != nil {
		return fmt.Errorf("save the address of the gateway: %w", err)
	}
	return nil
}
