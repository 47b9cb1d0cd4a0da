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

// Register says who we are and keeps the session for the other verbs.
func (c *Client) Register(ctx context.Context) (msg.Registration, error) {
	const op = "register"
	res, err := c.call(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
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
	c.begin(session{runnerID: r.RunnerID, token: r.AccessToken})
	return registration, nil
}

// Reserve waits up to wait for at most max jobs; none is no error. An offer that is not valid is left out and logged: it
// must not keep the others from running.
func (c *Client) Reserve(ctx context.Context, max int, wait time.Duration) ([]msg.Offer, error) {
	const op = "reserve"
	s, err := c.current(op)
	if err != nil {
		return nil, err
	}
	params := &api.ReserveParams{Max: max, Wait: strconv.FormatInt(int64(wait/time.Second), 10) + "s"}
	res, err := c.call(ctx, op, wait+patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Reserve(ctx, s.runnerID, params, bearer(s.token))
	}, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil, nil
	}
	var answer looseOffers
	if err := decode(op, res, &answer); err != nil {
		return nil, err
	}
	if len(answer.Jobs) == 0 {
		return nil, strange(op, res, nil, "jobs: the list is empty; 204 says that there are none")
	}
	return c.valid(op, answer, max)
}

// valid returns the offers that can be taken; there is an error only when there are none.
func (c *Client) valid(op string, answer looseOffers, max int) ([]msg.Offer, error) {
	if len(answer.Jobs) > max {
		c.log.Warn().Int("asked", max).Int("offered", len(answer.Jobs)).Msg("server offers more jobs than were asked for, taking the first")
		answer.Jobs = answer.Jobs[:max]
	}
	var offers []msg.Offer
	var bad error
	for n, raw := range answer.Jobs {
		offer, err := parseOffer(raw, fmt.Sprintf("jobs[%d]", n))
		if err != nil {
			bad = fmt.Errorf("%s: the offer is not valid: %w", op, err)
			c.log.Warn().Err(bad).Msg("offer left out")
			continue
		}
		offers = append(offers, offer)
	}
	if len(offers) == 0 {
		return nil, bad
	}
	return offers, nil
}

// Confirm takes a job that was reserved.
func (c *Client) Confirm(ctx context.Context, job msg.JobID, execution msg.ExecutionID) error {
	const op = "confirm"
	s, err := c.current(op)
	if err != nil {
		return err
	}
	return c.tell(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Confirm(ctx, string(job), api.Confirmation{ExecutionID: string(execution)}, bearer(s.token))
	})
}

// Heartbeat says which jobs there are, and returns which of them the server wants stopped.
func (c *Client) Heartbeat(ctx context.Context, phases []msg.JobPhase) ([]msg.StopOrder, error) {
	const op = "heartbeat"
	s, err := c.current(op)
	if err != nil {
		return nil, err
	}
	res, err := c.call(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Heartbeat(ctx, s.runnerID, fromPhases(phases), bearer(s.token))
	}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var orders api.Orders
	if err := decode(op, res, &orders); err != nil {
		return nil, err
	}
	return toStopOrders(orders), nil
}

// Unregister says that this runner is no more.
func (c *Client) Unregister(ctx context.Context) error {
	const op = "unregister"
	s, err := c.current(op)
	if err != nil {
		return err
	}
	return c.tell(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Unregister(ctx, s.runnerID, bearer(s.token))
	})
}

// AppendLog sends text that begins at offset; total is the length of the whole log with its last bytes, else -1. It
// returns the offset that the server has now.
func (c *Client) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	const op = "log"
	s, err := c.current(op)
	if err != nil {
		return 0, err
	}
	params := &api.AppendLogParams{ContentRange: contentRange(offset, len(text), total)}
	res, err := c.call(ctx, op, patience(len(text)), func(ctx context.Context) (*http.Response, error) {
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

// Finish sends how a job ended; result is empty where there is none.
func (c *Client) Finish(ctx context.Context, job msg.Job, ending msg.Ending, result []byte) error {
	const op = "finish"
	s, err := c.current(op)
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
	return c.tell(ctx, op, patience(len(result)), func(ctx context.Context) (*http.Response, error) {
		if job.Kind == msg.Script {
			return c.api.FinishScript(ctx, string(job.ID), body, bearer(s.token))
		}
		return c.api.Finish(ctx, string(job.ID), body, bearer(s.token))
	})
}

// tell is a call that is answered by 204.
func (c *Client) tell(ctx context.Context, op string, limit time.Duration, send func(context.Context) (*http.Response, error)) error {
	res, err := c.call(ctx, op, limit, send, http.StatusNoContent)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// patience is how long the answer to a request with size bytes may take: 10 s, and for the bytes as long as the slowest
// line takes that a runner must work with, 1 KB/s.
func patience(size int) time.Duration {
	return 10*time.Second + time.Duration(size)*time.Second/1000
}
