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

// room is a part of the program and what it may import besides the standard library and what lies below it.
type room struct {
	path   string   // itself and all below it, except what has a room of its own
	may    []string // of the program, by path; of others, by module. "*": anything of others
	mayNot []string // of the standard library
}

// rooms: what decides knows nothing of the outside, adapters know nothing of one another. The most specific path counts.
var rooms = []room{
	{path: "messages"},
	{path: "spool", may: []string{"messages", "infra/litter", "spool", "golang.org/x/sys"}},
	{path: "actors", may: []string{"messages", "infra/driver", "actors/actorrt", "github.com/rs/zerolog"}, mayNot: []string{"net/http", "os"}},
	{path: "actors/actorrt", may: []string{"messages", "github.com/asynkron/protoactor-go", "github.com/rs/zerolog"}},
	{path: "infra/driver", may: []string{"messages", "infra/driver", "*"}},
	{path: "infra/litter"},
	{path: "infra/contract", may: []string{"messages", "k8s.io/api", "k8s.io/apimachinery"}},
	{path: "infra/seal", may: []string{"messages", "infra/contract"}},
	{path: "infra", may: []string{"messages", "infra/litter", "infra/driver", "infra/release/api", "infra/seal", "infra/contract", "*"}},
	{path: "cmd", may: []string{"messages", "spool", "actors", "infra", "*"}},
	{path: "tests", may: []string{"messages", "spool", "actors", "infra", "cmd", "*"}},
	{path: "tests/rig/provide", may: []string{"tests/rig"}},
}

// reserved modules have one importer, so that what would replace them is a change of one package; tests look from outside.
var reserved = map[string]string{
	"github.com/asynkron/protoactor-go":   "actors/actorrt",
	"github.com/docker/docker":            "infra/docker",
	"github.com/alecthomas/kong":          "cmd/runnerd",
	"software.sslmate.com/src/go-pkcs12":  "infra/release",
	"github.com/prometheus/client_golang": "infra/metrics",
}

const program = "runnerd"

// breach says why importer must not import imported; empty: it may.
func breach(importer, imported string) string {
	importer = strings.TrimPrefix(importer, program+"/")
	own, ours := strings.CutPrefix(imported, program+"/")
	r := roomOf(importer)
	if r == nil {
		return "has no rules: add a room to tests/imports_test.go"
	}
	if isStandard(imported) {
		if slices.Contains(r.mayNot, imported) {
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
	// Siblings under infra share no room: a package may import what lies below itself.
	allowed := within(imported, importer) || (!ours && slices.Contains(r.may, "*")) ||
		slices.ContainsFunc(r.may, func(may string) bool { return within(imported, may) })
	if allowed {
		return ""
	}
	return "must not import " + imported
}

func roomOf(path string) *room {
	var found *room
	for i, r := range rooms {
		if within(path, r.path) && (found == nil || len(r.path) > len(found.path)) {
			found = &rooms[i]
		}
	}
	return found
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// isStandard goes by the rule that a module's first element has a dot in it, and that ours begin with the program's name.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != program
}

func TestEveryPackageImportsOnlyWhatItsPlaceAllows(t *testing.T) {
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("only %d packages found: the list is not of this program", len(packages))
	}
	for importer, imports := range packages {
		for _, imported := range imports {
			if why := breach(importer, imported); why != "" {
				t.Errorf("%s %s", importer, why)
			}
		}
	}
}

func TestTheRulesTellApartWhatMayBeImportedAndWhatMayNot(t *testing.T) {
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
		if why := breach(row.importer, row.imported); (why == "") != row.may {
			t.Errorf("%s imports %s: allowed is %v, want %v (%s)", row.importer, row.imported, why == "", row.may, why)
		}
	}
}

// list returns what every package of the program imports, its tests left out.
func list(t *testing.T) map[string][]string {
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
