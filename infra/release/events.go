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
	"time"

	"github.com/launchdarkly/eventsource"

	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// byteOrderMark may precede the first event and is skipped.
const byteOrderMark = "\ufeff"

// Events opens the event stream after the event with the id after, and calls emit for each event in order, until the stream or ctx ends
// or emit fails. It logs and ignores an event that is invalid or unknown.
func (c *Client) Events(ctx context.Context, after string, emit func(id string, e msg.Event) error) error {
	const op = "events"
	s, err := c.requireCredentials(op)
	if err != nil {
		return err
	}
	params := &api.EventsParams{LastEventID: after}
	res, err := c.call(ctx, op, answerTimeout(0), func(ctx context.Context) (*http.Response, error) {
		return c.api.Events(ctx, s.runnerID, params, bearer(s.token))
	}, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "text/event-stream" {
		return protocolError(op, res, nil, fmt.Sprintf("expected text/event-stream, got %q", media))
	}
	answer := res.Body.(*body)
	answer.remaining, answer.began = math.MaxInt64, time.Time{} // only the size of each event is limited, and events are rare
	stream := &boundedStream{Reader: answer}
	stream.remaining.Store(maxAnswer)
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
		stream.remaining.Store(maxAnswer)
		if err := c.deliver(event, emit); err != nil {
			_ = res.Body.Close()
			drain(decoder)
			return err
		}
	}
}

// boundedStream limits the size of each event.
type boundedStream struct {
	io.Reader
	remaining atomic.Int64
}

func (b *boundedStream) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.remaining.Add(-int64(n)) < 0 {
		return 0, errors.New("an event exceeds the size limit")
	}
	return n, err
}

// drain ends the goroutine of a decoder whose body is closed, because it blocks until its error is received.
func drain(d *eventsource.Decoder) {
	for {
		if _, err := d.Decode(); err != nil {
			return
		}
	}
}

func (c *Client) deliver(e eventsource.Event, emit func(string, msg.Event) error) error {
	id := e.Id()
	if with, ok := e.(eventsource.EventWithLastID); ok {
		id = with.LastEventID()
	}
	event, err := parseEvent(e.Event(), []byte(e.Data()))
	if err != nil {
		c.log.Warn().Err(err).Str("event", excerpt([]byte(e.Event()))).Str("id", excerpt([]byte(id))).Msg("ignored an invalid or unknown event")
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
		if err := decodeValue(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		config, err := toConfig(e.Config)
		return msg.Configure{Config: config}, err
	case "ExecuteScript":
		var e api.ExecuteScriptEvent
		if err := decodeValue(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		offer, err := toOffer(e.Job)
		return msg.ExecuteScript{Offer: offer}, err
	case "AbortJob":
		var e api.AbortJobEvent
		if err := decodeValue(reflect.ValueOf(&e).Elem(), data, ""); err != nil {
			return nil, err
		}
		return msg.StopJob{Order: toStopOrder(e)}, nil
	}
	return nil, errors.New("unknown event: the server may be newer than this runner")
}
