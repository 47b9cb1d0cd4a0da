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

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// A result that was posted, for later jobs of this executor to post again.
var kept struct {
	body []byte
	url  string
}

// post sends a result to the target; without one, to where the job's own belongs. It is made with the job's key, or with none that
// anybody knows, or not encrypted at all, or is the one that an earlier job has kept.
func (t *try) post(ctx context.Context) (string, error) {
	own, err := callback(ctx)
	if err != nil {
		return "", err
	}
	target := strings.ReplaceAll(t.Target, "OWN", own)
	if target == "" {
		target = own
	}
	if target == "KEPT" {
		target = kept.url
	}
	body, err := result(t.With)
	if err != nil {
		return "", err
	}
	if t.With == "own" {
		kept.body, kept.url = body, target
	}
	return send(ctx, target, body)
}

func result(with string) ([]byte, error) {
	plain := []byte(`{"exitCode":0,"outputProperties":{"got":"posted"}}`)
	switch with {
	case "own":
		return task.Encrypt(plain)
	case "kept":
		return kept.body, nil
	case "another key": // nonce, text and tag, as long as they should be
		noise := make([]byte, len(plain)+32)
		_, _ = rand.Read(noise)
		return []byte(base64.StdEncoding.EncodeToString(noise)), nil
	case "no key":
		return plain, nil
	}
	return nil, fmt.Errorf("with %q no result is made", with)
}

func send(ctx context.Context, url string, body []byte) (string, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
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

// wait is a job that does nothing but last. It says where its result belongs, so that others can be told.
func (t *try) wait(ctx context.Context) (string, error) {
	url, err := callback(ctx)
	if err != nil {
		return "", err
	}
	klog.Infof("my result belongs to <%s>", url)
	return "nothing", t.goOn(ctx)
}

// replace puts something else in the place of the result file, and leaves a result that it leads to. When it may go on, it clears
// the place, and lets the SDK write the file, which is all that the job leaves: its callback is lost.
func (t *try) replace(ctx context.Context) (string, error) {
	place := os.Getenv("OUTPUT_LOCATION")
	body, err := result("own")
	if err != nil {
		return "", err
	}
	beside, outside := filepath.Join(filepath.Dir(place), "beside"), "/tmp/outside"
	for _, path := range []string{beside, outside} {
		if err := os.WriteFile(path, body, 0o644); err != nil {
			return "", err
		}
	}
	switch t.With {
	case "nothing":
	case "a pipe":
		err = syscall.Mkfifo(place, 0o666)
	case "a link to a file beside":
		err = os.Symlink("beside", place)
	case "a link out":
		err = os.Symlink(outside, place)
	case "a directory":
		err = errors.Join(os.Mkdir(place, 0o777), os.WriteFile(filepath.Join(place, "result"), body, 0o644))
	case "the result of an earlier job":
		err = os.WriteFile(place, kept.body, 0o644)
	default:
		err = fmt.Errorf("with %q nothing is replaced", t.With)
	}
	if err != nil {
		return "", err
	}
	if err := t.goOn(ctx); err != nil {
		return "", err
	}
	onCallback(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost on purpose") })
	return "by the SDK's file", os.RemoveAll(place)
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

// nest posts a result with so many lists in one another.
func (t *try) nest(ctx context.Context) (string, error) {
	url, err := callback(ctx)
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
