package gateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// These tests hold the shape of the program (ARCHITECTURE.md): who may import
// whom, which package is the one door to a library, and how long things are.

const module = "nominald/"

// layers lists for each package prefix what of ours it may import. The longest
// prefix counts. Tests may import more.
var layers = []struct {
	prefix string
	may    []string
}{
	{"cmd/", []string{"gateway", "dispatch", "drivers"}},
	{"gateway", []string{"gateway", "dispatch", "drivers"}},
	{"gateway/config", []string{"drivers", "dispatch"}},
	{"gateway/store", []string{"dispatch"}},
	{"gateway/loadlog", nil},
	{"gateway/intervals", []string{"dispatch"}},
	{"gateway/journal", nil},
	{"gateway/clock", nil},
	{"gateway/notify", nil},
	{"gateway/status", []string{"dispatch", "drivers"}},
	{"gateway/web", nil},
	{"gateway/scan", []string{"drivers"}},
	{"gateway/commission", []string{"drivers", "gateway/config"}},
	{"gateway/sim", []string{"gateway/sim", "gateway/config", "drivers"}},
	{"dispatch", nil},
	{"dispatch/leap", []string{"dispatch"}},
	{"dispatch/baseline", []string{"drivers"}},
	{"dispatch/plan", []string{"dispatch", "drivers"}},
	{"drivers", nil},
	{"drivers/bus", []string{"drivers"}},
	{"drivers/modbus", []string{"drivers"}},
	{"drivers/sunspec", []string{"drivers"}},
	{"drivers/profile", []string{"drivers"}},
	{"drivers/gpio", []string{"drivers"}},
	{"drivers/drivertest", []string{"drivers"}},
}

// doors maps a library to the one package that may import it, tests included.
var doors = map[string]string{
	"github.com/goburrow/modbus":       "drivers/modbus",
	"github.com/goburrow/serial":       "drivers/modbus",
	"periph.io/x/conn/v3":              "drivers/gpio",
	"periph.io/x/host/v3":              "drivers/gpio",
	"github.com/coreos/go-systemd/v22": "gateway/notify",
	"go.etcd.io/bbolt":                 "gateway/store",
}

// source is one parsed Go file of the tree.
type source struct {
	dir, path string // relative to the module
	test      bool
	file      *ast.File
	fset      *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	root := ".."
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "build" || d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out = append(out, source{filepath.Dir(rel), rel, strings.HasSuffix(rel, "_test.go"), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("found %d Go files only: the walk is wrong", len(out))
	}
	return out
}

func TestImportsGoOneWay(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.file.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			for library, door := range doors {
				if strings.HasPrefix(path, library) && s.dir != door {
					t.Errorf("%s imports %s; only %s may", s.path, path, door)
				}
			}
			ours, ok := strings.CutPrefix(path, module)
			if ok && !s.test && !allowed(s.dir, ours) {
				t.Errorf("%s imports %s, against the direction of ARCHITECTURE.md", s.path, path)
			}
		}
	}
}

func allowed(dir, imported string) bool {
	best := -1
	for i, l := range layers {
		if (dir == l.prefix || strings.HasPrefix(dir, strings.TrimSuffix(l.prefix, "/")+"/")) && (best < 0 || len(l.prefix) > len(layers[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	for _, may := range layers[best].may {
		if imported == may || strings.HasPrefix(imported, may+"/") {
			return true
		}
	}
	// A package may be cut into rooms of its own.
	return strings.HasPrefix(imported, layers[best].prefix+"/")
}

func TestNothingIsTooLongToRead(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.fset.File(s.file.Pos()).LineCount(); n > 500 {
			t.Errorf("%s has %d lines, the most is 500", s.path, n)
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				lines := linesOf(s, d)
				if s.test {
					lines -= tableLines(s, d)
				}
				if lines > 60 {
					t.Errorf("%s: %s has %d lines, the most is 60", s.path, d.Name.Name, lines)
				}
				if d.Name.Name == "init" && d.Recv == nil {
					t.Errorf("%s has an init function; wiring is explicit", s.path)
				}
			case *ast.GenDecl:
				checkInterfaces(t, s, d)
			}
		}
	}
}

func linesOf(s source, n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// tableLines is the length of the longest literal in a test: a table of cases
// is data, not code to be followed.
func tableLines(s source, d *ast.FuncDecl) int {
	longest := 0
	ast.Inspect(d, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			longest = max(longest, linesOf(s, lit))
		}
		return true
	})
	return longest
}

func checkInterfaces(t *testing.T, s source, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		ts, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if it, ok := ts.Type.(*ast.InterfaceType); ok && it.Methods.NumFields() > 4 {
			t.Errorf("%s: interface %s has %d methods, the most is 4", s.path, ts.Name.Name, it.Methods.NumFields())
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func TestTopLevelIsTheOwners(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	owner := " cmd gateway drivers dispatch packaging systemd build go.mod go.sum Makefile README.md LICENSE ARCHITECTURE.md "
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !strings.Contains(owner, " "+e.Name()+" ") {
			t.Errorf("%s is at the top level, where the owner does not want it", e.Name())
		}
	}
}
