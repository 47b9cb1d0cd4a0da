package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// shared is the variable that names the file in which one process describes its shop to others.
const shared = "RUNNERD_TESTS_SHOP"

// Share builds programs and images in the repository's first directory, once for the tests of several packages. A process with
// env in its environment uses them instead of its own, until they are removed. Without an engine there is nothing to share.
func Share(ctx context.Context) (env []string, remove func(), err error) {
	s := &Shop{root: "."}
	if err := s.open(ctx, ""); err != nil {
		s.close()
		if errors.Is(err, errNoEngine) { // what is then is for each package to decide
			err = nil
		}
		return nil, func() {}, err
	}
	text, err := json.Marshal(s)
	file := filepath.Join(s.dir, "shop.json")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	return []string{shared + "=" + file}, s.close, err
}

// load takes over a shop that another process has built.
func (s *Shop) load(file string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return fmt.Errorf("take over the programs and images that %s names: %w; unset it to build them", shared, err)
	}
	return nil
}
