package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// HandOut gives the job to the executor: it is journaled, and then the GET that is held is answered with it. For
// messages.Files the input is put beside the executor's result file instead, and its environment is returned. An error before the
// journal: not handed out.
func (g *Gateway) HandOut(ctx context.Context, id msg.ExecutorID, execution msg.ExecutionID, from time.Time) (env map[string]string, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d, err := g.find(id)
	if err != nil {
		return nil, fmt.Errorf("hand out: %w", err)
	}
	j, input, err := g.prepare(execution)
	if err != nil {
		return nil, fmt.Errorf("hand out to executor %s: %w", id, err)
	}
	give := d.give
	if d.mode == msg.Files {
		give = d.giveFile
	}
	if env, err = give(j, input, from); err != nil {
		return nil, fmt.Errorf("hand out to executor %s: %w", id, err)
	}
	return env, nil
}

// prepare opens what is needed of a job. An input that is no base64 would make the Go SDK panic (rule 15).
func (g *Gateway) prepare(execution msg.ExecutionID) (*job, string, error) {
	rec, ok := g.Store.Job(execution)
	if !ok {
		return nil, "", errors.New("the spool does not have the job")
	}
	key, err := g.Keys.OpenKey(rec.SealedKey)
	if err != nil {
		return nil, "", err
	}
	input, err := g.Store.Input(execution)
	if err != nil {
		return nil, "", fmt.Errorf("read input: %w", err)
	}
	text := base64.NewDecoder(base64.StdEncoding, strings.NewReader(input))
	if n, err := io.Copy(io.Discard, text); err != nil || n == 0 {
		return nil, "", errors.New("the input is not base64 text: no plugin can read it")
	}
	return &job{execution: execution, key: key}, input, nil
}

// give answers the GET that is held.
func (d *door) give(j *job, input string, from time.Time) (env map[string]string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hold == nil {
		return nil, msg.ErrNotHeld
	}
	body := d.secret(d.filled(j, input))
	if err := d.journal(j, from); err != nil {
		return nil, err
	}
	h := d.hold
	d.hold = nil
	h.answer <- answer{status: 200, body: body, job: j}
	return nil, nil
}

// giveFile leaves the input where a child process will look for it.
func (d *door) giveFile(j *job, input string, from time.Time) (env map[string]string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("its door is closed")
	}
	if d.phase != waiting {
		return nil, errors.New("it has had its job")
	}
	out, err := os.OpenRoot(d.out())
	if err != nil {
		return nil, fmt.Errorf("open result directory: %w", err)
	}
	defer func() { _ = out.Close() }()
	if err := out.WriteFile(inputFile, []byte(input), 0o644); err != nil {
		return nil, fmt.Errorf("write input: %w", err)
	}
	if err := d.journal(j, from); err != nil {
		return nil, err
	}
	d.delivering(j)
	return map[string]string{
		contract.SessionKey:  base64.StdEncoding.EncodeToString(j.key[:]),
		contract.CallbackURL: d.g.url(callbackPath, j.execution),
	}, nil
}

// journal makes the job the executor's, before its first byte leaves. mu is held.
func (d *door) journal(j *job, from time.Time) error {
	if err := d.g.Store.HandOut(j.execution, d.id, d.arming, from); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	d.begin(j)
	return nil
}
