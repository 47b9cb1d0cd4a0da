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

// lookup is a script that returns choices.
type lookup struct {
	Prefix      string          `json:"prefix"`
	DelayMillis int             `json:"delayMillis"`
	Parameters  json.RawMessage `json:"_parameters"` // a configuration item
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

// testConnection is a script that checks whether a server accepts a user.
type testConnection struct {
	Server task.ComposedProperty `json:"server"`
}

func (c *testConnection) FetchResult(ctx context.Context) (*task.Result, error) {
	var to server
	if err := task.UnmarshalProperties(c.Server.Properties, &to); err != nil {
		return nil, fmt.Errorf("decode server: %w", err)
	}
	klog.Infof("connecting to %s as %s with %s", to.URL, to.Username, to.Password)
	result := connectionResult{Success: true, Output: to.URL + " answers"}
	if err := to.connect(ctx); err != nil {
		result = connectionResult{Output: err.Error()}
	}
	text, err := json.Marshal(result)
	return task.NewResult().Json(task.DefaultResponseResultField, text), err
}

// connectionResult is the result of a connection test in the format that Release expects. A failed test is a result, not a
// failure of the script.
type connectionResult struct {
	Success bool   `json:"success"`
	Output  string `json:"output"`
}

type server struct {
	URL      string `json:"url"`
	Username string `json:"username"`
	Password string `json:"password"`
}

func (s server) connect(ctx context.Context) error {
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
