package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// sharedEnv is the environment variable that names the file in which one process describes its Harness to others.
const sharedEnv = "RUNNERD_TESTS_HARNESS"

// Share builds the programs and images once for the tests of several packages. The working directory must be the repository's root.
// A process with env in its environment uses them instead of building its own, until remove is called. Without an engine, env is empty.
func Share(ctx context.Context) (env []string, remove func(), err error) {
	h := &Harness{root: "."}
	if err := h.open(ctx, ""); err != nil {
		h.close()
		if errors.Is(err, errNoEngine) { // each package decides whether it skips its tests
			err = nil
		}
		return nil, func() {}, err
	}
	text, err := json.Marshal(h)
	file := filepath.Join(h.dir, "harness.json")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	return []string{sharedEnv + "=" + file}, h.close, err
}

// load reads the description of a Harness that another process has built.
func (h *Harness) load(file string) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, h)
	}
	if err != nil {
		return fmt.Errorf("load the programs and images that %s names: %w; unset it to build them", sharedEnv, err)
	}
	return nil
}
