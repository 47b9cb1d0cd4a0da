package actors

import "slices"

// life is where an executor stands in its life.
type life string

const (
	unborn   life = "" // or not yet found again after a restart
	pulling  life = "pulling"
	starting life = "starting"
	running  life = "running"  // a job is handed out and has no result
	settling life = "settling" // result stored, next GET not waiting yet; counts as running
	idle     life = "idle"
	stopping life = "stopping"
	gone     life = "gone" // its container has ended; what is left of it is being cleared away
)

// next says where each state may lead. Adoption enters at running, stopping or settling; idle only once its GET is held; a lost hold
// leads from idle back to settling.
var next = map[life][]life{
	unborn:   {pulling, starting, running, settling, stopping, gone},
	pulling:  {starting, stopping, gone},
	starting: {running, settling, stopping, gone},
	running:  {settling, stopping, gone},
	settling: {idle, running, stopping, gone},
	idle:     {running, settling, stopping, gone},
	stopping: {gone},
	gone:     {},
}

func (l life) mayBecome(to life) bool { return slices.Contains(next[l], to) }

// works reports whether it may have a job, or get one.
func (l life) works() bool { return l == running || l == settling || l == idle }
