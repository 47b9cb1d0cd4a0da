package actors

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var wide = flag.Bool("wide", false, "explore more states, and try all deliberate bugs")

// exploration visits, breadth first, every reachable state of a system. next calls the production code for the decisions, and is otherwise
// a small model of its surroundings.
type exploration[State, Event any, Key comparable] struct {
	start State
	// key identifies a state. Of several states with the same key, such as those that differ only in names, one is explored.
	key func(State) Key
	// next calls visit with each event that is possible in a state, and either the state after it or the invariant that it breaks.
	next func(from State, visit func(Event, State, error))
	// describe describes an event, for a counterexample.
	describe func(from State, event Event, to State) string

	// goal must remain reachable from every state. It may be nil.
	goal func(State) bool
	// helps reports whether a path to the goal may use the event. If it is nil, a path may use any event.
	helps func(Event) bool
	// always requires that every sequence of helping events ends in the goal, not only that one does.
	always bool
}

// explored counts what an exploration has visited.
type explored struct{ states, events int }

func (e explored) String() string { return fmt.Sprintf("%d states, %d events", e.states, e.events) }

// errUnreachable is the violation of a state from which the goal is not, or not always, reached.
var errUnreachable = errors.New("the goal is not reached")

// counterexample is the shortest sequence of events that breaks an invariant.
type counterexample struct {
	violation error
	steps     []string
	after     []string // how it continues without end, or ends without the goal
}

func (c *counterexample) Unwrap() error { return c.violation }

func (c *counterexample) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", c.violation)
	for n, step := range c.steps {
		fmt.Fprintf(&b, "\n%4d. %s", n+1, step)
	}
	for _, step := range c.after {
		fmt.Fprintf(&b, "\n      then %s", step)
	}
	return b.String()
}

// visited is a state, and how it was first reached.
type visited[State, Event any] struct {
	state State
	event Event
	from  int32 // -1: the start
}

// search is one run of an exploration.
type search[State, Event any, Key comparable] struct {
	exploration[State, Event, Key]
	nodes  []visited[State, Event]
	index  map[Key]int32
	ends   []int32 // successors by helping events, one state after another
	offset []int32 // index in ends at which a state's successors begin
	events int
}

// explore visits everything, or stops at the first violation.
func (x exploration[State, Event, Key]) explore() (explored, error) {
	s := &search[State, Event, Key]{exploration: x, index: map[Key]int32{}}
	if s.helps == nil {
		s.helps = func(Event) bool { return true }
	}
	s.add(x.start, *new(Event), -1)
	for at := int32(0); int(at) < len(s.nodes); at++ {
		if err := s.expand(at); err != nil {
			return s.seen(), err
		}
	}
	if s.goal == nil {
		return s.seen(), nil
	}
	return s.seen(), s.checkGoal()
}

func (s *search[State, Event, Key]) seen() explored { return explored{len(s.nodes), s.events} }

func (s *search[State, Event, Key]) add(state State, event Event, from int32) int32 {
	key := s.key(state)
	at, known := s.index[key]
	if !known {
		at = int32(len(s.nodes))
		s.index[key] = at
		s.nodes = append(s.nodes, visited[State, Event]{state, event, from})
	}
	return at
}

func (s *search[State, Event, Key]) expand(at int32) (found error) {
	from := s.nodes[at].state
	s.offset = append(s.offset, int32(len(s.ends)))
	s.next(from, func(event Event, to State, violation error) {
		s.events++
		switch {
		case found != nil:
		case violation != nil:
			found = &counterexample{violation: violation, steps: append(s.path(at), s.describe(from, event, to))}
		default:
			end := s.add(to, event, at)
			if s.goal != nil && s.helps(event) {
				s.ends = append(s.ends, end)
			}
		}
	})
	return found
}

// path describes how a state is reached.
func (s *search[State, Event, Key]) path(to int32) (steps []string) {
	for at := to; s.nodes[at].from >= 0; at = s.nodes[at].from {
		n := s.nodes[at]
		steps = append(steps, s.describe(s.nodes[n.from].state, n.event, n.state))
	}
	slices.Reverse(steps)
	return steps
}

// checkGoal searches backwards from the goal states. Of the states that it does not visit, the first has the shortest path.
func (s *search[State, Event, Key]) checkGoal() error {
	reaches := s.reaching()
	at := slices.Index(reaches, false)
	if at < 0 {
		return nil
	}
	return &counterexample{violation: errUnreachable, steps: s.path(int32(at)), after: s.withoutGoal(int32(at), reaches)}
}

// reaching reports for each state whether it leads to the goal.
func (s *search[State, Event, Key]) reaching() []bool {
	s.offset = append(s.offset, int32(len(s.ends)))
	origins, first := s.backwards()
	missing := make([]int32, len(s.nodes)) // number of successors that must still be shown to lead to the goal
	reaches := make([]bool, len(s.nodes))
	var queue []int32
	reached := func(at int32) {
		if !reaches[at] {
			reaches[at] = true
			queue = append(queue, at)
		}
	}
	for at := range s.nodes {
		missing[at] = 1
		if s.always {
			missing[at] = max(1, s.offset[at+1]-s.offset[at])
		}
		if s.goal(s.nodes[at].state) {
			reached(int32(at))
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, origin := range origins[first[at]:first[at+1]] {
			if missing[origin]--; missing[origin] == 0 {
				reached(origin)
			}
		}
	}
	return reaches
}

// backwards reverses the events: the predecessors of the state at are origins[first[at]:first[at+1]].
func (s *search[State, Event, Key]) backwards() (origins, first []int32) {
	first = make([]int32, len(s.nodes)+2)
	for _, end := range s.ends {
		first[end+2]++
	}
	for at := range s.nodes {
		first[at+2] += first[at+1]
	}
	origins = make([]int32, len(s.ends))
	for at := range s.nodes {
		for _, end := range s.ends[s.offset[at]:s.offset[at+1]] {
			origins[first[end+1]] = int32(at)
			first[end+1]++
		}
	}
	return origins, first
}

// withoutGoal describes how a state that does not reach the goal continues, until nothing more can happen or a state repeats.
func (s *search[State, Event, Key]) withoutGoal(at int32, reaches []bool) (steps []string) {
	for seen := map[int32]bool{}; !seen[at]; {
		seen[at] = true
		from, to := s.nodes[at].state, int32(-1)
		s.next(from, func(event Event, state State, _ error) {
			if end := s.index[s.key(state)]; to < 0 && s.helps(event) && !reaches[end] {
				to = end
				steps = append(steps, s.describe(from, event, state))
			}
		})
		if to < 0 {
			return append(steps, "nothing more can happen")
		}
		at = to
	}
	return append(steps, "the same again, without end")
}

// The explorer itself is tested with a counter that must reach 3.

type counterStep string

func counter(steps map[counterStep]func(int) int) exploration[int, counterStep, int] {
	return exploration[int, counterStep, int]{
		key: func(n int) int { return n },
		next: func(n int, visit func(counterStep, int, error)) {
			for _, name := range []counterStep{"add", "double", "reset"} {
				step, ok := steps[name]
				if !ok || n >= 3 {
					continue
				}
				to, violation := step(n), error(nil)
				if to > 3 {
					violation = errors.New("too much")
				}
				visit(name, to, violation)
			}
		},
		describe: func(from int, m counterStep, to int) string { return fmt.Sprintf("%s %d to %d", m, from, to) },
		goal:     func(n int) bool { return n == 3 },
	}
}

func TestExplorationFindsShortestCounterexample(t *testing.T) {
	add := func(n int) int { return n + 1 }
	double := func(n int) int { return 2 * n }
	reset := func(int) int { return 0 }
	for _, row := range []struct {
		when   string
		steps  map[counterStep]func(int) int
		always bool
		want   string
	}{
		{"the goal is reached", map[counterStep]func(int) int{"add": add}, true, ""},
		{"an invariant breaks", map[counterStep]func(int) int{"add": add, "double": double}, false,
			"too much\n   1. add 0 to 1\n   2. add 1 to 2\n   3. double 2 to 4"},
		{"the goal stays reachable", map[counterStep]func(int) int{"add": add, "reset": reset}, false, ""},
		{"the goal may never be reached", map[counterStep]func(int) int{"add": add, "reset": reset}, true,
			"the goal is not reached\n      then add 0 to 1\n      then add 1 to 2\n      then reset 2 to 0\n      then the same again, without end"},
		{"nothing leads to the goal", map[counterStep]func(int) int{"add": func(n int) int { return min(n+1, 1) }}, false,
			"the goal is not reached\n      then add 0 to 1\n      then add 1 to 1\n      then the same again, without end"},
		{"it ends before the goal", map[counterStep]func(int) int{}, false, "the goal is not reached\n      then nothing more can happen"},
	} {
		t.Run(row.when, func(t *testing.T) {
			x := counter(row.steps)
			x.always = row.always
			got := ""
			if _, err := x.explore(); err != nil {
				got = err.Error()
			}
			if got != row.want {
				t.Errorf("%s\nwant\n%s", got, row.want)
			}
		})
	}
}
