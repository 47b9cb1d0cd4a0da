package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// saved is a posted result, which later jobs of this executor can post again.
var saved struct {
	body []byte
	url  string
}

// post sends a result to the target, or to the job's own URL if there is none. The result is encrypted with the job's key, with an
// unknown key or not at all, or is the one that an earlier job saved.
func (t *try) post(ctx context.Context) (string, error) {
	own, err := callbackURL(ctx)
	if err != nil {
		return "", err
	}
	target := strings.ReplaceAll(t.Target, "OWN", own)
	if target == "" {
		target = own
	}
	if target == "SAVED" {
		target = saved.url
	}
	body, err := result(t.With)
	if err != nil {
		return "", err
	}
	if t.With == "own" {
		saved.body, saved.url = body, target
	}
	return send(ctx, target, body)
}

func result(with string) ([]byte, error) {
	plain := []byte(`{"exitCode":0,"outputProperties":{"got":"posted"}}`)
	switch with {
	case "own":
		return task.Encrypt(plain)
	case "saved":
		return saved.body, nil
	case "another key": // nonce, text and tag with the right lengths
		noise := make([]byte, len(plain)+32)
		_, _ = rand.Read(noise)
		return []byte(base64.StdEncoding.EncodeToString(noise)), nil
	case "no key":
		return plain, nil
	}
	return nil, fmt.Errorf("unknown kind of result %q", with)
}

func send(ctx context.Context, url string, body []byte) (string, error) {
	const timeout = 45 * time.Second // the gateway may need seconds to check a large result on a busy machine
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: timeout}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	return answer.Status, answer.Body.Close()
}

// wait waits for the gate. It logs its callback URL, so that the test can pass it to others.
func (t *try) wait(ctx context.Context) (string, error) {
	url, err := callbackURL(ctx)
	if err != nil {
		return "", err
	}
	klog.Infof("my result belongs to <%s>", url)
	return "nothing", t.waitForGate(ctx)
}

// replace puts something other than the SDK's file at the path of the result file, such as a link to a valid result. After the gate it
// clears the path and lets the SDK write the file. The job's callback is suppressed, so that the file is its only result.
func (t *try) replace(ctx context.Context) (string, error) {
	path := os.Getenv("OUTPUT_LOCATION")
	body, err := result("own")
	if err != nil {
		return "", err
	}
	beside, outside := filepath.Join(filepath.Dir(path), "beside"), "/tmp/outside"
	for _, name := range []string{beside, outside} {
		if err := os.WriteFile(name, body, 0o644); err != nil {
			return "", err
		}
	}
	switch t.With {
	case "nothing":
	case "a pipe":
		err = syscall.Mkfifo(path, 0o666)
	case "a link to a file beside":
		err = os.Symlink("beside", path)
	case "a link out":
		err = os.Symlink(outside, path)
	case "a directory":
		err = errors.Join(os.Mkdir(path, 0o777), os.WriteFile(filepath.Join(path, "result"), body, 0o644))
	case "the result of an earlier job":
		err = os.WriteFile(path, saved.body, 0o644)
	default:
		err = fmt.Errorf("unknown replacement %q", t.With)
	}
	if err != nil {
		return "", err
	}
	if err := t.waitForGate(ctx); err != nil {
		return "", err
	}
	onCallback(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost on purpose") })
	return "by the SDK's file", os.RemoveAll(path)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// onCallback lets f answer the SDK's next request to the callback, and only that one.
func onCallback(f roundTripper) {
	http.DefaultClient.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		http.DefaultClient.Transport = nil
		return f(r)
	})
}

// nestResult posts a result with Size nested lists.
func (t *try) nestResult(ctx context.Context) (string, error) {
	url, err := callbackURL(ctx)
	if err != nil {
		return "", err
	}
	deep := strings.Repeat("[", t.Size) + strings.Repeat("]", t.Size)
	body, err := task.Encrypt([]byte(`{"exitCode":0,"outputProperties":{"got":"nested","deep":` + deep + `}}`))
	if err != nil {
		return "", err
	}
	return send(ctx, url, body)
}
