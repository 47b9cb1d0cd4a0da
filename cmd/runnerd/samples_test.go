package main

import (
	"testing"

	"runnerd/infra/devserver"
)

func TestSampleChecksStateOutputsAndLog(t *testing.T) {
	byType := map[string]sample{}
	for _, s := range samples() {
		byType[s.taskType] = s
	}
	for _, row := range []struct {
		outcome, taskType string
		view              devserver.TaskView
		log               string
		want              bool
	}{
		{outcome: "greeted", taskType: "sample.Hello", want: true,
			view: devserver.TaskView{State: devserver.Completed, OutputProperties: map[string]any{"greeting": "Hello World"}}},
		{outcome: "wrong greeting", taskType: "sample.Hello",
			view: devserver.TaskView{State: devserver.Completed, OutputProperties: map[string]any{"greeting": "Hello"}}},
		{outcome: "completed without outputs", taskType: "sample.Hello", view: devserver.TaskView{State: devserver.Completed}},
		{outcome: "failed where it should not", taskType: "sample.Slow", view: devserver.TaskView{State: devserver.Failed}},
		{outcome: "aborted by its command", taskType: "sample.Slow", want: true, log: "aborted after 2 steps\n",
			view: devserver.TaskView{State: devserver.Aborted, Message: "Aborted: enough. The plugin answered SIGABRT with its result after 0.1s"}},
		{outcome: "killed", taskType: "sample.Slow", log: "cleaning up\n",
			view: devserver.TaskView{State: devserver.Aborted, Message: "Aborted: enough. The plugin was killed (SIGKILL) after 40.0s"}},
		{outcome: "failed as it should", taskType: "sample.Fail", want: true, view: devserver.TaskView{State: devserver.Failed, Message: "Cause: as it should"}},
		{outcome: "failed for another reason", taskType: "sample.Fail", view: devserver.TaskView{State: devserver.Failed, Message: "no image"}},
		{outcome: "masked", taskType: "sample.Secret", want: true, view: devserver.TaskView{State: devserver.Completed}, log: "plain: ********\n"},
		{outcome: "shown", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}, log: "plain: " + samplePassword},
		{outcome: "shown in JSON", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}, log: `plain: *** {"password": "pa55\"word-of-the-sample"}`},
		{outcome: "not logged at all", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}},
	} {
		t.Run(row.taskType+" "+row.outcome, func(t *testing.T) {
			if err := byType[row.taskType].verify(row.view, row.log); (err == nil) != row.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
