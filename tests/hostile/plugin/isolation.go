package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	_ "unsafe" // for linkname
)

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// getSecret sends a GET to the Secrets API, with the executor's own token or another. It returns only the status, because the
// body is confidential.
func (t *try) getSecret(ctx context.Context) (string, error) {
	answer, err := getPath(ctx, t.Target, t.With)
	if err != nil {
		return "", err
	}
	return answer.Status, answer.Body.Close()
}

// secretsClient returns a client of the Secrets API. It does not reuse connections, so that each attempt is independent.
var secretsClient = sync.OnceValues(func() (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(serviceAccount, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: timeout}, nil
})

func getPath(ctx context.Context, path, token string) (*http.Response, error) {
	client, err := secretsClient()
	if err != nil {
		return nil, err
	}
	if token == "" {
		own, err := os.ReadFile(filepath.Join(serviceAccount, "token"))
		if err != nil {
			return nil, err
		}
		token = string(own)
	}
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return client.Do(request)
}

// sdkCallbackURL is a private variable of the SDK: a hostile plugin can read all memory of its process.
//
//go:linkname sdkCallbackURL github.com/digital-ai/release-integration-sdk-go/task.callbackUrl
var sdkCallbackURL string

// callbackURL returns the callback URL of the job. It does not get the Secret again: the session would take that for a restart
// of the plugin and end the job.
func callbackURL(context.Context) (string, error) {
	url, err := base64.StdEncoding.DecodeString(sdkCallbackURL)
	return string(url), err
}

// dial connects to unix:PATH or tcp:HOST:PORT.
func (t *try) dial(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	network, address, _ := strings.Cut(t.Target, ":")
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	return "connected", c.Close()
}

// listen listens at an address, in the form of dial, until this program ends.
func (t *try) listen(context.Context) (string, error) {
	network, address, _ := strings.Cut(t.Target, ":")
	listener, err := net.Listen(network, address)
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return "listening", nil
}

// read reads a file or a directory.
func (t *try) read(context.Context) (string, error) {
	info, err := os.Stat(t.Target)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(t.Target)
		return fmt.Sprintf("%d entries", len(entries)), err
	}
	text, err := os.ReadFile(t.Target)
	return fmt.Sprintf("%d bytes", len(text)), err
}

// write creates a file.
func (t *try) write(context.Context) (string, error) {
	return "written", os.WriteFile(t.Target, []byte("mine"), 0o600)
}

// waitForGate connects to the gate and returns when the gate closes the connection.
func (t *try) waitForGate(ctx context.Context) error {
	if t.Gate == "" {
		return nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", t.Gate)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(io.Discard, c)
	return err
}
