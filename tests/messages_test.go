package tests

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// administration is the page with the table of log messages.
const administration = "../docs/administration.md"

// Each message that the program logs at info or above stands in a row of the tables in the administrator's page, beside
// its level, and no row has a message that the program does not log.
func TestLogMessagesAreListed(t *testing.T) {
	logged := loggedMessages(t)
	if len(logged) < 100 {
		t.Errorf("only %d messages found: this test shows little", len(logged))
	}
	listed := map[string]bool{}
	for _, row := range messageRows(t) {
		var levels []string
		for _, text := range row.texts {
			if listed[text] {
				t.Errorf("%s has two rows for %q", administration, text)
			}
			listed[text] = true
			if logged[text] == nil {
				t.Errorf("%s: nothing logs %q", administration, text)
				continue
			}
			levels = append(levels, logged[text].levels...)
		}
		if got := sortedLevels(levels); len(levels) > 0 && !slices.Equal(got, sortedLevels(row.levels)) {
			t.Errorf("%s: %q: its row says %s, the program logs it as %s", administration, row.texts, strings.Join(row.levels, ", "), strings.Join(got, ", "))
		}
	}
	for text, line := range logged {
		if !listed[text] {
			t.Errorf("%s: %q (%s) has no row in %s", line.at, text, strings.Join(line.levels, ", "), administration)
		}
	}
}

// A messageRow is a row of the tables: its messages, and their levels.
type messageRow struct{ texts, levels []string }

// messageRows reads the tables of the page.
func messageRows(t *testing.T) []messageRow {
	t.Helper()
	page, err := os.ReadFile(administration)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Log messages\n")
	section, _, _ = strings.Cut(section, "\n## ")
	row, text := regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| ([a-z, ]+) \\|"), regexp.MustCompile("`([^`]+)`")
	var rows []messageRow
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		r := messageRow{levels: strings.Split(m[2], ", ")}
		for _, one := range text.FindAllStringSubmatch(m[1], -1) {
			r.texts = append(r.texts, one[1])
		}
		rows = append(rows, r)
	}
	return rows
}

// sortedLevels returns each level once.
func sortedLevels(levels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(levels)))
}

// A logLine is a fixed text that the program logs.
type logLine struct {
	at     token.Position // one of its places
	levels []string
}

// A logger is a function that logs one of its parameters.
type logger struct {
	text, level int // places of parameters; level is -1 where it is fixed
	fixed       slog.Level
}

// A source is a package with its syntax and types.
type source struct {
	fset  *token.FileSet
	files []*ast.File
	info  *types.Info
}

// loggedMessages returns the texts that the program gives to a slog.Logger at info or above, directly or through
// functions that pass a parameter on.
func loggedMessages(t *testing.T) map[string]*logLine {
	t.Helper()
	sources := programSources(t)
	loggers := map[string]logger{
		"(*log/slog.Logger).Info":  {0, -1, slog.LevelInfo},
		"(*log/slog.Logger).Warn":  {0, -1, slog.LevelWarn},
		"(*log/slog.Logger).Error": {0, -1, slog.LevelError},
		"(*log/slog.Logger).Log":   {2, 1, 0},
	}
	var logged map[string]*logLine
	for known := 0; known != len(loggers); { // the last pass knows all loggers
		known, logged = len(loggers), map[string]*logLine{}
		for _, s := range sources {
			for _, f := range s.files {
				for _, d := range f.Decls {
					if fn, is := d.(*ast.FuncDecl); is && fn.Body != nil {
						s.calls(fn, loggers, logged)
					}
				}
			}
		}
	}
	if line := logged[""]; line != nil {
		t.Errorf("%s: the message is no fixed text", line.at)
	}
	delete(logged, "")
	return logged
}

// calls notes the messages of a function, and the function itself where it logs a parameter. A message that is no fixed
// text is noted as "".
func (s *source) calls(fn *ast.FuncDecl, loggers map[string]logger, logged map[string]*logLine) {
	self := s.info.Defs[fn.Name].(*types.Func)
	place := func(e ast.Expr) int { // of the parameter that the expression is, or -1
		id, is := ast.Unparen(e).(*ast.Ident)
		if !is {
			return -1
		}
		params := self.Signature().Params()
		for i := range params.Len() {
			if s.info.Uses[id] == params.At(i) {
				return i
			}
		}
		return -1
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is {
			return true
		}
		callee := s.callee(call)
		if callee == nil {
			return true
		}
		l, is := loggers[callee.Origin().FullName()]
		if !is || len(call.Args) <= max(l.text, l.level) {
			return true
		}
		at := s.fset.Position(call.Pos())
		passed := logger{place(call.Args[l.text]), -1, l.fixed}
		var levels []slog.Level
		if l.level < 0 {
			levels = []slog.Level{l.fixed}
		} else if passed.level = place(call.Args[l.level]); passed.level < 0 {
			for _, v := range s.values(fn, call.Args[l.level]) {
				n, _ := constant.Int64Val(v)
				levels = append(levels, slog.Level(n))
			}
			passed.fixed = slices.Max(append(levels, slog.LevelDebug))
		}
		if passed.text >= 0 {
			if _, known := loggers[self.FullName()]; !known {
				loggers[self.FullName()] = passed
			}
			return true
		}
		texts := s.values(fn, call.Args[l.text])
		if len(texts) == 0 {
			texts = []constant.Value{constant.MakeString("")}
		}
		for _, v := range texts {
			text := constant.StringVal(v)
			for _, level := range levels {
				if level < slog.LevelInfo {
					continue
				}
				if logged[text] == nil {
					logged[text] = &logLine{at: at}
				}
				logged[text].levels = append(logged[text].levels, strings.ToLower(level.String()))
			}
		}
		return true
	})
}

// callee returns the function or method that is called, or nil for a function value.
func (s *source) callee(call *ast.CallExpr) *types.Func {
	fun := ast.Unparen(call.Fun)
	switch f := fun.(type) {
	case *ast.IndexExpr:
		fun = f.X
	case *ast.IndexListExpr:
		fun = f.X
	}
	var id *ast.Ident
	switch f := fun.(type) {
	case *ast.Ident:
		id = f
	case *ast.SelectorExpr:
		id = f.Sel
	default:
		return nil
	}
	callee, _ := s.info.Uses[id].(*types.Func)
	return callee
}

// values returns the constants that an expression may be: itself, or those that are assigned to the variable that it is.
func (s *source) values(fn *ast.FuncDecl, e ast.Expr) []constant.Value {
	if v := s.info.Types[e].Value; v != nil {
		return []constant.Value{v}
	}
	id, is := ast.Unparen(e).(*ast.Ident)
	if !is {
		return nil
	}
	var all []constant.Value
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		var names []ast.Expr
		var given []ast.Expr
		switch n := n.(type) {
		case *ast.AssignStmt:
			names, given = n.Lhs, n.Rhs
		case *ast.ValueSpec:
			for _, name := range n.Names {
				names = append(names, name)
			}
			given = n.Values
		}
		if len(names) != len(given) {
			return true
		}
		for i, name := range names {
			left, is := name.(*ast.Ident)
			if !is || s.info.ObjectOf(left) != s.info.ObjectOf(id) {
				continue
			}
			if v := s.info.Types[given[i]].Value; v != nil {
				all = append(all, v)
			}
		}
		return true
	})
	return all
}

// programSources loads the packages of the program, without its tests.
func programSources(t *testing.T) []*source {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export", module+"cmd/tr87proxy").Output()
	if err != nil {
		t.Fatal(err)
	}
	type listedPackage struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	export := map[string]string{}
	var ours []listedPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listedPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		export[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, module) {
			ours = append(ours, p)
		}
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if export[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(export[path])
	})
	var all []*source
	for _, p := range ours {
		s := &source{fset: fset, info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{},
		}}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			s.files = append(s.files, f)
		}
		config := types.Config{Importer: imports}
		if _, err := config.Check(p.ImportPath, fset, s.files, s.info); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}
