package actors

import (
	"errors"

	msg "runnerd/messages"
)

// What an error says about the server's decision. An error without a response says nothing.

// asRefusal returns the refusal in err and true. If there is none, it returns an empty Refusal and false.
func asRefusal(err error) (*msg.Refusal, bool) {
	r, ok := errors.AsType[*msg.Refusal](err)
	if !ok {
		r = &msg.Refusal{}
	}
	return r, ok
}

// isFinal reports whether the server will refuse every retry of the request.
func isFinal(err error) bool {
	r, ok := asRefusal(err)
	return ok && r.Final()
}

// isUnregistered reports whether the runner must register again.
func isUnregistered(err error) bool {
	r, ok := asRefusal(err)
	return ok && r.Unregistered()
}
