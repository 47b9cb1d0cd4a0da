package main

import (
	"testing"

	"runnerd/infra/devserver"
)

func TestASampleIsJudgedByItsStateItsOutputsAndItsLog(t *testing.T) {
	byType := map[string]sample{}
	for _, s := range samples() {
		byType[s.taskType] = s
	}
	for _, row := range []struct {
		became, taskType string
		view             devserver.TaskView
		log              string
		right            bool
	}{
		{became: "greeted", taskType: "sample.Hello", right: true,
			view: devserver.TaskView{State: devserver.Completed, OutputProperties: map[string]any{"greeting": "Hello World"}}},
		{became: "greeted somebody else", taskType: "sample.Hello",
			view: devserver.TaskView{State: devserver.Completed, OutputProperties: map[string]any{"greeting": "Hello"}}},
		{became: "completed without outputs", taskType: "sample.Hello", view: devserver.TaskView{State: devserver.Completed}},
		{became: "failed where it should not", taskType: "sample.Slow", view: devserver.TaskView{State: devserver.Failed}},
		{became: "aborted by its command", taskType: "sample.Slow", right: true, log: "aborted after 2 steps\n",
			view: devserver.TaskView{State: devserver.Aborted, Message: "Aborted: enough. The plugin answered SIGABRT with its result after 0.1s"}},
		{became: "killed", taskType: "sample.Slow", log: "cleaning up\n",
			view: devserver.TaskView{State: devserver.Aborted, Message: "Aborted: enough. It took SIGKILL, after 40.0s"}},
		{became: "failed as it should", taskType: "sample.Fail", right: true, view: devserver.TaskView{State: devserver.Failed, Message: "Cause: as it should"}},
		{became: "failed for another reason", taskType: "sample.Fail", view: devserver.TaskView{State: devserver.Failed, Message: "no image"}},
		{became: "masked", taskType: "sample.Secret", right: true, view: devserver.TaskView{State: devserver.Completed}, log: "plain: ********\n"},
		{became: "shown", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}, log: "plain: " + samplePassword},
		{became: "shown in JSON", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}, log: `plain: *** {"password": "pa55\"word-of-the-sample"}`},
		{became: "not logged at all", taskType: "sample.Secret", view: devserver.TaskView{State: devserver.Completed}},
	} {
		t.Run(row.taskType+" "+row.became, func(t *testing.T) {
			if err := byType[row.taskType].judge(row.view, row.log); (err == nil) != row.right {
				t.Errorf("judged %v", err)
			}
		})
	}
}
