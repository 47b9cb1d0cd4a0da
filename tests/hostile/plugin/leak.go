package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// leak prints a password, and a text that is not secret, in each way in which text can leave a plugin.
type leak struct {
	Password string `json:"password"`
	Open     string `json:"open"`
	Exit     bool   `json:"exit"` // exit without a result
}

func (l *leak) FetchResult(context.Context) (*task.Result, error) {
	for _, it := range [][2]string{{"password", l.Password}, {"open", l.Open}} {
		if err := l.print(it[0], it[1]); err != nil {
			return nil, err
		}
	}
	if l.Exit {
		os.Exit(3)
	}
	return task.NewResult().Int("length", len(l.Password)), nil
}

func (l *leak) print(what, text string) error {
	quoted, err := json.Marshal(map[string]string{what: text})
	if err != nil {
		return err
	}
	half := len(text) / 2
	fmt.Fprint(os.Stderr, what, " in two writes: ", text[:half])
	fmt.Fprintln(os.Stderr, text[half:])
	fmt.Fprintln(os.Stdout, what, "on the other stream:", text)
	klog.Info(what, " by the SDK's logger: ", text)
	fmt.Fprintf(os.Stderr, "%s in JSON: %s\n", what, quoted)
	fmt.Fprintf(os.Stderr, "%s in a URL: http://x/?p=%s\n", what, url.QueryEscape(text))
	fmt.Fprintf(os.Stderr, "%s in base64: %s\n", what, base64.StdEncoding.EncodeToString([]byte(text)))
	fmt.Fprintf(os.Stderr, "%s in the base64 of a header: %s\n", what, base64.StdEncoding.EncodeToString([]byte("admin:"+text)))
	task.Comment("a comment with the " + what + " " + text)
	task.Status("a status with the " + what + " " + text)
	fmt.Fprintln(os.Stderr, "last words with the", what, text)
	return nil
}
