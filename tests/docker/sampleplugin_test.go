package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"runnerd/tests/harness"
)

// docker build failed, because the README built the binary elsewhere.
func TestSamplePluginImageBuildsAsDocumented(t *testing.T) {
	t.Parallel()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	const dir, image, label = "../../infra/sampleplugin", "runnerd-test-sampleplugin:1.0", "sampleplugin:1.0"
	readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
	harness.Must(t, err)
	work := t.TempDir()
	harness.Must(t, os.CopyFS(work, os.DirFS(dir)))
	var ran []string
	for line := range strings.Lines(string(readme)) {
		command, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !indented {
			continue
		}
		ran = append(ran, command)
		c := exec.Command("sh", "-c", strings.ReplaceAll(command, label, image))
		c.Dir, c.Env = work, append(os.Environ(), "DOCKER_BUILDKIT=0") // works without the buildx plugin
		if output, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
	}
	if all := strings.Join(ran, "\n"); !strings.Contains(all, "go build") || !strings.Contains(all, "docker build --tag "+label) || !strings.Contains(all, "./sampleplugin") {
		t.Errorf("the documented commands are:\n%s", all)
	}
	harness.Must(t, exec.Command("docker", "image", "rm", image).Run())
}
