package gateway

import (
	"math"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	msg "runnerd/messages"
)

// response is the HTTP response to a request.
type response struct {
	status     int
	body       []byte
	retryAfter int       // seconds; 0: no Retry-After header
	delivery   *delivery // set if the body has a job's input
}

// writeTimeout limits how long a client may take to read a response.
const writeTimeout = time.Minute

func (r response) write(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	if r.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	w.WriteHeader(r.status)
	if _, err := w.Write(r.body); err != nil {
		return err
	}
	err := control.Flush()
	_ = control.SetWriteDeadline(time.Time{}) // because the next GET waits on the same connection
	return err
}

// respond translates an answer into a response of the Kubernetes API.
func (e *endpoint) respond(a msg.Answer) response {
	switch a := a.(type) {
	case msg.GiveJob:
		return response{status: http.StatusOK, body: e.secretJSON(e.jobContent(a.Execution, a.Input))}
	case msg.GiveURL:
		return response{status: http.StatusOK, body: e.secretJSON(e.contentWithoutInput(a.Execution))}
	case msg.GiveList:
		return response{status: http.StatusOK, body: e.listJSON(a.Version)}
	case msg.Superseded:
		return tooManyRequests("superseded by a newer request")
	case msg.Accept:
	}
	return response{status: http.StatusNoContent}
}

// statusError returns an error response of the Kubernetes API.
func statusError(status int, message string) response {
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

// unavailable returns the response of a planned stop (rule 6), after which clients repeat the request.
func (g *Gateway) unavailable() response {
	r := statusError(http.StatusServiceUnavailable, "the runner is restarting")
	r.retryAfter = int(math.Ceil(g.RetryAfter.Seconds()))
	return r
}

func tooManyRequests(message string) response {
	r := statusError(http.StatusTooManyRequests, message)
	r.retryAfter = 1
	return r
}
