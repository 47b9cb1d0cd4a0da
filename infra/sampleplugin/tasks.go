package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// hello writes a greeting as a comment, a status line and an output property.
type hello struct {
	YourName string `json:"yourName"`
}

func (h *hello) FetchResult(context.Context) (*task.Result, error) {
	if h.YourName == "" {
		return nil, errors.New("yourName is empty: give the name to greet")
	}
	greeting := "Hello " + h.YourName
	task.Status("Greeting " + h.YourName)
	task.Comment(greeting + "\nfrom the sample plugin")
	return task.NewResult().String("greeting", greeting), nil
}

// fail fails with the given message.
type fail struct {
	Message string `json:"message"`
}

func (f *fail) FetchResult(context.Context) (*task.Result, error) {
	return nil, errors.New(f.Message)
}

// large takes and returns texts that can be larger than a Kubernetes Secret.
type large struct {
	Text string `json:"text"`
	Size int    `json:"size"` // of the returned text, in bytes; 0: return Text
}

func (l *large) FetchResult(context.Context) (*task.Result, error) {
	const pattern = "0123456789abcdef"
	out := l.Text
	if l.Size > 0 {
		out = strings.Repeat(pattern, l.Size/len(pattern)+1)[:l.Size]
	}
	klog.Infof("input %d bytes, output %d bytes", len(l.Text), len(out))
	return task.NewResult().
		String("text", out).
		String("textSha256", digest(out)).
		String("inputSha256", digest(l.Text)), nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// secret prints its password in all the ways in which plugins leak one by accident.
type secret struct {
	Password string `json:"password"`
}

func (s *secret) FetchResult(context.Context) (*task.Result, error) {
	fmt.Fprintln(os.Stderr, "plain:", s.Password)
	fmt.Fprintln(os.Stdout, "on stdout:", s.Password)
	klog.Info("with the SDK's logger: ", s.Password)

	half := len(s.Password) / 2
	fmt.Fprint(os.Stderr, "in two writes: ", s.Password[:half])
	fmt.Fprintln(os.Stderr, s.Password[half:])

	body, err := json.Marshal(map[string]string{"user": "admin", "password": s.Password})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	fmt.Fprintf(os.Stderr, "in JSON: %s\n", body)
	task.Comment("in a comment: " + s.Password)
	return task.NewResult().Int("length", len(s.Password)), nil
}
