package shell

import (
	"fmt"
	"slices"
	"time"
)

// Phase is where an actor is in its life.
type Phase int32

const (
	Starting Phase = iota
	Up
	Crashed // its children and goroutines are ending
	Stopping
)

var phases = [...]string{"starting", "up", "crashed", "stopping"}

func (p Phase) String() string { return phases[p] }

// MarshalText makes a Phase a word in JSON.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the word.
func (p *Phase) UnmarshalText(word []byte) error {
	i := slices.Index(phases[:], string(word))
	if i < 0 {
		return fmt.Errorf("%q is no phase of an actor", word)
	}
	*p = Phase(i)
	return nil
}

// Node is one actor in a snapshot of the tree.
type Node struct {
	Path      string    `json:"path"`
	Phase     Phase     `json:"phase"`
	Queue     int       `json:"queue"`          // messages that wait
	Busy      string    `json:"busy,omitempty"` // type of the message in hand, "" between turns
	BusySince time.Time `json:"busySince,omitzero"`
	Tasks     []string  `json:"tasks,omitempty"`   // names of its goroutines
	Crashes   int       `json:"crashes,omitempty"` // of the actors of this name before it
	LastCrash string    `json:"lastCrash,omitempty"`
	CrashedAt time.Time `json:"crashedAt,omitzero"`
	Children  []Node    `json:"children,omitempty"` // by name
}

// Tree is a snapshot of all actors that live. No actor is asked, so one that hangs is seen hanging.
func (s *System) Tree() []Node { return s.top.children() }

func (c *cell) children() []Node {
	var nodes []Node
	for _, kid := range c.living() {
		nodes = append(nodes, kid.node(c.before(kid.name)))
	}
	return nodes
}

func (c *cell) node(before past) Node {
	n := Node{
		Path: c.path, Phase: Phase(c.phase.Load()), Queue: c.mailbox.UserMessageCount(),
		Crashes: before.crashes, LastCrash: before.last, CrashedAt: before.at, Tasks: c.tasks(), Children: c.children(),
	}
	if b := c.busy.Load(); b != nil {
		n.Busy, n.BusySince = b.message, b.since
	}
	return n
}
