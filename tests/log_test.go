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

// TestEveryWarningIsExplained: docs/log.md tells what each line of the log at warn and above means.
func TestEveryWarningIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/log.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, dir := range []string{"actors", "spool", "infra", "cmd"} {
		for said, where := range warnings(t, filepath.Join("..", dir)) {
			found++
			if !strings.Contains(string(text), said) {
				t.Errorf("docs/log.md does not say what %q means (%s)", said, where)
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d warnings were found: the search is wrong", found)
	}
}

// warnings are the texts that the code below a directory logs at warn or error, and where.
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
			ast.Inspect(loudText(call), func(n ast.Node) bool {
				if lit, is := n.(*ast.BasicLit); is {
					if said, err := strconv.Unquote(lit.Value); err == nil {
						all[strings.TrimSpace(said)] = files.Position(call.Pos()).String()
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

// loudText is the text of a call that logs at warn or error; else it is empty.
func loudText(call *ast.CallExpr) ast.Node {
	f, is := call.Fun.(*ast.SelectorExpr)
	switch {
	case is && f.Sel.Name == "Msg" && len(call.Args) == 1 && names(call.Fun, "Warn", "warn", "Error"):
		return call.Args[0]
	case is && f.Sel.Name == "log" && len(call.Args) >= 2 && names(call.Args[0], "WarnLevel", "ErrorLevel"):
		return call.Args[1]
	}
	return &ast.EmptyStmt{}
}

// names reports whether one of the names is selected anywhere in an expression.
func names(in ast.Node, any ...string) (found bool) {
	ast.Inspect(in, func(n ast.Node) bool {
		if f, is := n.(*ast.SelectorExpr); is && slices.Contains(any, f.Sel.Name) {
			found = true
		}
		return true
	})
	return found
}
