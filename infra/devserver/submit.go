package devserver

import (
	"cmp"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/release/api"
)

// Submit queues a task and returns its id. The error says what is wrong with the request.
func (s *Server) Submit(request TaskRequest) (string, error) {
	shape := s.types.resolve(request.TaskType)
	request.Image = cmp.Or(request.Image, shape.image)
	if request.Kind == "" {
		request.Kind = api.KindTask
		if shape.script {
			request.Kind = api.KindScript
		}
	}
	if err := s.check(request); err != nil {
		return "", err
	}
	t := &task{request: request, log: newJobLog(s.options.MaxLogBytes)}
	id := newID(string(request.Kind))
	var err error
	if t.input, t.secrets, err = s.buildInput(id, request); err != nil {
		return "", err
	}
	t.request.Properties = nil // they are in the input
	t.view = TaskView{
		ID: id, URL: "/api/tasks/" + id, LogURL: "/api/tasks/" + id + "/log", Kind: request.Kind,
		TaskType: request.TaskType, Image: request.Image, State: Queued, Created: time.Now(),
	}
	if s.types[request.TaskType] == nil {
		t.view.Note = "there is no definition of " + request.TaskType + ": each property is of the kind that its value suggests"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.options.MaxOpenTasks {
		return "", errorf(http.StatusTooManyRequests, "%d tasks are not done yet: wait for some of them", len(s.open))
	}
	s.tasks[id] = t
	s.open = append(s.open, t)
	s.work.notify()
	s.pushScripts()
	return id, nil
}

func (s *Server) check(request TaskRequest) error {
	switch definition := s.types[request.TaskType]; {
	case request.TaskType == "":
		return errorf(400, "taskType is missing: name a type such as those of a plugin's type-definitions.yaml")
	case definition != nil && definition.Virtual:
		return errorf(400, "the type %s is virtual: name one that extends it", request.TaskType)
	case request.Image == "" && definition == nil:
		return errorf(400, "image is missing, and there is no definition of %s that could name one: give it, or choose a type that is defined: %s",
			request.TaskType, cmp.Or(strings.Join(slices.Sorted(maps.Keys(s.types)), ", "), "none is, without --type-definitions"))
	case request.Image == "":
		return errorf(400, "image is missing, and the definition of %s names none without placeholders: give it", request.TaskType)
	case !request.Kind.Valid():
		return errorf(400, "kind must be task or script")
	case request.ImagePullPolicy != "" && !request.ImagePullPolicy.Valid():
		return errorf(400, "imagePullPolicy must be if-not-present, always or never")
	case request.Limits.Memory < 0, request.Limits.Cpus < 0, request.Limits.Pids < 0:
		return errorf(400, "limits: no runner takes a negative one: leave it out, or give 0, for the runner's own")
	}
	return checkSeconds("timeoutSeconds", request.TimeoutSeconds, "for no limit but the runner's own")
}

// checkSeconds: a runner leaves out what says more seconds than a time.Duration has, or fewer than none.
func checkSeconds(field string, n int64, zero string) error {
	if limit := math.MaxInt64 / int64(time.Second); n < 0 || n > limit {
		return errorf(400, "%s: no runner takes %d: give at most %d, or 0 %s", field, n, limit, zero)
	}
	return nil
}
