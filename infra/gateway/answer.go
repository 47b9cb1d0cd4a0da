package gateway

import (
	"math"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
func (g *Gateway) comeAgain(why string) answer {
	a := refusal(http.StatusServiceUnavailable, why)
	a.after = int(math.Ceil(g.Absence.Seconds()))
	return a
}

func tooMany(why string) answer {
	a := refusal(http.StatusTooManyRequests, why)
	a.after = 1
	return a
}
