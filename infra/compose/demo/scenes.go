package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func heading(title string) { fmt.Printf("\n━━ %s\n", title) }

func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// runDemo runs all steps, and fails if an outcome is not as expected.
func runDemo(ctx context.Context, s *stack) error {
	if err := waitUntil(ctx, "the runner has registered", func() (bool, error) {
		n, err := s.server.countRunners(ctx)
		return n > 0, err
	}); err != nil {
		return err
	}
	if err := waitUntil(ctx, "both services are healthy", func() (bool, error) {
		n, err := countHealthy(ctx)
		return n == 2, err
	}); err != nil {
		return err
	}
	say("server and runner are healthy, according to their health checks")
	for _, step := range []func(context.Context, *stack) error{compareColdAndWarm, runScript, killRunnerMidJob, abortJob, waitForEviction, checkLedger} {
		if err := step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func compareColdAndWarm(ctx context.Context, s *stack) error {
	heading("The first job of an image starts a container; the next ones reuse it")
	var cold, warm time.Duration
	for n := range 5 {
		t, err := s.greet(ctx, blue)
		if err != nil {
			return err
		}
		if n == 0 {
			cold = t.duration()
		} else if warm == 0 || t.duration() < warm {
			warm = t.duration()
		}
		say("%-20s %-10s %6v   %s", blue, t.State, t.duration(), t.OutputProperties["greeting"])
	}
	if err := expectExecutors(ctx, 1); err != nil {
		return err
	}
	if _, err := s.greet(ctx, green); err != nil {
		return err
	}
	say("cold %v, warm %v: %.0f times as fast. A job of another image started its own container", cold, warm, float64(cold)/float64(warm))
	return expectExecutors(ctx, 2)
}

func (s *stack) greet(ctx context.Context, image string) (task, error) {
	t, err := s.server.submit(ctx, image, "sample.Hello", map[string]any{"yourName": "World"})
	if err == nil {
		t, err = s.server.waitForTask(ctx, t.ID)
	}
	if err == nil && t.State != "completed" {
		err = fmt.Errorf("%s is %s: %s", t.ID, t.State, t.Message)
	}
	return t, err
}

// expectExecutors fails unless there are want executors.
func expectExecutors(ctx context.Context, want int) error {
	all, err := listExecutors(ctx)
	if err == nil && len(all) != want {
		err = fmt.Errorf("%d executors, want %d: %v", len(all), want, all)
	}
	return err
}

func runScript(ctx context.Context, s *stack) error {
	heading("A script runs before tasks, because a user waits for it, and its answer is sent at once")
	t, err := s.server.submit(ctx, blue, "sample.Lookup", map[string]any{"prefix": "A"})
	if err == nil {
		t, err = s.server.waitForTask(ctx, t.ID)
	}
	if err != nil {
		return err
	}
	answer, err := json.Marshal(t.OutputProperties["commandResponse"])
	if err != nil {
		return err
	}
	say("sample.Lookup        %-10s %6v   %s", t.State, t.duration(), answer)
	return expectExecutors(ctx, 2)
}

func killRunnerMidJob(ctx context.Context, s *stack) error {
	const steps = 20
	heading("The runner's container is killed during a job: nothing is lost")
	t, err := s.server.submit(ctx, blue, "sample.Slow", map[string]any{"steps": steps, "delayMillis": 250})
	if err != nil {
		return err
	}
	seen := map[string]int{}
	err = s.server.follow(ctx, t.ID, func(line string) error {
		_, step, is := strings.Cut(line, "] step ")
		if !is {
			return nil
		}
		seen[step]++
		say("step %s", step)
		if len(seen) != 6 {
			return nil
		}
		say("                        ⚡ kill -9 of the runner; its executor keeps running, and the restarted runner takes it over")
		return s.killRunner(ctx)
	})
	if err == nil {
		t, err = s.server.waitForTask(ctx, t.ID)
	}
	if err != nil {
		return err
	}
	if len(seen) != steps || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
		return fmt.Errorf("the log has %d of %d steps: %v", len(seen), steps, seen)
	}
	say("%s after %v: each of the %d lines arrived exactly once", t.State, t.duration(), steps)
	return nil
}

func abortJob(ctx context.Context, s *stack) error {
	heading("A user aborts a job: the plugin's abort command runs")
	t, err := s.server.submit(ctx, green, "sample.Slow", map[string]any{"steps": 1000, "delayMillis": 100})
	if err != nil {
		return err
	}
	err = s.server.follow(ctx, t.ID, func(line string) error {
		_, text, _ := strings.Cut(line, "] ")
		switch {
		case strings.HasPrefix(text, "step 3 "):
			say("%s", text)
			return s.server.abort(ctx, t.ID, "the demo has seen enough")
		case text == "cleaning up", strings.HasPrefix(text, "aborted after "):
			say("%s", text)
		}
		return nil
	})
	if err == nil {
		t, err = s.server.waitForTask(ctx, t.ID)
	}
	if err == nil && (t.State != "aborted" || !strings.Contains(t.Message, "The plugin answered SIGABRT")) {
		err = fmt.Errorf("task is %s: %s", t.State, t.Message)
	}
	if err == nil {
		say("%s", t.Message)
	}
	return err
}

func waitForEviction(ctx context.Context, _ *stack) error {
	heading("Executors that have been idle for 8 s are evicted")
	start := time.Now()
	err := waitUntil(ctx, "all executors are removed", func() (bool, error) {
		all, err := listExecutors(ctx)
		return err == nil && len(all) == 0, err
	})
	if err == nil {
		say("all executors were removed %v after the last job", time.Since(start).Round(100*time.Millisecond))
	}
	return err
}

func checkLedger(ctx context.Context, s *stack) error {
	heading("The server checks every offer, confirm, log byte and finish against the protocol")
	violations, err := s.server.violations(ctx)
	if err == nil && len(violations) > 0 {
		err = fmt.Errorf("the runner violated the protocol: %v", violations)
	}
	if err == nil {
		say("no violation")
	}
	return err
}
