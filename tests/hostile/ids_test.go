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
	"runnerd/tests/harness"
)

// hostileServer is a server with hostile job ids. Each of its jobs is a copy of an earlier job with other ids.
type hostileServer struct {
	mu       sync.Mutex
	template api.Job
	pending  []api.Job           // not offered yet
	accepted map[string][]string // operations by job id
	endings  map[string]api.Ending
	logSizes map[string]int // bytes
}

func (n *hostileServer) handle(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, _ := url.PathUnescape(strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1/jobs/"), "/")[0])
	switch _, ours := n.accepted[id]; {
	case op == "reserve":
		if job := n.nextOffer(); job != nil {
			out.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(out).Encode(api.Offers{Jobs: []api.Job{*job}})
			return
		}
		n.mu.Unlock()
		answer := httptest.NewRecorder()
		next(answer, r)
		n.mu.Lock()
		n.saveTemplate(answer.Body.Bytes())
		for key, values := range answer.Header() {
			out.Header()[key] = values
		}
		out.WriteHeader(answer.Code)
		_, _ = out.Write(answer.Body.Bytes())
	case !ours:
		n.mu.Unlock()
		next(out, r)
		n.mu.Lock()
	default:
		n.handleJob(op, id, out, r)
	}
}

func (n *hostileServer) nextOffer() *api.Job {
	if len(n.pending) == 0 || n.template.JobID == "" {
		return nil
	}
	job := n.pending[0]
	n.pending = n.pending[1:]
	job.Kind, job.Input, job.SessionKey = n.template.Kind, n.template.Input, n.template.SessionKey
	return &job
}

func (n *hostileServer) saveTemplate(text []byte) {
	var offers api.Offers
	if json.Unmarshal(text, &offers) == nil && len(offers.Jobs) > 0 && n.template.JobID == "" {
		n.template = offers.Jobs[0]
	}
}

func (n *hostileServer) handleJob(op, id string, out http.ResponseWriter, r *http.Request) {
	n.accepted[id] = append(n.accepted[id], op)
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	switch op {
	case "finish":
		var ending api.Ending
		_ = json.Unmarshal(body.Bytes(), &ending)
		n.endings[id] = ending
	case "log":
		n.logSizes[id] += body.Len()
		out.Header().Set("Log-Offset", strconv.Itoa(n.logSizes[id]))
	}
	out.WriteHeader(http.StatusNoContent)
}

func (n *hostileServer) endedCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.endings)
}

func TestHostileJobIDsCannotEscapeStateDirectory(t *testing.T) {
	t.Parallel()
	n := &hostileServer{accepted: map[string][]string{}, endings: map[string]api.Ending{}, logSizes: map[string]int{}}
	outside := t.TempDir()
	temp := filepath.Join(outside, "so", "deep", "that", "none", "leads", "out")
	harness.Must(t, os.MkdirAll(temp, 0o700))
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Intercept: n.handle, Environ: []string{"TMPDIR=" + temp}})
	hello := func() string { return attempt{what: "read", target: "/"}.submit(env) }
	control := hello()
	resultOf(env, control)

	long := strings.Repeat("x", 10_000)
	hostileIDs := []string{"../../escape", "..\\escape", "/escape", "NUL\x00escape", "new\nline", "%2e%2e%2fescape", "ünï ☃", "'; --", long}
	n.mu.Lock()
	for _, id := range hostileIDs {
		n.accepted[id] = nil
		n.pending = append(n.pending, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: plugin})
	}
	for _, image := range []string{"../../escape", "/escape:1", "NUL\x00escape", long} { // these jobs fail because of their image's name
		id := "image " + image
		n.accepted[id] = nil
		n.pending = append(n.pending, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: image})
	}
	all := len(n.pending)
	for _, id := range []string{".", ".."} { // such an offer is invalid
		n.pending = append(n.pending, api.Job{JobID: id, ExecutionID: id, TaskID: id, TaskType: id, Image: plugin})
	}
	n.mu.Unlock()
	resultOf(env, hello()) // a poll that already waits at the real server gets this job; later polls get the jobs above
	harness.WaitUntil(t, "all jobs with a valid id have ended", func() bool { return n.endedCount() == all })
	resultOf(env, hello())

	for _, id := range []string{".", ".."} {
		env.WaitRunnerLog(`jobId: \"` + id + `\" would change the path`)
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	for id, ending := range n.endings {
		outcome := api.OutcomeCompleted
		if strings.HasPrefix(id, "image ") {
			outcome = api.OutcomeFailed
		}
		if ending.Outcome != outcome || ending.ExecutionID != id || slices.Index(n.accepted[id], "confirm") != 0 {
			t.Errorf("%.40q is %s (%.200s), with execution %.40q and the operations %v", id, ending.Outcome, ending.Message, ending.ExecutionID, n.accepted[id])
		}
	}
	around := filepath.Dir(env.StateDir)
	left, err := os.ReadDir(around)
	harness.Must(t, err)
	if len(left) != 1 {
		t.Errorf("unexpected entries beside the state directory: %v", left)
	}
	harness.Must(t, filepath.WalkDir(outside, func(path string, _ os.DirEntry, err error) error {
		if !strings.HasPrefix(temp, path) {
			t.Errorf("unexpected entry outside the state directory: %s", path)
		}
		return err
	}))
	if files := env.FilesContaining("escape"); files != nil {
		for _, file := range files {
			if strings.Contains(file, "escape") {
				t.Errorf("the path contains a job id or an image name: %s", file)
			}
		}
	}
}

func TestInvalidImageNameFailsOnlyItsJob(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	for _, image := range []string{"../../escape", "NUL\x00escape", strings.Repeat("x", 10_000)} {
		view, _ := env.WaitDone(env.SubmitTask(devserver.TaskRequest{Image: image, TaskType: strings.Repeat("../", 4000) + "\x00"}))
		if view.State != devserver.Failed || !strings.Contains(view.Message, "invalid image name") {
			t.Errorf("%.20q: the job is %s: %.200s", image, view.State, view.Message)
		}
	}
	(attempt{what: "read", target: "/"}).run(env) // the control
}
