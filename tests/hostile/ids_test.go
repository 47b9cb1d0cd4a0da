package hostile

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/rig"
)

// names is a server that calls its jobs as nobody should. Each is a copy of a job that it offered before, under other ids.
type names struct {
	mu       sync.Mutex
	model    api.Job
	offered  []api.Job           // not yet
	accepted map[string][]string // operations by job id
	endings  map[string]api.Ending
	sizes    map[string]int // of logs
}

func (n *names) front(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, _ := url.PathUnescape(strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1/jobs/"), "/")[0])
	switch _, ours := n.accepted[id]; {
	case op == "reserve":
		if job := n.next(); job != nil {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(api.Offers{Jobs: []api.Job{*job}})
			return
		}
		n.mu.Unlock()
		answer := httptest.NewRecorder()
		next(answer, r)
		n.mu.Lock()
		n.learn(answer.Body.Bytes())
		for key, values := range answer.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	case !ours:
		n.mu.Unlock()
		next(w, r)
		n.mu.Lock()
	default:
		n.take(op, id, w, r)
	}
}

func (n *names) next() *api.Job {
	if len(n.offered) == 0 || n.model.JobID == "" {
		return nil
	}
	job := n.offered[0]
	n.offered = n.offered[1:]
	job.Kind, job.Input, job.SessionKey = n.model.Kind, n.model.Input, n.model.SessionKey
	return &job
}

func (n *names) learn(text []byte) {
	var offers api.Offers
	if json.Unmarshal(text, &offers) == nil && len(offers.Jobs) > 0 && n.model.JobID == "" {
		n.model = offers.Jobs[0]
	}
}

func (n *names) take(op, id string, w http.ResponseWriter, r *http.Request) {
	n.accepted[id] = append(n.accepted[id], op)
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	switch op {
	case "finish":
		var ending api.Ending
		_ = json.Unmarshal(body.Bytes(), &ending)
		n.endings[id] = ending
	case "log":
		n.sizes[id] += body.Len()
		w.Header().Set("Log-Offset", strconv.Itoa(n.sizes[id]))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (n *names) ended() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.endings)
}

func TestWhateverAServerCallsItsJobsNothingLeavesTheStateDirectory(t *testing.T) {
	t.Parallel()
	n := &names{accepted: map[string][]string{}, endings: map[string]api.Ending{}, sizes: map[string]int{}}
	outside := t.TempDir()
	temp := filepath.Join(outside, "so", "deep", "that", "none", "leads", "out")
	rig.Must(t, os.MkdirAll(temp, 0o700))
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Front: n.front, Env: []string{"TMPDIR=" + temp}})
	hello := func() string { return attempt{what: "read", target: "/"}.submit(w) }
	control := hello()
	got(w, control)

	long := strings.Repeat("x", 10_000)
	evil := []string{"../../escape", "..\\escape", "/escape", "NUL\x00escape", "new\nline", "%2e%2e%2fescape", "ünï ☃", "'; --", long}
	n.mu.Lock()
	for _, id := range evil {
		n.accepted[id] = nil
		n.offered = append(n.offered, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: plugin})
	}
	for _, image := range []string{"../../escape", "/escape:1", "NUL\x00escape", long} { // a job is refused for its image's name
		id := "image " + image
		n.accepted[id] = nil
		n.offered = append(n.offered, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: image})
	}
	all := len(n.offered)
	for _, id := range []string{".", ".."} { // such an offer is none
		n.offered = append(n.offered, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: plugin})
	}
	n.mu.Unlock()
	got(w, hello()) // the poll is answered with this one, or with those above first
	rig.Until(t, "all that can be run have ended", func() bool { return n.ended() == all })
	got(w, hello())

	for _, id := range []string{".", ".."} {
		w.Hears(`jobId: \"` + id + `\" is another path`)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	for id, ending := range n.endings {
		outcome := api.OutcomeCompleted
		if strings.HasPrefix(id, "image ") {
			outcome = api.OutcomeFailed
		}
		if ending.Outcome != outcome || ending.ExecutionID != id || slices.Index(n.accepted[id], "confirm") != 0 {
			t.Errorf("%.40q is %s (%.200s), named %.40q; said was %v", id, ending.Outcome, ending.Message, ending.ExecutionID, n.accepted[id])
		}
	}
	around := filepath.Dir(w.State)
	left, err := os.ReadDir(around)
	rig.Must(t, err)
	if len(left) != 1 {
		t.Errorf("beside the state directory there are %v", left)
	}
	rig.Must(t, filepath.WalkDir(outside, func(path string, _ os.DirEntry, err error) error {
		if !strings.HasPrefix(temp, path) {
			t.Errorf("there is %s", path)
		}
		return err
	}))
	if files := w.OnDisk("escape"); files != nil {
		for _, file := range files {
			if strings.Contains(file, "escape") {
				t.Errorf("there is %s", file)
			}
		}
	}
}

func TestAnImageWithAnImpossibleNameFailsItsJobAlone(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	for _, image := range []string{"../../escape", "NUL\x00escape", strings.Repeat("x", 10_000)} {
		view, _ := w.Done(w.SubmitTask(devserver.TaskRequest{Image: image, TaskType: strings.Repeat("../", 4000) + "\x00"}))
		if view.State != devserver.Failed || !strings.Contains(view.Message, "this is no name of an image") {
			t.Errorf("%.20q: the job is %s: %.200s", image, view.State, view.Message)
		}
	}
	(attempt{what: "read", target: "/"}).got(w) // the control
}
