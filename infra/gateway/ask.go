package gateway

import (
	"context"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	msg "runnerd/messages"
)

// answer is what a request gets.
type answer struct {
	status int
	body   []byte
	after  int  // seconds; Retry-After
	job    *job // whose input it carries
}

// writeTime is how long a client may take to read an answer.
const writeTime = time.Minute

func (a answer) write(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.after))
	}
	w.WriteHeader(a.status)
	if _, err := w.Write(a.body); err != nil {
		return err
	}
	err := control.Flush()
	_ = control.SetWriteDeadline(time.Time{}) // of the connection, which will be held again
	return err
}

func refusal(status int, message string) answer {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden:          metav1.StatusReasonForbidden,
		http.StatusNotFound:           metav1.StatusReasonNotFound,
		http.StatusTooManyRequests:    metav1.StatusReasonTooManyRequests,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	return answer{status: status, body: mustJSON(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Reason: reasons[status], Message: message, Code: int32(status),
	})}
}

// comeAgain is for a planned stop (rule 6). Clients repeat the request by themselves.
func comeAgain(why string) answer {
	const aboveARestart = 10
	a := refusal(http.StatusServiceUnavailable, why)
	a.after = aboveARestart
	return a
}

func tooMany(why string) answer {
	a := refusal(http.StatusTooManyRequests, why)
	a.after = 1
	return a
}

// get answers a GET of the Secret.
func (d *door) get(w http.ResponseWriter, r *http.Request) {
	a, err := d.ask(r.Context())
	if err != nil {
		return // the client has gone
	}
	if err := a.write(w); err != nil {
		d.log.Info().Err(err).Msg("the answer was cut; the plugin repeats its request, or proves that it did not start")
		return
	}
	if a.job != nil {
		d.wrote(a.job)
	}
}

// ask returns what the plugin's question for its Secret means now. It may take for ever; that is the hold.
func (d *door) ask(ctx context.Context) (answer, error) {
	if err := d.look(); err != nil {
		d.log.Warn().Err(err).Msg("cannot look at the result file")
	}
	h, a, err := d.reply()
	if h == nil {
		return a, err
	}
	select {
	case a := <-h.answer:
		return a, nil
	case <-ctx.Done():
	}
	if d.letGo(h) {
		return answer{}, ctx.Err()
	}
	return <-h.answer, nil // the job crossed the loss: it is handed out
}

// reply answers at once, or begins a hold.
func (d *door) reply() (*hold, answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, comeAgain("the runner is being restarted"), nil
	case d.phase == waiting:
		return d.beginHold(), answer{}, nil
	case d.phase == settled:
		return nil, answer{status: http.StatusOK, body: d.secret(d.emptied(d.job))}, nil
	}
	a, err := d.repeat()
	if err != nil {
		// Only the spool can cause it. The client asks again, as long as it can.
		d.log.Error().Err(err).Str("job", string(d.job.execution)).Msg("cannot give out the job again")
		return nil, comeAgain("the job cannot be read"), nil
	}
	return nil, a, nil
}

// repeat answers with the open job again, and journals that when the job did not start the first time. mu is held.
func (d *door) repeat() (answer, error) {
	input, err := d.g.Store.Input(d.job.execution)
	if err != nil {
		return answer{}, err
	}
	if d.phase == unstarted {
		if _, err := d.journal(d.job); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusOK, body: d.secret(d.filled(d.job, input)), job: d.job}, nil
}

// beginHold makes the GET wait. An older one that seems to wait is a connection that was lost. mu is held.
func (d *door) beginHold() *hold {
	if d.hold != nil {
		d.hold.answer <- tooMany("a newer request waits")
	} else {
		d.emptyOut()
		d.news.add(msg.Held{})
	}
	d.hold = &hold{answer: make(chan answer, 1)}
	d.owed, d.held, d.gaveUp = false, true, false
	return d.hold
}

// letGo ends a hold that was lost; false: it was answered.
func (d *door) letGo(h *hold) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hold != h {
		return false
	}
	d.hold = nil
	d.news.add(msg.HoldLost{})
	if d.gaveUp {
		d.owe()
	}
	return true
}

// emptyOut leaves nothing of the job before to the next. What cannot be removed cannot be taken for a result either: it is
// encrypted with another key.
func (d *door) emptyOut() {
	if err := empty(d.out()); err != nil && !os.IsNotExist(err) {
		d.log.Warn().Err(err).Msg("cannot empty the result directory")
	}
}

// sdkOf tells by its client's name which SDK a plugin is built with.
func sdkOf(agent string) msg.SDK {
	switch {
	case strings.HasPrefix(agent, "OpenAPI-Generator/") && strings.HasSuffix(agent, "/python"):
		return msg.PythonSDK
	case strings.Contains(agent, "kubernetes/"):
		return msg.GoSDK
	}
	return msg.OtherSDK
}
