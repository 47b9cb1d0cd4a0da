package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bannedNames are words that no identifier contains, with the word to use instead.
var bannedNames = map[string]string{
	"door":      "endpoint or session",
	"litter":    "rmtree",
	"bury":      "reap",
	"buried":    "reaped",
	"burial":    "reap",
	"revive":    "restart",
	"respawn":   "restart",
	"shelf":     "quarantine or rejected",
	"shelves":   "quarantine or rejected",
	"shelving":  "quarantine",
	"logbook":   "logAttributor",
	"chapter":   "jobLog",
	"heed":      "observe",
	"knock":     "probe",
	"errand":    "report, delivery or workload",
	"patience":  "timeout or grace",
	"vault":     "keyring",
	"census":    "usage",
	"farewell":  "shutdown",
	"condemned": "deletionPending",
	"keeper":    "store",
	"planted":   "actorTree",
	"saboteur":  "fault injector",
	"siege":     "crash loop",
	"hydrant":   "log flood",
	"oracle":    "checker",
	"mood":      "conditions",
	"workshop":  "harness",
	"parcel":    "envelope",
	"seat":      "adapter",
	"obey":      "apply",
	"mend":      "fix",
	"fares":     "status",
	"upkeep":    "policy",
	"besides":   "also",
}

// bannedPhrases are not used in documents, comments and texts, with what to write instead.
var bannedPhrases = map[string]string{
	"away for good":           "permanently",
	"besides":                 "also, in addition",
	"cannot be had":           "is not available",
	"fares":                   "the status, the state",
	"for as long as it takes": "until it succeeds",
	"for want of":             "because … is missing, out of",
	"had back":                "recovered, reopened",
	"how the manieth":         "the number, from 1",
	"is no more":              "has ended, was deleted",
	"knocks":                  "probes, connects",
	"lest":                    "so that … not",
	"mend":                    "fix, repair",
	"nobody needs":            "orphaned, unused",
	"not to be had":           "not available",
	"obey":                    "apply, follow",
	"the control channel":     "the event stream",
	"the one who":             "the caller, the reader",
	"thereof":                 "its",
	"what is owed":            "what must still be sent",
	"whoever":                 "the caller, the client, anyone who",
}

// excluded reports whether a file is not checked: it is generated, it is test data, or it is this file, which lists the words.
func excluded(path string) bool {
	return strings.HasSuffix(path, ".gen.go") || strings.HasSuffix(path, "words_test.go") || strings.Contains(path, "testdata")
}

// TestNoBannedWord keeps names and prose in the field's terms (CONTRIBUTING.md).
func TestNoBannedWord(t *testing.T) {
	files := token.NewFileSet()
	walk(t, func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			lower := strings.ToLower(line)
			for phrase, instead := range bannedPhrases {
				if at := strings.Index(lower, phrase); at >= 0 && isWord(lower, at, len(phrase)) {
					t.Errorf("%s:%d: instead of %q write: %s", path, i+1, phrase, instead)
				}
			}
		}
		if !strings.HasSuffix(path, ".go") {
			return
		}
		file, err := parser.ParseFile(files, path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, is := n.(*ast.Ident); is {
				for _, word := range wordsOf(id.Name) {
					if instead := bannedNames[word]; instead != "" {
						t.Errorf("%s: %s: instead of %q use: %s", files.Position(id.Pos()), id.Name, word, instead)
					}
				}
			}
			return true
		})
	})
}

// TestNamesHaveFewWords limits the name of a test to eight words, because a comment has room for more.
func TestNamesHaveFewWords(t *testing.T) {
	files := token.NewFileSet()
	walk(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, is := d.(*ast.FuncDecl)
			if is && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && len(wordsOf(f.Name.Name)) > 9 {
				t.Errorf("%s: %s has %d words", files.Position(f.Pos()), f.Name.Name, len(wordsOf(f.Name.Name))-1)
			}
		}
	})
}

var camel = regexp.MustCompile(`([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])`)

// wordsOf splits an identifier into its words, in lower case.
func wordsOf(name string) []string {
	spaced := camel.ReplaceAllString(name, "$1$3 $2$4")
	return strings.FieldsFunc(strings.ToLower(spaced), func(r rune) bool { return r == ' ' || r == '_' })
}

// isWord reports whether the size bytes of text from index at on are not part of a longer word.
func isWord(text string, at, size int) bool {
	letter := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= 'a' && text[i] <= 'z' }
	return !letter(at-1) && !letter(at+size)
}

// walk visits the Go files and documents of the repository.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "build", "testdata"}, entry.Name()):
			return filepath.SkipDir
		case entry.Type().IsRegular() && !excluded(path) && (strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".md")):
			visit(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
