package actorrt

import (
	"fmt"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
)

// SpawnRoot starts an actor without a parent. It fails if the name is taken.
func SpawnRoot[M any](s *System, spec Spec[M]) (Ref[M], error) {
	return spawn(s.top, s.proto.Root, spec)
}

// Spawn starts a child. It panics if the name is taken, which is a bug of the caller.
func Spawn[P, M any](c *Ctx[P], spec Spec[M]) Ref[M] {
	ref, err := spawn(c.host.node, c.host.proto, spec)
	if err != nil {
		panic(err)
	}
	return ref
}

// spawn gives every actor a unique Proto.Actor id, so a reference to one that has ended can neither reach its successor nor find it
// half registered in Proto.Actor.
func spawn[M any](parent *node, spawner actor.SpawnerContext, spec Spec[M]) (Ref[M], error) {
	c := newNode(parent, spec.Name)
	if !parent.addChild(c) {
		return Ref[M]{}, fmt.Errorf("spawn %s: the name is taken", c.path)
	}
	s := &host[M]{node: c, spec: spec, timers: map[string]timer{}, tasks: map[uint64]func(){}}
	s.ctx.host = s
	props := actor.PropsFromProducer(func() actor.Actor { return s },
		actor.WithDispatcher(c.adapter()),
		actor.WithMailbox(func() actor.Mailbox { return c.mailbox }),
		actor.WithOnInit(func(proto actor.Context) { s.proto, c.pid = proto, proto.Self() }))
	id := spec.Name + "#" + strconv.FormatUint(c.sys.seq.Add(1), 10)
	if _, err := spawner.SpawnNamed(props, id); err != nil {
		return Ref[M]{}, fmt.Errorf("spawn %s: %w", c.path, err)
	}
	return Ref[M]{c}, nil
}
