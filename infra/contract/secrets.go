package contract

import (
	"encoding/json"
	"slices"

	msg "runnerd/messages"
)

// Secrets returns every value that must never be shown: what is marked password, at any depth, and the password of the
// run-as user; each once, sorted. Of a list or map all that is inside counts, but not the keys of a map: the server shows
// them too. A lone true, false or null is not secret.
//
// Values are those that ParseInput made: it bounds the nesting (10,000 levels), and thereby the recursion here.
func (in InputContext) Secrets() []msg.Secret {
	s := secrets{}
	s.add(in.Release.AutomatedTaskAsUser.Password)
	for _, p := range in.Task.Properties {
		s.search(p.Value, p.Password)
	}
	slices.Sort(s)
	return slices.Compact(s)
}

type secrets []msg.Secret

func (s *secrets) add(text string) {
	if text != "" {
		*s = append(*s, msg.Secret(text))
	}
}

// search looks through a value; secret: all in it is.
func (s *secrets) search(value any, secret bool) {
	switch v := value.(type) {
	case map[string]any:
		marked, _ := v["password"].(bool)
		for name, inner := range v {
			s.search(inner, secret || marked && name == "value")
		}
	case []any:
		for _, inner := range v {
			s.search(inner, secret)
		}
	case string:
		if secret {
			s.add(v)
		}
	case json.Number:
		if secret {
			s.add(v.String())
		}
	}
}
