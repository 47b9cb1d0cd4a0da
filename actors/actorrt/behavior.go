package actorrt

// Behavior is an actor as its author writes it. All methods are called in the actor's turns, one at a time.
type Behavior[M any] interface {
	Start(c *Ctx[M])
	Receive(c *Ctx[M], m M)
}

// Stopper is a Behavior with last words: Stop is called once when the actor is stopped in order, before its children are
// stopped and while its context still lives. It is not called after a crash. A panic in it is logged and changes nothing.
type Stopper[M any] interface {
	Stop(c *Ctx[M])
}

// ChildWatcher is a Behavior that decides about its children's ends: the child's name is free again. To give up is to panic
// with the Crash. It is not called once the actor itself is to end.
type ChildWatcher[M any] interface {
	ChildDown(c *Ctx[M], d Down)
}

// Down is the end of a child.
type Down struct {
	Name  string
	Crash *Crash // nil after an orderly stop
}

// Spec says how to make an actor. Names are unique among siblings that live.
type Spec[M any] struct {
	Name string
	New  func() Behavior[M]
}
