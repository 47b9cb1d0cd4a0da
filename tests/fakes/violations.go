package fakes

import (
	"fmt"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
)

// Call is the outcome of one call.
type Call = fake.Call

// violations collects the violations of invariants, in order.
type violations struct {
	mu   sync.Mutex
	list []string
}

func (b *violations) add(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// Violations lists the violations so far, each with its time and the violated invariant.
func (b *violations) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.list...)
}
