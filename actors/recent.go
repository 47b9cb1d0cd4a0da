package actors

import "slices"

// recent is a map that keeps the values set last, up to most of them. What the server or executors name without limit must not
// takeWaiting memory without limit (I12).
type recent[K comparable, V any] struct {
	most   int
	values map[K]V
	order  []K // the one set longest ago first
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, values: map[K]V{}}
}

// set returns the keys that had to go.
func (r *recent[K, V]) set(key K, value V) (dropped []K) {
	r.remove(key)
	r.values[key], r.order = value, append(r.order, key)
	for len(r.order) > r.most {
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
