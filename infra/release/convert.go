package release

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// rawOffers is api.Offers with undecoded offers, so that one invalid offer does not affect the others.
type rawOffers struct {
	Jobs []json.RawMessage `json:"jobs"`
}

// parseOffer decodes and checks an offer; path is its name in errors.
func parseOffer(text []byte, path string) (msg.Offer, error) {
	var j api.Job
	if err := decodeValue(reflect.ValueOf(&j).Elem(), text, path); err != nil {
		return msg.Offer{}, err
	}
	offer, err := toOffer(j)
	if err != nil {
		return msg.Offer{}, fmt.Errorf("%s.%w", path, err)
	}
	return offer, nil
}

func toOffer(j api.Job) (msg.Offer, error) {
	timeout, err := seconds("timeoutSeconds", j.TimeoutSeconds)
	switch {
	case err != nil:
		return msg.Offer{}, err
	case j.JobID == "", j.ExecutionID == "":
		return msg.Offer{}, fmt.Errorf("jobId, executionId: %q, %q: must not be empty", j.JobID, j.ExecutionID)
	case j.JobID == ".", j.JobID == "..":
		return msg.Offer{}, fmt.Errorf("jobId: %q would change the path of the URLs of its confirm and its finish", j.JobID)
	case !j.Kind.Valid():
		return msg.Offer{}, fmt.Errorf("kind: %q is neither task nor script", j.Kind)
	case j.Image == "":
		return msg.Offer{}, errors.New("image: must not be empty")
	case j.ImagePullPolicy != "" && !j.ImagePullPolicy.Valid():
		return msg.Offer{}, fmt.Errorf("imagePullPolicy: %q is none of if-not-present, always, never", j.ImagePullPolicy)
	case len(j.SessionKey) == 0:
		return msg.Offer{}, errors.New("sessionKey: must not be empty")
	case j.Input == "" && j.InputURL == "":
		return msg.Offer{}, errors.New("input: missing, as is inputUrl")
	case j.Limits.Memory < 0, j.Limits.Cpus < 0, j.Limits.Pids < 0:
		return msg.Offer{}, fmt.Errorf("limits: %+v: must not be negative", j.Limits)
	}
	return msg.Offer{
		Job: msg.Job{
			ID:         msg.JobID(j.JobID),
			Execution:  msg.ExecutionID(j.ExecutionID),
			Kind:       msg.Kind(j.Kind),
			TaskID:     j.TaskID,
			TaskType:   j.TaskType,
			Image:      j.Image,
			PullPolicy: msg.PullPolicy(j.ImagePullPolicy),
			Priority:   j.Priority,
			Timeout:    timeout,
			Limits:     msg.Limits{Memory: j.Limits.Memory, CPUs: j.Limits.Cpus, Pids: j.Limits.Pids},
		},
		Input:      j.Input,
		InputURL:   j.InputURL,
		SessionKey: j.SessionKey,
	}, nil
}

func toRegistration(r api.Registration) (msg.Registration, error) {
	switch {
	case r.RunnerID == "" || r.AccessToken == "":
		return msg.Registration{}, errors.New("runnerId, accessToken: must not be empty")
	case r.RunnerID == "." || r.RunnerID == "..":
		return msg.Registration{}, fmt.Errorf("runnerId: %q would change the path of the URLs of requests", r.RunnerID)
	case strings.ContainsFunc(r.AccessToken+r.LastEventID, unicode.IsControl):
		return msg.Registration{}, errors.New("accessToken, lastEventId: must not contain control characters")
	}
	config, err := toConfig(r.Config)
	if err != nil {
		return msg.Registration{}, fmt.Errorf("%w: config.%w", msg.ErrConfig, err)
	}
	return msg.Registration{RunnerID: r.RunnerID, AccessToken: msg.Secret(r.AccessToken), LastEventID: r.LastEventID, Config: config}, nil
}

func toConfig(c api.Config) (msg.Config, error) {
	eviction, err := seconds("evictionSeconds", c.EvictionSeconds)
	if err != nil {
		return msg.Config{}, err
	}
	if c.Capacity < 0 {
		return msg.Config{}, fmt.Errorf("capacity: %d must not be negative", c.Capacity)
	}
	return msg.Config{
		Revision:           c.Revision,
		Enabled:            c.Enabled,
		Capacity:           c.Capacity,
		Eviction:           eviction,
		Capabilities:       c.Capabilities,
		ImageMappings:      toMappings(c.ImageMappings),
		PullSecretMappings: toMappings(c.PullSecretMappings),
	}, nil
}

func toMappings(from []api.Mapping) []msg.Mapping {
	var to []msg.Mapping
	for _, m := range from {
		to = append(to, msg.Mapping(m))
	}
	return to
}

func seconds(field string, n int64) (time.Duration, error) {
	if n < 0 || n > math.MaxInt64/int64(time.Second) {
		return 0, fmt.Errorf("%s: %d is not a number of seconds", field, n)
	}
	return time.Duration(n) * time.Second, nil
}

func fromPhases(phases []msg.JobPhase) api.JobPhases {
	jobs := make([]api.JobPhase, len(phases)) // not nil, which would be null in JSON
	for n, p := range phases {
		jobs[n] = api.JobPhase{JobID: string(p.ID), ExecutionID: string(p.Execution), Phase: p.Phase}
	}
	return api.JobPhases{Jobs: jobs}
}

func toStopOrders(o api.JobsToAbort) []msg.StopOrder {
	var orders []msg.StopOrder
	for _, a := range o.Abort {
		orders = append(orders, toStopOrder(a))
	}
	return orders
}

func toStopOrder(a api.AbortJobEvent) msg.StopOrder {
	return msg.StopOrder{ID: msg.JobID(a.JobID), Execution: msg.ExecutionID(a.ExecutionID), Reason: cmp.Or(a.Reason, "the server gave no reason")}
}
