package actorrt

// Behavior is the code of an actor. All methods are called in the actor's turns, one at a time.
type Behavior[M any] interface {
	Start(c *Ctx[M])
	Receive(c *Ctx[M], m M)
}

// Stopper is a Behavior with a Stop method, which is called once when the actor stops without a crash, before its children are stopped
// and while its context is alive. A panic in Stop is logged and otherwise ignored.
type Stopper[M any] interface {
	Stop(c *Ctx[M])
}

// ChildWatcher is a Behavior that handles the end of its children. When ChildDown is called, the child's name is free again. To
// escalate, panic with the Crash. ChildDown is not called once the actor itself is ending.
type ChildWatcher[M any] interface {
	ChildDown(c *Ctx[M], d Down)
}

// Down describes the end of a child.
type Down struct {
	Name  string
	Crash *Crash // nil after an orderly stop
}

// Spec describes an actor to spawn. Names are unique among live siblings.
type Spec[M any] struct {
	Name string
	New  func() Behavior[M]
}
