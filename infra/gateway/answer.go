package gateway

import (
	"math"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	msg "runnerd/messages"
)

// response is what a request gets.
type response struct {
	status   int
	body     []byte
	after    int       // seconds; Retry-After
	delivery *delivery // of the job whose input it carries
}

// writeTime is how long a client may take to read an answer.
const writeTime = time.Minute

func (r response) write(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	if r.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.after))
	}
	w.WriteHeader(r.status)
	if _, err := w.Write(r.body); err != nil {
		return err
	}
	err := control.Flush()
	_ = control.SetWriteDeadline(time.Time{}) // of the connection, on which the next GET will wait
	return err
}

// respond puts an answer into the words of the Kubernetes API.
func (e *endpoint) respond(a msg.Answer) response {
	switch a := a.(type) {
	case msg.GiveJob:
		return response{status: http.StatusOK, body: e.secret(e.filled(a.Execution, a.Input))}
	case msg.GiveURL:
		return response{status: http.StatusOK, body: e.secret(e.emptied(a.Execution))}
	case msg.GiveList:
		return response{status: http.StatusOK, body: e.list(a.Version)}
	case msg.Superseded:
		return tooMany("a newer request waits")
	case msg.Accept:
	}
	return response{status: http.StatusNoContent}
}

func refusal(status int, message string) response {
	reasons := map[int]metav1.StatusReason{
		http.StatusForbidden:          metav1.StatusReasonForbidden,
		http.StatusNotFound:           metav1.StatusReasonNotFound,
		http.StatusTooManyRequests:    metav1.StatusReasonTooManyRequests,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	return response{status: status, body: mustJSON(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Reason: reasons[status], Message: message, Code: int32(status),
	})}
}

// comeAgain is for a planned stop (rule 6). Clients repeat the request by themselves.
func (g *Gateway) comeAgain(why string) response {
	r := refusal(http.StatusServiceUnavailable, why)
	r.after = int(math.Ceil(g.Absence.Seconds()))
	return r
}

func tooMany(why string) response {
	r := refusal(http.StatusTooManyRequests, why)
	r.after = 1
	return r
}
