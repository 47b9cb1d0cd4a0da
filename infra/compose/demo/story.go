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

func chapter(title string) { fmt.Printf("\n━━ %s\n", title) }

func say(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }

// tell shows everything once, and fails where something is not as it is said.
func tell(ctx context.Context, s *stack) error {
	if err := until(ctx, "the runner has registered", func() (bool, error) {
		n, err := s.server.runners(ctx)
		return n > 0, err
	}); err != nil {
		return err
	}
	if err := until(ctx, "both services are healthy", func() (bool, error) {
		n, err := healthy(ctx)
		return n == 2, err
	}); err != nil {
		return err
	}
	say("server and runner are healthy, as their own program says in their health checks")
	for _, part := range []func(context.Context, *stack) error{coldAndWarm, aScript, killedInTheMiddle, aborted, evicted, theLedger} {
		if err := part(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func coldAndWarm(ctx context.Context, s *stack) error {
	chapter("The first job of an image starts a container; the next ones find it warm")
	var cold, warm time.Duration
	for n := range 5 {
		t, err := s.greet(ctx, blue)
		if err != nil {
			return err
		}
		if n == 0 {
			cold = t.took()
		} else if warm == 0 || t.took() < warm {
			warm = t.took()
		}
		say("%-20s %-10s %6v   %s", blue, t.State, t.took(), t.OutputProperties["greeting"])
	}
	if err := count(ctx, 1); err != nil {
		return err
	}
	if _, err := s.greet(ctx, green); err != nil {
		return err
	}
	say("cold %v, warm %v: %.0f times as fast. Another image's job started a container of its own", cold, warm, float64(cold)/float64(warm))
	return count(ctx, 2)
}

func (s *stack) greet(ctx context.Context, image string) (task, error) {
	t, err := s.server.submit(ctx, image, "sample.Hello", map[string]any{"yourName": "World"})
	if err == nil {
		t, err = s.server.done(ctx, t.ID)
	}
	if err == nil && t.State != "completed" {
		err = fmt.Errorf("%s is %s: %s", t.ID, t.State, t.Message)
	}
	return t, err
}

// count fails if there are more executors than there should be.
func count(ctx context.Context, want int) error {
	all, err := executors(ctx)
	if err == nil && len(all) != want {
		err = fmt.Errorf("there are %d executors, want %d: %v", len(all), want, all)
	}
	return err
}

func aScript(ctx context.Context, s *stack) error {
	chapter("A script: a person waits, so it goes before tasks, and its answer is pushed at once")
	t, err := s.server.submit(ctx, blue, "sample.Lookup", map[string]any{"prefix": "A"})
	if err == nil {
		t, err = s.server.done(ctx, t.ID)
	}
	if err != nil {
		return err
	}
	answer, err := json.Marshal(t.OutputProperties["commandResponse"])
	if err != nil {
		return err
	}
	say("sample.Lookup        %-10s %6v   %s", t.State, t.took(), answer)
	return count(ctx, 2)
}

func killedInTheMiddle(ctx context.Context, s *stack) error {
	const steps = 20
	chapter("The runner's container is killed in the middle of a job: nothing is lost")
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
		say("                        ⚡ kill -9 of the runner; its executor works on, and the next runner takes it over")
		return s.killRunner(ctx)
	})
	if err == nil {
		t, err = s.server.done(ctx, t.ID)
	}
	if err != nil {
		return err
	}
	if len(seen) != steps || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
		return fmt.Errorf("the log has %d of %d steps: %v", len(seen), steps, seen)
	}
	say("%s after %v: each of the %d lines arrived, and none twice", t.State, t.took(), steps)
	return nil
}

func aborted(ctx context.Context, s *stack) error {
	chapter("A person aborts a job: the plugin's own abort command runs")
	t, err := s.server.submit(ctx, green, "sample.Slow", map[string]any{"steps": 1000, "delayMillis": 100})
	if err != nil {
		return err
	}
	err = s.server.follow(ctx, t.ID, func(line string) error {
		_, text, _ := strings.Cut(line, "] ")
		switch {
		case strings.HasPrefix(text, "step 3 "):
			say("%s", text)
			return s.server.abort(ctx, t.ID, "we have seen enough")
		case text == "cleaning up", strings.HasPrefix(text, "aborted after "):
			say("%s", text)
		}
		return nil
	})
	if err == nil {
		t, err = s.server.done(ctx, t.ID)
	}
	if err == nil && (t.State != "aborted" || !strings.Contains(t.Message, "The plugin answered SIGABRT")) {
		err = fmt.Errorf("it is %s: %s", t.State, t.Message)
	}
	if err == nil {
		say("%s", t.Message)
	}
	return err
}

func evicted(ctx context.Context, _ *stack) error {
	chapter("Executors that have been idle for 8 s are evicted")
	begun := time.Now()
	err := until(ctx, "all executors are gone", func() (bool, error) {
		all, err := executors(ctx)
		return err == nil && len(all) == 0, err
	})
	if err == nil {
		say("all are gone, %v after the last job", time.Since(begun).Round(100*time.Millisecond))
	}
	return err
}

func theLedger(ctx context.Context, s *stack) error {
	chapter("The server believes no runner: its ledger holds every offer, confirm, log byte and finish against the rules")
	broken, err := s.server.breaches(ctx)
	if err == nil && len(broken) > 0 {
		err = fmt.Errorf("the runner broke them: %v", broken)
	}
	if err == nil {
		say("no breach")
	}
	return err
}
