package tests

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// packageRule says what a part of the program may import, in addition to the standard library and the packages below itself.
type packageRule struct {
	path      string   // applies to this package and all below it without a rule of their own
	allowed   []string // paths of the program's packages and of other modules; "*": all other modules
	forbidden []string // packages of the standard library
}

// packageRules keep decisions independent of the outside, and adapters independent of one another. The most specific path counts.
var packageRules = []packageRule{
	{path: "messages"},
	{path: "spool", allowed: []string{"messages", "infra/rmtree", "spool", "golang.org/x/sys"}},
	{path: "actors", allowed: []string{"messages", "infra/driver", "actors/actorrt", "github.com/rs/zerolog"}, forbidden: []string{"net/http", "os"}},
	{path: "actors/actorrt", allowed: []string{"messages", "github.com/asynkron/protoactor-go", "github.com/rs/zerolog"}},
	{path: "infra/driver", allowed: []string{"messages", "infra/driver", "*"}},
	{path: "infra/rmtree"},
	{path: "infra/contract", allowed: []string{"messages", "k8s.io/api", "k8s.io/apimachinery"}},
	{path: "infra/seal", allowed: []string{"messages", "infra/contract"}},
	{path: "infra", allowed: []string{"messages", "infra/rmtree", "infra/driver", "infra/release/api", "infra/seal", "infra/contract", "*"}},
	{path: "cmd", allowed: []string{"messages", "spool", "actors", "infra", "*"}},
	{path: "tests", allowed: []string{"messages", "spool", "actors", "infra", "cmd", "*"}},
	{path: "tests/harness/provide", allowed: []string{"tests/harness"}},
}

// reserved maps modules to the only package that may import them, so that a replacement of the module changes one package. Tests are
// exempt.
var reserved = map[string]string{
	"github.com/asynkron/protoactor-go":   "actors/actorrt",
	"github.com/docker/docker":            "infra/docker",
	"github.com/alecthomas/kong":          "cmd/runnerd",
	"software.sslmate.com/src/go-pkcs12":  "infra/release",
	"github.com/prometheus/client_golang": "infra/metrics",
}

const program = "runnerd"

// violation returns why importer must not import imported, or an empty string if it may.
func violation(importer, imported string) string {
	importer = strings.TrimPrefix(importer, program+"/")
	own, ours := strings.CutPrefix(imported, program+"/")
	r := ruleFor(importer)
	if r == nil {
		return "has no rule: add one to tests/imports_test.go"
	}
	if isStandardLibrary(imported) {
		if slices.Contains(r.forbidden, imported) {
			return "must not import " + imported
		}
		return ""
	}
	for module, only := range reserved {
		if within(imported, module) && !within(importer, only) && !within(importer, "tests") {
			return "must not import " + imported + ": only " + only + " may"
		}
	}
	if ours {
		imported = own
	}
	// A package under infra may import the packages below itself, but not its siblings.
	allowed := within(imported, importer) || (!ours && slices.Contains(r.allowed, "*")) ||
		slices.ContainsFunc(r.allowed, func(may string) bool { return within(imported, may) })
	if allowed {
		return ""
	}
	return "must not import " + imported
}

func ruleFor(path string) *packageRule {
	var found *packageRule
	for i, r := range packageRules {
		if within(path, r.path) && (found == nil || len(r.path) > len(found.path)) {
			found = &packageRules[i]
		}
	}
	return found
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// isStandardLibrary reports whether a package is part of the standard library: the first element of any module's path has a dot, except for
// the program's own.
func isStandardLibrary(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != program
}

func TestEveryPackageFollowsItsImportRule(t *testing.T) {
	packages := listImports(t)
	if len(packages) < 10 {
		t.Fatalf("only %d packages found: go list lists another program", len(packages))
	}
	for importer, imports := range packages {
		for _, imported := range imports {
			if why := violation(importer, imported); why != "" {
				t.Errorf("%s %s", importer, why)
			}
		}
	}
}

func TestImportRulesAllowAndForbid(t *testing.T) {
	for _, row := range []struct {
		importer, imported string
		may                bool
	}{
		{"runnerd/messages", "time", true},
		{"runnerd/messages", "runnerd/spool", false},
		{"runnerd/spool/memfs", "runnerd/spool", true},
		{"runnerd/spool", "runnerd/infra/seal", false},
		{"runnerd/spool", "github.com/rs/zerolog", false},
		{"runnerd/actors", "runnerd/infra/driver", true},
		{"runnerd/actors", "runnerd/infra/docker", false},
		{"runnerd/actors", "net/http", false},
		{"runnerd/actors", "os", false},
		{"runnerd/actors", "github.com/asynkron/protoactor-go/actor", false},
		{"runnerd/actors/actorrt", "github.com/asynkron/protoactor-go/actor", true},
		{"runnerd/infra/gateway", "runnerd/infra/seal", true},
		{"runnerd/infra/gateway", "runnerd/infra/docker", false},
		{"runnerd/infra/gateway", "runnerd/actors", false},
		{"runnerd/infra/gateway", "github.com/docker/docker/client", false},
		{"runnerd/infra/docker", "github.com/docker/docker/client", true},
		{"runnerd/infra/release", "runnerd/infra/release/api", true},
		{"runnerd/cmd/runnerd", "runnerd/infra/docker", true},
		{"runnerd/elsewhere", "time", false},
	} {
		if why := violation(row.importer, row.imported); (why == "") != row.may {
			t.Errorf("%s imports %s: allowed = %v, want %v (%s)", row.importer, row.imported, why == "", row.may, why)
		}
	}
}

// listImports returns the imports of every package of the program, without its tests.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", program+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	packages := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		packages[p.ImportPath] = p.Imports
	}
}
