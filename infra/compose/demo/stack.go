package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// stack is the services of compose.yaml.
type stack struct {
	compose []string // the command
	env     []string
	state   string
	server  server
}

// newStack brings it up.
func newStack(ctx context.Context) (*stack, error) {
	compose, err := composeCommand(ctx)
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp("", "runnerd-demo-")
	if err != nil {
		return nil, err
	}
	user, err := socketUser()
	if err != nil {
		return nil, err
	}
	if err := os.Chown(state, user.uid, user.gid); err != nil {
		return nil, fmt.Errorf("give the state directory to the runner's user: %w: run the demo as root", err)
	}
	s := &stack{
		compose: compose, state: state, server: server{url: "http://127.0.0.1:5516"},
		env: append(os.Environ(), "RUNNERD_STATE="+state, "RUNNERD_TOKEN=rpa_"+rand.Text(), fmt.Sprintf("RUNNERD_USER=%d:%d", user.uid, user.gid)),
	}
	chapter("The stack: " + strings.Join(compose, " ") + " up")
	if err := s.do(ctx, "up", "--detach"); err != nil {
		return nil, errors.Join(err, s.down(context.WithoutCancel(ctx)))
	}
	say("runner as user %d:%d, with a read-only root; it keeps its state in %s", user.uid, user.gid, state)
	return s, nil
}

func composeCommand(ctx context.Context) ([]string, error) {
	file := []string{"--project-name", "runnerd-demo", "--file", "infra/compose/compose.yaml"}
	if exec.CommandContext(ctx, "docker", "compose", "version").Run() == nil {
		return append([]string{"docker", "compose"}, file...), nil
	}
	if _, err := exec.LookPath("docker-compose"); err == nil {
		return append([]string{"docker-compose"}, file...), nil
	}
	return nil, errors.New("there is neither docker compose nor docker-compose: install one of them")
}

type user struct{ uid, gid int }

// socketUser is a user without privileges where the engine's socket has a group that may use it.
func socketUser() (user, error) {
	const nobody = 65532
	info, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		return user{}, fmt.Errorf("find the engine: %w", err)
	}
	group := int(info.Sys().(*syscall.Stat_t).Gid)
	if group == 0 || info.Mode().Perm()&0o060 != 0o060 {
		return user{}, nil
	}
	return user{nobody, group}, nil
}

func (s *stack) do(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, s.compose[0], append(s.compose[1:], args...)...)
	c.Env = s.env
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return nil
}

// killRunner is kill -9 of the runner's container. It is started again as a service manager would.
func (s *stack) killRunner(ctx context.Context) error {
	if err := s.do(ctx, "kill", "runner"); err != nil {
		return err
	}
	return s.do(ctx, "up", "--detach", "runner")
}

// down drains the runner, and takes everything away.
func (s *stack) down(ctx context.Context) error {
	chapter("Down")
	if out, err := exec.CommandContext(ctx, "docker", "ps", "--quiet", "--filter", "label=com.docker.compose.project=runnerd-demo", "--filter", "label=com.docker.compose.service=runner").Output(); err == nil && len(out) > 0 {
		_ = exec.CommandContext(ctx, "docker", "exec", strings.TrimSpace(string(out)), "/app/release-runner", "drain", "--state-dir", s.state).Run() // what is left is seen below
	}
	err := errors.Join(s.do(ctx, "down", "--timeout", "60"), os.RemoveAll(s.state))
	if err != nil {
		return err
	}
	left, err := executors(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("executors are left: %v", left)
	}
	if err == nil {
		say("nothing is left: no container, no network, no directory")
	}
	return err
}

// healthy counts the services whose health check says so.
func healthy(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "docker", "ps", "--quiet", "--filter", "label=com.docker.compose.project=runnerd-demo", "--filter", "health=healthy").Output()
	return len(strings.Fields(string(out))), err
}

// executors are the containers of the runner's that run, by id, with their images.
func executors(ctx context.Context) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "docker", "ps", "--all", "--filter", "label=runnerd.executor", "--format", "{{.ID}} {{.Label \"runnerd.image\"}}").Output()
	if err != nil {
		return nil, fmt.Errorf("list the executors: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if id, image, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(image, "runnerd-demo/") {
			found[id] = image
		}
	}
	return found, nil
}

// until waits for something that happens by itself.
func until(ctx context.Context, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("after two minutes it is not so: %s", what))
	defer cancel()
	for {
		yes, err := so()
		if yes || err != nil && ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
