package masking

// automaton finds all patterns in one pass (Aho-Corasick). A state represents the longest suffix of the input that is a prefix of a
// pattern. Only states with several children, which are few, have a complete transition row. So memory is proportional to the length
// of the patterns, and most steps cost one lookup.
type automaton struct {
	states []state
	rows   [][256]int32
}

type state struct {
	depth int32 // length of the suffix that the state represents
	match int32 // length of the longest pattern that ends here; 0: none
	fail  int32 // the state of the longest proper suffix
	next  int32 // the only child, by edge; 0: none
	row   int32 // index+1 of its row; 0: none
	edge  byte
}

func newAutomaton(patterns []string) *automaton {
	a := &automaton{states: []state{{row: 1}}, rows: make([][256]int32, 1)}
	for _, p := range patterns {
		a.add(p)
	}
	a.link()
	return a
}

func (a *automaton) add(pattern string) {
	at := int32(0)
	for _, c := range []byte(pattern) {
		child := a.child(at, c)
		if child == 0 {
			child = int32(len(a.states))
			a.states = append(a.states, state{depth: a.states[at].depth + 1})
			a.addChild(at, c, child)
		}
		at = child
	}
	a.states[at].match = a.states[at].depth
}

func (a *automaton) child(at int32, c byte) int32 {
	switch s := &a.states[at]; {
	case s.row != 0:
		return a.rows[s.row-1][c]
	case s.next != 0 && s.edge == c:
		return s.next
	}
	return 0
}

func (a *automaton) addChild(at int32, c byte, child int32) {
	s := &a.states[at]
	if s.row == 0 && s.next == 0 {
		s.edge, s.next = c, child
		return
	}
	if s.row == 0 {
		a.rows = append(a.rows, [256]int32{})
		s.row = int32(len(a.rows))
		a.rows[s.row-1][s.edge] = s.next
	}
	a.rows[s.row-1][c] = child
}

// link sets the fail state of every state in breadth-first order, because the fail state is always at a smaller depth.
func (a *automaton) link() {
	queue := make([]int32, 1, len(a.states))
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		s := &a.states[at]
		s.match = max(s.match, a.states[s.fail].match)
		if s.row == 0 {
			if s.next != 0 {
				a.states[s.next].fail = a.step(s.fail, s.edge)
				queue = append(queue, s.next)
			}
			continue
		}
		queue = a.linkRow(at, queue)
	}
}

func (a *automaton) linkRow(at int32, queue []int32) []int32 {
	s := &a.states[at]
	row := &a.rows[s.row-1]
	for c := range row {
		suffix := int32(0)
		if at != 0 {
			suffix = a.step(s.fail, byte(c))
		}
		if child := row[c]; child != 0 {
			a.states[child].fail = suffix
			queue = append(queue, child)
		} else {
			row[c] = suffix
		}
	}
	return queue
}

// step returns the state after one more byte. It takes at most two lookups per byte on average, because each step to a fail state undoes
// an earlier step.
func (a *automaton) step(at int32, c byte) int32 {
	for {
		s := &a.states[at]
		if s.row != 0 {
			return a.rows[s.row-1][c]
		}
		if s.edge == c && s.next != 0 {
			return s.next
		}
		at = s.fail
	}
}
