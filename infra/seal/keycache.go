package seal

import (
	"slices"
	"sync"
)

// keyCache holds the most recently opened keys in memory. A job's key is needed twice within a moment: to check the input, and to hand
// out the job. Opening a key is the slowest step of a hand-out except for the fsync.
type keyCache struct {
	mu   sync.Mutex
	keys []cachedKey
}

type cachedKey struct {
	sealed string
	key    Key
}

const maxCachedKeys = 16

func (c *keyCache) find(sealed []byte) (Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.keys {
		if k.sealed == string(sealed) {
			return k.key, true
		}
	}
	return Key{}, false
}

func (c *keyCache) add(sealed []byte, key Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) == maxCachedKeys {
		c.keys = slices.Delete(c.keys, 0, 1)
	}
	c.keys = append(c.keys, cachedKey{string(sealed), key})
}
