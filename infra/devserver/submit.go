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

// Submit queues a task and returns its id. It fails if the request is invalid or too many tasks are open.
func (s *Server) Submit(request TaskRequest) (string, error) {
	resolved := s.types.resolve(request.TaskType)
	request.Image = cmp.Or(request.Image, resolved.image)
	if request.Kind == "" {
		request.Kind = api.KindTask
		if resolved.script {
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
	t.request.Properties = nil // the input has them
	t.view = TaskView{
		ID: id, URL: "/api/tasks/" + id, LogURL: "/api/tasks/" + id + "/log", Kind: request.Kind,
		TaskType: request.TaskType, Image: request.Image, State: Queued, Created: time.Now(),
	}
	if s.types[request.TaskType] == nil {
		t.view.Note = "type " + request.TaskType + " is not defined: the kind of each property follows from its value"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.options.MaxOpenTasks {
		return "", errorf(http.StatusTooManyRequests, "%d tasks are open: wait until some of them have ended", len(s.open))
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
		return errorf(400, "taskType is missing: give a type of a plugin's type-definitions.yaml")
	case definition != nil && definition.Virtual:
		return errorf(400, "type %s is virtual: give a type that extends it", request.TaskType)
	case request.Image == "" && definition == nil:
		return errorf(400, "image is missing, and type %s is not defined: give an image or a defined type: %s",
			request.TaskType, cmp.Or(strings.Join(slices.Sorted(maps.Keys(s.types)), ", "), "none, start the server with --type-definitions"))
	case request.Image == "":
		return errorf(400, "image is missing, and the definition of type %s has none without placeholders: give an image", request.TaskType)
	case !request.Kind.Valid():
		return errorf(400, "kind must be task or script")
	case request.ImagePullPolicy != "" && !request.ImagePullPolicy.Valid():
		return errorf(400, "imagePullPolicy must be if-not-present, always or never")
	case request.Limits.Memory < 0, request.Limits.Cpus < 0, request.Limits.Pids < 0:
		return errorf(400, "limits must not be negative: give 0 or leave a limit out to use the runner's own")
	}
	return checkSeconds("timeoutSeconds", request.TimeoutSeconds, "to use the runner's own")
}

// checkSeconds rejects a negative number of seconds and one that overflows time.Duration, because a runner would ignore it.
func checkSeconds(field string, n int64, zeroMeaning string) error {
	if limit := math.MaxInt64 / int64(time.Second); n < 0 || n > limit {
		return errorf(400, "%s is %d: give 1 to %d seconds, or 0 %s", field, n, limit, zeroMeaning)
	}
	return nil
}
