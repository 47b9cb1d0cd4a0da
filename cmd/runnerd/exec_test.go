package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
)

func TestExecTellsATasksOutcomeThoughItsRunnerFailsAfterwardsAndNoOther(t *testing.T) {
	server, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t"}, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.close(); err != nil {
			t.Error(err)
		}
	}()
	id, err := server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Hello"})
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("the network cannot be removed")
	var said bytes.Buffer
	if err := tell(server, id, &said, failed); err != nil || said.Len() > 0 {
		t.Errorf("before the task has ended: %q, %v", &said, err)
	}
	if err := server.Abort(id, "enough"); err != nil {
		t.Fatal(err)
	}
	verdict := tell(server, id, &said, failed)
	if exit, is := errors.AsType[exitError](verdict); !is || exit.code != exitNoResult || !strings.Contains(said.String(), "aborted after") {
		t.Errorf("afterwards: %q, %v", &said, verdict)
	}
}
