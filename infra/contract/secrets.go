package contract

import (
	"encoding/json"
	"slices"

	msg "runnerd/messages"
)

// Secrets returns every value that must be masked: values marked password, at any depth, and the password of the run-as user. The list is
// sorted and has no duplicates. A secret list or map includes all its values, but not the keys of a map: the server shows them too.
// Booleans and null are never secret.
//
// The recursion is bounded, because ParseInput limits nesting to 10,000 levels.
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

// search adds the secrets in a value. If secret is set, everything in the value is secret.
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
