package fakes

import (
	"fmt"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
)

// Call is what becomes of one call.
type Call = fake.Call

// breaches are what must never happen, in the order of happening.
type breaches struct {
	mu   sync.Mutex
	list []string
}

func (b *breaches) add(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// Breaches lists what an invariant forbids and happened all the same.
func (b *breaches) Breaches() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.list...)
}
