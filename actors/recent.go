package actors

import "slices"

// recent is a map of the most recently set values, at most limit. It bounds the memory for ids that the server or executors choose (I12).
type recent[K comparable, V any] struct {
	limit  int
	values map[K]V
	order  []K // oldest first
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{limit: most, values: map[K]V{}}
}

// set stores a value, and returns the keys that were dropped for it.
func (r *recent[K, V]) set(key K, value V) (dropped []K) {
	r.remove(key)
	r.values[key], r.order = value, append(r.order, key)
	for len(r.order) > r.limit {
		oldest := r.order[0]
		r.remove(oldest)
		dropped = append(dropped, oldest)
	}
	return dropped
}

func (r *recent[K, V]) remove(key K) {
	if _, known := r.values[key]; known {
		at := slices.Index(r.order, key)
		r.order = slices.Delete(r.order, at, at+1)
		delete(r.values, key)
	}
}
