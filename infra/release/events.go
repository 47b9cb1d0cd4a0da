package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/launchdarkly/eventsource"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// byteOrderMark may be before the first event, and belongs to nothing.
const byteOrderMark = "\ufeff"

// Events hands on what comes over the channel of events after the event of that id, in order, until the channel or ctx ends, or
// emit fails. An event that cannot be read, or whose name is not known, is left out: the log says so.
func (c *Client) Events(ctx context.Context, after string, emit func(id string, e msg.Event) error) error {
	const op = "events"
	s, err := c.current(op)
	if err != nil {
		return err
	}
	params := &api.EventsParams{LastEventID: after}
	res, err := c.call(ctx, op, patience(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Events(ctx, s.runnerID, params, bearer(s.token))
	}, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "text/event-stream" {
		return strange(op, res, nil, "text/event-stream was expected, and it is "+media)
	}
	res.Body.(*body).left = math.MaxInt64 // a stream has no size, only its events have
	stream := &bounded{Reader: res.Body}
	stream.left.Store(answerMax)
	text := bufio.NewReader(stream)
	if mark, _ := text.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		_, _ = text.Discard(len(mark))
	}
	decoder := eventsource.NewDecoderWithOptions(text, eventsource.DecoderOptionLastEventID(after))
	for {
		event, err := decoder.Decode()
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		stream.left.Store(answerMax)
		if err := c.handOn(event, emit); err != nil {
			_ = res.Body.Close()
			drain(decoder)
			return err
		}
	}
}

// bounded is a stream of events of which none is too large.
type bounded struct {
	io.Reader
	left atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left.Add(-int64(n)) < 0 {
		return 0, errors.New("an event is larger than is taken")
	}
	return n, err
}

// drain ends the goroutine of a decoder whose body is closed: it waits until its error is taken.
func drain(d *eventsource.Decoder) {
	for {
		if _, err := d.Decode(); err != nil {
			return
		}
	}
}

func (c *Client) handOn(e eventsource.Event, emit func(string, msg.Event) error) error {
	id := e.Id()
	if with, ok := e.(eventsource.EventWithLastID); ok {
		id = with.LastEventID()
	}
	event, err := parseEvent(e.Event(), []byte(e.Data()))
	if err != nil {
		c.log.Warn().Err(err).Str("event", quote([]byte(e.Event()))).Str("id", quote([]byte(id))).Msg("event left out")
		return nil
	}
	return emit(id, event)
}

func parseEvent(name string, data []byte) (msg.Event, error) {
	switch name {
	case "Ping":
		return msg.Ping{}, nil
	case "Enable":
		return msg.Enable{}, nil
	case "Disable":
		return msg.Disable{}, nil
	case "Delete":
		return msg.Delete{}, nil
	case "Configure":
		var e api.ConfigureEvent
		if err := fill(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		config, err := toConfig(e.Config)
		return msg.Configure{Config: config}, err
	case "ExecuteScript":
		var e api.ExecuteScriptEvent
		if err := fill(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		offer, err := toOffer(e.Job)
		return msg.ExecuteScript{Offer: offer}, err
	case "AbortJob":
		var e api.AbortJobEvent
		if err := fill(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		return msg.StopJob{Order: toStopOrder(e)}, nil
	}
	return nil, errors.New("this runner does not know it: is the server newer?")
}
