package actorrt

import (
	"fmt"
	"slices"
	"time"
)

// State is the lifecycle state of an actor.
type State int32

const (
	Starting State = iota
	Up
	Crashed // its children and goroutines are ending
	Stopping
)

var stateNames = [...]string{"starting", "up", "crashed", "stopping"}

func (p State) String() string { return stateNames[p] }

// MarshalText returns the state's name, for JSON.
func (p State) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a state's name.
func (p *State) UnmarshalText(word []byte) error {
	i := slices.Index(stateNames[:], string(word))
	if i < 0 {
		return fmt.Errorf("unknown actor state %q", word)
	}
	*p = State(i)
	return nil
}

// NodeStatus is one actor in a snapshot of the tree.
type NodeStatus struct {
	Path      string       `json:"path"`
	State     State        `json:"state"`
	Queue     int          `json:"queue"`          // messages in the mailbox
	Busy      string       `json:"busy,omitempty"` // type of the current message; empty between turns
	BusySince time.Time    `json:"busySince,omitzero"`
	Tasks     []string     `json:"tasks,omitempty"`   // names of its goroutines
	Crashes   int          `json:"crashes,omitempty"` // of the actors of this name before it
	LastCrash string       `json:"lastCrash,omitempty"`
	CrashedAt time.Time    `json:"crashedAt,omitzero"`
	Children  []NodeStatus `json:"children,omitempty"` // by name
}

// Tree returns a snapshot of all live actors. It does not involve the actors, so it works while one hangs.
func (s *System) Tree() []NodeStatus { return s.top.childStatus() }

func (c *node) childStatus() []NodeStatus {
	var nodes []NodeStatus
	for _, child := range c.liveChildren() {
		nodes = append(nodes, child.status(c.history(child.name)))
	}
	return nodes
}

func (c *node) status(history crashHistory) NodeStatus {
	n := NodeStatus{
		Path: c.path, State: State(c.state.Load()), Queue: c.mailbox.UserMessageCount(),
		Crashes: history.crashes, LastCrash: history.last, CrashedAt: history.at, Tasks: c.tasks(), Children: c.childStatus(),
	}
	if b := c.busy.Load(); b != nil {
		n.Busy, n.BusySince = b.message, b.since
	}
	return n
}
