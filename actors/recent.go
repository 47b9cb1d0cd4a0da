package actors

import "slices"

// recent is a map that holds only the limit most recently set values. It bounds the memory for ids that the server or executors choose (I12).
type recent[K comparable, V any] struct {
	limit  int
	values map[K]V
	order  []K // oldest first
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, values: map[K]V{}}
}

// set stores a value, and returns the keys of the oldest values, which it dropped to stay within the limit.
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
