package release

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// Register registers the runner and keeps the credentials that all other calls need.
func (c *Client) Register(ctx context.Context) (msg.Registration, error) {
	const op = "register"
	res, err := c.call(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Register(ctx, c.runner, bearer(c.token))
	}, http.StatusOK)
	if err != nil {
		return msg.Registration{}, err
	}
	defer res.Body.Close()
	var r api.Registration
	if err := decode(op, res, &r); err != nil {
		return msg.Registration{}, err
	}
	registration, err := toRegistration(r)
	if err != nil {
		return msg.Registration{}, fmt.Errorf("%s: %w", op, err)
	}
	c.setCredentials(credentials{runnerID: r.RunnerID, token: r.AccessToken})
	return registration, nil
}

// Reserve waits up to wait for at most max jobs. No job is not an error. It logs and ignores an invalid offer, so that the others run.
func (c *Client) Reserve(ctx context.Context, max int, wait time.Duration) ([]msg.Offer, error) {
	const op = "reserve"
	s, err := c.requireCredentials(op)
	if err != nil {
		return nil, err
	}
	params := &api.ReserveParams{Max: max, Wait: strconv.FormatInt(int64(wait/time.Second), 10) + "s"}
	res, err := c.call(ctx, op, wait+answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Reserve(ctx, s.runnerID, params, bearer(s.token))
	}, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	var answer rawOffers
	if err := decode(op, res, &answer); err != nil {
		return nil, err
	}
	if len(answer.Jobs) == 0 {
		return nil, protocolError(op, res, nil, "jobs: the list is empty; expected HTTP 204")
	}
	return c.validOffers(op, answer, max)
}

// validOffers returns the valid offers. It fails only if there is none.
func (c *Client) validOffers(op string, answer rawOffers, max int) ([]msg.Offer, error) {
	if len(answer.Jobs) > max {
		c.log.Warn().Int("requested", max).Int("offered", len(answer.Jobs)).Msg("server offered more jobs than requested; taking the first ones")
		answer.Jobs = answer.Jobs[:max]
	}
	var offers []msg.Offer
	var invalid error
	for n, raw := range answer.Jobs {
		offer, err := parseOffer(raw, fmt.Sprintf("jobs[%d]", n))
		if err != nil {
			invalid = fmt.Errorf("%s: invalid offer: %w", op, err)
			c.log.Warn().Err(invalid).Msg("ignored an invalid offer")
			continue
		}
		offers = append(offers, offer)
	}
	if len(offers) == 0 {
		return nil, invalid
	}
	return offers, nil
}

// Confirm accepts a reserved job.
func (c *Client) Confirm(ctx context.Context, job msg.JobID, execution msg.ExecutionID) error {
	const op = "confirm"
	s, err := c.requireCredentials(op)
	if err != nil {
		return err
	}
	return c.callNoContent(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Confirm(ctx, string(job), api.Confirmation{ExecutionID: string(execution)}, bearer(s.token))
	})
}

// Heartbeat reports the phases of all jobs, and returns those that the server wants stopped.
func (c *Client) Heartbeat(ctx context.Context, phases []msg.JobPhase) ([]msg.StopOrder, error) {
	const op = "heartbeat"
	s, err := c.requireCredentials(op)
	if err != nil {
		return nil, err
	}
	res, err := c.call(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Heartbeat(ctx, s.runnerID, fromPhases(phases), bearer(s.token))
	}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var orders api.JobsToAbort
	if err := decode(op, res, &orders); err != nil {
		return nil, err
	}
	return toStopOrders(orders), nil
}

// Unregister removes this runner from the server.
func (c *Client) Unregister(ctx context.Context) error {
	const op = "unregister"
	s, err := c.requireCredentials(op)
	if err != nil {
		return err
	}
	return c.callNoContent(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Unregister(ctx, s.runnerID, bearer(s.token))
	})
}

// AppendLog sends the part of a log that begins at offset. total is the length of the log if this is its last part, else -1. It returns
// the length that the server has.
func (c *Client) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	const op = "log"
	s, err := c.requireCredentials(op)
	if err != nil {
		return 0, err
	}
	params := &api.AppendLogParams{ContentRange: contentRange(offset, len(text), total)}
	res, err := c.call(ctx, op, answerTimeout(len(text)), func(ctx context.Context) (*http.Response, error) {
		return c.api.AppendLogWithBody(ctx, string(job), params, "text/plain; charset=utf-8", bytes.NewReader(text), bearer(s.token))
	}, http.StatusNoContent)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return logOffset(op, res)
}

func contentRange(offset int64, size int, total int64) string {
	length := "*"
	if total >= 0 {
		length = strconv.FormatInt(total, 10)
	}
	if size == 0 {
		return "bytes */" + length
	}
	return fmt.Sprintf("bytes %d-%d/%s", offset, offset+int64(size)-1, length)
}

// Finish reports the ending of a job; result is empty if there is none.
func (c *Client) Finish(ctx context.Context, job msg.Job, ending msg.Ending, result []byte) error {
	const op = "finish"
	s, err := c.requireCredentials(op)
	if err != nil {
		return err
	}
	body := api.Ending{
		ExecutionID: string(job.Execution),
		Outcome:     api.Outcome(ending.Outcome),
		ExitCode:    ending.ExitCode,
		Message:     ending.Message,
		Result:      string(result),
	}
	return c.callNoContent(ctx, op, answerTimeout(len(result)), func(ctx context.Context) (*http.Response, error) {
		if job.Kind == msg.Script {
			return c.api.FinishScript(ctx, string(job.ID), body, bearer(s.token))
		}
		return c.api.Finish(ctx, string(job.ID), body, bearer(s.token))
	})
}

// callNoContent is call for requests that are answered by 204.
func (c *Client) callNoContent(ctx context.Context, op string, limit time.Duration, send func(context.Context) (*http.Response, error)) error {
	res, err := c.call(ctx, op, limit, send, http.StatusNoContent)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// answerTimeout is how long the answer to a request with size bytes may take: 10 s, and 1 s per KB, because a runner must work with a
// connection of 1 KB/s.
func answerTimeout(size int) time.Duration {
	return 10*time.Second + time.Duration(size)*time.Second/1000
}
