package seal

import (
	"slices"
	"sync"
)

// openedKeys remembers the newest keys, in memory only: a job's is needed to check its input, and again a moment later to
// hand it out, and to open it takes longer than everything else there but the fsync.
type openedKeys struct {
	mu     sync.Mutex
	newest []openedKey
}

type openedKey struct {
	sealed string
	key    Key
}

const mostOpened = 16

func (o *openedKeys) find(sealed []byte) (Key, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.newest {
		if k.sealed == string(sealed) {
			return k.key, true
		}
	}
	return Key{}, false
}

func (o *openedKeys) add(sealed []byte, key Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.newest) == mostOpened {
		o.newest = slices.Delete(o.newest, 0, 1)
	}
	o.newest = append(o.newest, openedKey{string(sealed), key})
}
