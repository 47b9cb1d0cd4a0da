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

// ask is a GET of the Secrets API, with the executor's own token or with another. It returns the status only: the rest is
// nobody's business.
func (t *try) ask(ctx context.Context) (string, error) {
	answer, err := get(ctx, t.Target, t.With)
	if err != nil {
		return "", err
	}
	return answer.Status, answer.Body.Close()
}

// secrets speaks to the API. Its connections are not kept: the next attempt is not to be taken for this one.
var secrets = sync.OnceValues(func() (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(serviceAccount, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: patience}, nil
})

func get(ctx context.Context, path, token string) (*http.Response, error) {
	client, err := secrets()
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

// sdkCallbackURL is what the SDK keeps of the job's Secret: nothing in a process is safe from the plugin.
//
//go:linkname sdkCallbackURL github.com/digital-ai/release-integration-sdk-go/task.callbackUrl
var sdkCallbackURL string

// callback is where the job's own result belongs. To ask for the Secret once more would end the job: only another process does.
func callback(context.Context) (string, error) {
	url, err := base64.StdEncoding.DecodeString(sdkCallbackURL)
	return string(url), err
}

// dial connects: unix:PATH or tcp:HOST:PORT.
func (t *try) dial(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	network, address, _ := strings.Cut(t.Target, ":")
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	return "connected", c.Close()
}

// listen does so, as dial writes it, for as long as this program lives.
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

// read is of a file or a directory.
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

// write makes a file.
func (t *try) write(context.Context) (string, error) {
	return "written", os.WriteFile(t.Target, []byte("mine"), 0o600)
}

// goOn returns once whoever is to be told says so: it hangs up.
func (t *try) goOn(ctx context.Context) error {
	if t.Tell == "" {
		return nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", t.Tell)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(io.Discard, c)
	return err
}
