package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/digital-ai/release-integration-sdk-go/task"
	"k8s.io/klog/v2"
)

// Scripts: a person waits for their answers.

// lookup offers choices.
type lookup struct {
	Prefix      string          `json:"prefix"`
	DelayMillis int             `json:"delayMillis"`
	Parameters  json.RawMessage `json:"_parameters"` // of the lookup, a configuration item
}

func (l *lookup) FetchResult(context.Context) (*task.Result, error) {
	if text := string(l.Parameters); text != "" && text != "null" {
		klog.Infof("looking up with parameters %s", l.Parameters)
	}
	time.Sleep(time.Duration(l.DelayMillis) * time.Millisecond)
	var choices []task.LookupResultElement
	for _, name := range []string{"Ada", "Alan", "Barbara", "Edsger", "Grace"} {
		if strings.HasPrefix(name, l.Prefix) {
			choices = append(choices, task.LookupResultElement{Label: name, Value: strings.ToLower(name)})
		}
	}
	return task.NewResult().LookupResultElements(task.DefaultResponseResultField, choices), nil
}

// testConnection says whether a server answers to who logs in.
type testConnection struct {
	Server task.ComposedProperty `json:"server"`
}

func (c *testConnection) FetchResult(ctx context.Context) (*task.Result, error) {
	var to server
	if err := task.UnmarshalProperties(c.Server.Properties, &to); err != nil {
		return nil, fmt.Errorf("read the server: %w", err)
	}
	klog.Infof("connecting to %s as %s with %s", to.URL, to.Username, to.Password)
	answer := connection{Success: true, Output: to.URL + " answers"}
	if err := to.ask(ctx); err != nil {
		answer = connection{Output: err.Error()}
	}
	text, err := json.Marshal(answer)
	return task.NewResult().Json(task.DefaultResponseResultField, text), err
}

// connection is the answer that is expected of a connection test. One that fails is a result, and no failure of the script.
type connection struct {
	Success bool   `json:"success"`
	Output  string `json:"output"`
}

type server struct {
	URL      string `json:"url"`
	Username string `json:"username"`
	Password string `json:"password"`
}

func (s server) ask(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(s.Username, s.Password)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s answers %s", s.URL, res.Status)
	}
	return nil
}
