package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryWarningIsExplained checks that docs/log.md explains each log line at warn and above.
func TestEveryWarningIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, dir := range []string{"actors", "spool", "infra", "cmd"} {
		for message, position := range warnings(t, filepath.Join("..", dir)) {
			found++
			if !strings.Contains(string(text), message) {
				t.Errorf("docs/log.md does not explain %q (%s)", message, position)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d warnings found: the search is wrong", found)
	}
}

// warnings returns the texts that the code below dir logs at warn or error, and their positions.
func warnings(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, files := map[string]string{}, token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if name := entry.Name(); name == "devserver" || name == "sampleplugin" || name == "testdata" || name == "compose" {
				return filepath.SkipDir // not the runner's log
			}
			return nil
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is {
				return true
			}
			ast.Inspect(warningText(call), func(n ast.Node) bool {
				if lit, is := n.(*ast.BasicLit); is {
					if message, err := strconv.Unquote(lit.Value); err == nil {
						all[strings.TrimSpace(message)] = files.Position(call.Pos()).String()
					}
				}
				return true
			})
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// warningText returns the text of a call that logs at warn or error, or an empty node for other calls.
func warningText(call *ast.CallExpr) ast.Node {
	f, is := call.Fun.(*ast.SelectorExpr)
	switch {
	case is && f.Sel.Name == "Msg" && len(call.Args) == 1 && selects(call.Fun, "Warn", "warn", "Error"):
		return call.Args[0]
	case is && f.Sel.Name == "log" && len(call.Args) >= 2 && selects(call.Args[0], "WarnLevel", "ErrorLevel"):
		return call.Args[1]
	}
	return &ast.EmptyStmt{}
}

// selects reports whether an expression contains a selector with one of these names.
func selects(in ast.Node, names ...string) (found bool) {
	ast.Inspect(in, func(n ast.Node) bool {
		if f, is := n.(*ast.SelectorExpr); is && slices.Contains(names, f.Sel.Name) {
			found = true
		}
		return true
	})
	return found
}
