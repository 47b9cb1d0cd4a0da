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

// stack is the running services of compose.yaml.
type stack struct {
	compose []string // the compose command
	env     []string
	state   string
	server  server
}

// newStack starts the stack.
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
		return nil, fmt.Errorf("chown the state directory to the runner's user: %w: run the demo as root", err)
	}
	s := &stack{
		compose: compose, state: state, server: server{url: "http://127.0.0.1:5516"},
		env: append(os.Environ(), "RUNNERD_STATE="+state, "RUNNERD_TOKEN=rpa_"+rand.Text(), fmt.Sprintf("RUNNERD_USER=%d:%d", user.uid, user.gid)),
	}
	heading("The stack: " + strings.Join(compose, " ") + " up")
	if err := s.runCompose(ctx, "up", "--detach"); err != nil {
		return nil, errors.Join(err, s.down(context.WithoutCancel(ctx)))
	}
	say("runner has user %d:%d, a read-only root, and its state in %s", user.uid, user.gid, state)
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
	return nil, errors.New("neither docker compose nor docker-compose is installed: install one of them")
}

type userID struct{ uid, gid int }

// socketUser returns an unprivileged user in the group of the engine's socket, or root if the socket has no such group.
func socketUser() (userID, error) {
	const nobody = 65532
	info, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		return userID{}, fmt.Errorf("find the engine: %w", err)
	}
	group := int(info.Sys().(*syscall.Stat_t).Gid)
	if group == 0 || info.Mode().Perm()&0o060 != 0o060 {
		return userID{}, nil
	}
	return userID{nobody, group}, nil
}

func (s *stack) runCompose(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, s.compose[0], append(s.compose[1:], args...)...)
	c.Env = s.env
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return nil
}

// killRunner kills the runner's container with SIGKILL and starts it again, as a service manager would.
func (s *stack) killRunner(ctx context.Context) error {
	if err := s.runCompose(ctx, "kill", "runner"); err != nil {
		return err
	}
	return s.runCompose(ctx, "up", "--detach", "runner")
}

// down drains the runner and removes everything.
func (s *stack) down(ctx context.Context) error {
	heading("Everything is removed")
	if out, err := exec.CommandContext(ctx, "docker", "ps", "--quiet", "--filter", "label=com.docker.compose.project=runnerd-demo", "--filter", "label=com.docker.compose.service=runner").Output(); err == nil && len(out) > 0 {
		_ = exec.CommandContext(ctx, "docker", "exec", strings.TrimSpace(string(out)), "/app/release-runner", "drain", "--state-dir", s.state).Run() // what remains after an error is reported below
	}
	err := errors.Join(s.runCompose(ctx, "down", "--timeout", "60"), os.RemoveAll(s.state))
	if err != nil {
		return err
	}
	remaining, err := listExecutors(ctx)
	if err == nil && len(remaining) > 0 {
		err = fmt.Errorf("executors remain: %v", remaining)
	}
	if err == nil {
		say("nothing remains: no container, no network, no directory")
	}
	return err
}

// countHealthy returns the number of healthy services.
func countHealthy(ctx context.Context) (int, error) {
	out, err := exec.CommandContext(ctx, "docker", "ps", "--quiet", "--filter", "label=com.docker.compose.project=runnerd-demo", "--filter", "health=healthy").Output()
	return len(strings.Fields(string(out))), err
}

// listExecutors returns the images of the demo's executors by container id.
func listExecutors(ctx context.Context) (map[string]string, error) {
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

// waitUntil polls the condition until it holds, for at most two minutes.
func waitUntil(ctx context.Context, condition string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("timed out after 2m waiting until %s", condition))
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil && ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}
