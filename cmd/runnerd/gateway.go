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

// address is where executors find the gateway. Those that live were told it, so it is kept.
type address struct {
	Host      string `json:"host"`
	Secrets   int    `json:"secretsPort"`
	Callbacks int    `json:"callbacksPort"`
}

// The names of the sockets that a service manager keeps: FileDescriptorName= in infra/systemd.
const (
	apiSocket      = "api"
	callbackSocket = "callback"
)

// withSockets is how soon executors ask again after a planned stop where the service manager keeps the sockets: there they wait
// for the next start, and need not be told to stay away until it is over.
const withSockets = time.Second

func (d *daemon) openGateway(ctx context.Context) error {
	at, err := d.decideAddress(ctx)
	if err != nil {
		return err
	}
	ip := net.ParseIP(at.Host)
	if ip == nil {
		return fmt.Errorf("the gateway's address %q is no IP address: give one that executors can reach as --gateway-address", at.Host)
	}
	o := gateway.Options{
		Store: d.spool, Keys: d.identity, Log: d.log.With().Str("part", "gateway").Logger(), Host: ip,
		ReleaseURL: d.config.Release.URL, MaxResult: int64(d.config.Executor.MaxResult),
	}
	if d.sockets != nil {
		o.Listeners, o.Absence = gateway.Listeners{Secrets: d.sockets[apiSocket], Callbacks: d.sockets[callbackSocket]}, withSockets
	} else if o.Listeners, err = gateway.Listen(ip, at.Secrets, at.Callbacks); err != nil {
		return err
	}
	at.Secrets, at.Callbacks = port(o.Listeners.Secrets), port(o.Listeners.Callbacks)
	if err := d.keepAddress(at); err != nil {
		return err
	}
	if d.gateway, err = gateway.New(o); err != nil {
		return err
	}
	return d.admitExecutors()
}

// admitExecutors lets in what outlived a restart, before anybody is served: a plugin that is refused does not come again.
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

// decideAddress goes by the settings, the service manager's sockets, and what executors that live were told.
func (d *daemon) decideAddress(ctx context.Context) (want address, err error) {
	kept, err := d.keptAddress()
	if err != nil {
		return want, err
	}
	want = address{Host: d.config.Gateway.Address, Secrets: int(d.config.Gateway.APIPort), Callbacks: int(d.config.Gateway.CallbackPort)}
	if d.sockets == nil {
		return d.completeAddress(ctx, want, kept)
	}
	if want, err = want.fit(d.sockets); err != nil {
		return want, exitError{err, exitUsage}
	}
	if want, err = d.completeAddress(ctx, want, kept); err != nil {
		return want, err
	}
	if kept.Host != "" && want != kept && len(d.spool.Executors()) > 0 {
		return want, fmt.Errorf("the service manager's sockets make the gateway's address %v, and executors that live were told %v: let the sockets listen there,"+
			" or start once without them and drain", want, kept)
	}
	return want, nil
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

func (a address) String() string {
	return fmt.Sprintf("%s, ports %d and %d", a.Host, a.Secrets, a.Callbacks)
}

// fit is the address of the service manager's sockets, if it is what the settings say.
func (a address) fit(sockets map[string]net.Listener) (address, error) {
	host, secrets, err := tcp(sockets, apiSocket)
	if err != nil {
		return a, err
	}
	other, callbacks, err := tcp(sockets, callbackSocket)
	switch {
	case err != nil:
		return a, err
	case len(sockets) > 2:
		return a, unexpected(sockets)
	case host != other:
		return a, fmt.Errorf("the service manager's sockets %q and %q listen at different addresses, %q and %q: executors are told one", apiSocket, callbackSocket, host, other)
	}
	got := address{Host: cmp.Or(host, a.Host), Secrets: secrets, Callbacks: callbacks}
	for _, row := range []struct{ setting, given, got string }{
		{"gateway-address", a.Host, got.Host},
		{"gateway-api-port", strconv.Itoa(a.Secrets), strconv.Itoa(got.Secrets)},
		{"gateway-callback-port", strconv.Itoa(a.Callbacks), strconv.Itoa(got.Callbacks)},
	} {
		if row.given != "" && row.given != "0" && row.given != row.got {
			return a, fmt.Errorf("%s is %s, and the service manager's socket has %s: make them the same, or leave the setting out", row.setting, row.given, row.got)
		}
	}
	return got, nil
}

// tcp returns where a socket listens; no host: at all addresses.
func tcp(sockets map[string]net.Listener, name string) (host string, port int, err error) {
	l := sockets[name]
	if l == nil {
		return "", 0, unexpected(sockets)
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0, fmt.Errorf("the service manager's socket %q listens at %s, which executors cannot reach: let it listen at an IP address and a port", name, l.Addr())
	}
	if at.IP.IsUnspecified() {
		return "", at.Port, nil
	}
	return at.IP.String(), at.Port, nil
}

func unexpected(sockets map[string]net.Listener) error {
	return fmt.Errorf("the service manager passes the sockets %s; expected are %s and %s (FileDescriptorName= in their units)",
		strings.Join(slices.Sorted(maps.Keys(sockets)), ", "), apiSocket, callbackSocket)
}

// completeAddress fills in what is not decided: with what was kept, and with the engine's bridge. An engine that does not answer
// is waited for only as long as there is no bridge of an earlier start: executors that live must find the gateway whether the
// engine is up or not.
func (d *daemon) completeAddress(ctx context.Context, want, kept address) (address, error) {
	want.Secrets, want.Callbacks = cmp.Or(want.Secrets, kept.Secrets), cmp.Or(want.Callbacks, kept.Callbacks)
	for attempt := 1; want.Host == ""; attempt++ {
		host, err := d.askAddress(ctx)
		switch {
		case err == nil:
			want.Host = host
		case canListen(kept.Host):
			want.Host = kept.Host
		default:
			d.health.waitsFor("waiting for the engine: " + err.Error())
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

// askAddress does not wait for an engine that hangs.
func (d *daemon) askAddress(ctx context.Context) (string, error) {
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

func (d *daemon) keptAddress() (kept address, err error) {
	if text, ok := d.spool.Load(spool.Gateway); ok {
		if err := json.Unmarshal(text, &kept); err != nil {
			return kept, fmt.Errorf("read the gateway's address: %w", err)
		}
	}
	return kept, nil
}

func (d *daemon) keepAddress(a address) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := d.spool.Save(spool.Gateway, text); err != nil {
		return fmt.Errorf("keep the gateway's address: %w", err)
	}
	return nil
}
