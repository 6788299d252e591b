package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// change is one small change of one file. Most changes can be built together into one test binary, in
// which the environment selects one (guarded); the others need a test binary of their own.
type change struct {
	id           int    // from 1
	file         string // its name, without folder
	line, column int
	what         string // description
	alone        edit   // the change by itself
	guarded      bool
	guards       []edit // the change behind a guard; can be part of another change
}

func (c change) String() string { return fmt.Sprintf("%s:%d: %s", c.file, c.line, c.what) }

// edit inserts text before and after a piece of a file, or replaces the piece.
type edit struct {
	from, to      int
	before, after string
	instead       bool
}

// edited returns a file with edits, which can be nested. Of two edits of the same piece, the first is
// the outer one.
func edited(content []byte, edits []edit) []byte {
	type insertion struct {
		at, order int
		text      string
		skip      int
	}
	var list []insertion
	inner := slices.Clone(edits)
	slices.SortStableFunc(inner, func(a, b edit) int { return (b.to - b.from) - (a.to - a.from) }) // the largest first
	for i, e := range inner {
		if e.instead {
			list = append(list, insertion{e.from, i + 1, e.before, e.to - e.from})
			continue
		}
		list = append(list, insertion{e.from, i + 1, e.before, 0})
		if e.after != "" {
			list = append(list, insertion{e.to, -i - 1, e.after, 0})
		}
	}
	slices.SortFunc(list, func(a, b insertion) int {
		if a.at != b.at {
			return a.at - b.at
		}
		return a.order - b.order // first ends, the innermost first, then begins
	})
	var out []byte
	at := 0
	for _, i := range list {
		out = append(append(out, content[at:i.at]...), i.text...)
		at = i.at + i.skip
	}
	return append(out, content[at:]...)
}

// source is a file in which changes are searched.
type source struct {
	name    string
	content []byte
	places  *token.FileSet
	types   map[ast.Expr]types.TypeAndValue
	names   map[string]string // names of imported packages, by path
	listed  map[ast.Stmt]bool // statements in a list of statements
	before  int               // number of changes in earlier files
	list    []change
}

// changesOf returns every change of a package with these files. imports finds the packages that it
// imports.
func changesOf(dir string, files map[string][]byte, imports types.Importer) ([]change, error) {
	places := token.NewFileSet()
	names := slices.Sorted(maps.Keys(files))
	var trees []*ast.File
	for _, name := range names {
		tree, err := parser.ParseFile(places, filepath.Join(dir, name), files[name], parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	cfg := types.Config{Importer: imports, Error: func(error) {}} // the compiler reports errors later
	_, _ = cfg.Check("", places, trees, info)
	var list []change
	for i, tree := range trees {
		f := &source{name: names[i], content: files[names[i]], places: places, types: info.Types, names: map[string]string{}, listed: map[ast.Stmt]bool{}, before: len(list)}
		for _, spec := range tree.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			f.names[path] = ""
			if spec.Name != nil {
				f.names[path] = spec.Name.Name
			}
		}
		ast.Walk(changer{source: f}, tree)
		list = append(list, f.list...)
	}
	return slices.DeleteFunc(list, func(c change) bool {
		if c.guarded {
			return false
		}
		_, err := parser.ParseFile(token.NewFileSet(), c.file, edited(files[c.file], []edit{c.alone}), parser.SkipObjectResolution)
		return err != nil // a required statement was removed
	}), nil
}

func (f *source) at(p token.Pos) int { return f.places.Position(p).Offset }

func (f *source) text(n ast.Node) string { return string(f.content[f.at(n.Pos()):f.at(n.End())]) }

// id returns the number of the next change.
func (f *source) id() int { return f.before + len(f.list) + 1 }

// note adds a change that replaces a piece by a text.
func (f *source) note(from, to token.Pos, text, what string, guarded bool, guards ...edit) {
	place := f.places.Position(from)
	f.list = append(f.list, change{
		id: f.id(), file: f.name, line: place.Line, column: place.Column, what: what, guarded: guarded, guards: guards,
		alone: edit{from: place.Offset, to: f.at(to), before: text, instead: true},
	})
}

// call returns the edit that makes a node the last argument of a function call.
func (f *source) call(n ast.Node, function string, args ...any) edit {
	before := function + "("
	for _, arg := range args {
		before += fmt.Sprint(arg) + ", "
	}
	return edit{from: f.at(n.Pos()), to: f.at(n.End()), before: before, after: ")"}
}

// brief returns a node as text on one line.
func (f *source) brief(n ast.Node) string {
	s := strings.Join(strings.Fields(f.text(n)), " ")
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:57], "") + "..."
	}
	return s
}

// changer adds the changes of the nodes that it visits.
type changer struct {
	*source
	results  *ast.FieldList // results of the enclosing function
	constant bool           // whether it is inside a declaration of constants
}

// Visit implements ast.Visitor.
func (m changer) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.FuncDecl:
		return m.function(n.Type, n.Body)
	case *ast.FuncLit:
		return m.function(n.Type, n.Body)
	case *ast.ImportSpec, *ast.StructType, *ast.ArrayType:
		return nil
	case *ast.GenDecl:
		m.constant = n.Tok == token.CONST
	case *ast.BlockStmt:
		m.statements(n.List)
	case *ast.CaseClause:
		m.statements(n.Body)
	case *ast.CommClause:
		m.statements(n.Body)
	case *ast.IfStmt:
		m.negate(n.Cond)
	case *ast.ForStmt:
		if n.Cond != nil {
			m.negate(n.Cond)
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			m.cases(n.Body)
		}
	case *ast.BinaryExpr:
		m.operator(n)
	case *ast.BasicLit:
		m.number(n)
	case *ast.Ident:
		if other, ok := map[string]string{"true": "false", "false": "true"}[n.Name]; ok {
			m.note(n.Pos(), n.End(), other, n.Name+" becomes "+other, !m.constant, m.call(n, "mutateNot", m.id()))
		}
	case *ast.ReturnStmt:
		m.values(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			m.turn(n.TokPos, n.Tok, n)
			m.drop(n)
		}
	case *ast.IncDecStmt:
		m.turn(n.TokPos, n.Tok, n)
		m.drop(n)
	case *ast.SendStmt, *ast.GoStmt, *ast.DeferStmt:
		m.drop(n.(ast.Stmt))
	case *ast.BranchStmt:
		if n.Tok != token.FALLTHROUGH { // it is always the last statement of a clause
			m.drop(n)
		}
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); !ok || m.text(call.Fun) != "panic" {
			m.drop(n)
		}
	}
	return m
}

func (m changer) statements(list []ast.Stmt) {
	for _, s := range list {
		m.listed[s] = true
	}
}

// function adds a change that makes a function return at once, and visits its body.
func (m changer) function(f *ast.FuncType, block *ast.BlockStmt) ast.Visitor {
	if block == nil || len(block.List) == 0 {
		return nil
	}
	if _, only := block.List[0].(*ast.ReturnStmt); !only { // values changes a mere return
		text := "return"
		if types, named := m.resultTypes(f.Results); !named && len(types) > 0 {
			text += " *new(" + strings.Join(types, "), *new(") + ")"
		}
		at := m.at(block.Lbrace + 1)
		guard := edit{from: at, to: at, before: fmt.Sprintf(" if mutateIs(%d) { %s }; ", m.id(), text)}
		m.note(block.Lbrace+1, block.Lbrace+1, " "+text+";", "the function returns at once", true, guard)
	}
	ast.Walk(changer{source: m.source, results: f.Results}, block)
	return nil
}

// resultTypes returns the types of results as text, and whether the results have names.
func (m changer) resultTypes(results *ast.FieldList) (types []string, named bool) {
	if results == nil {
		return nil, false
	}
	for _, field := range results.List {
		named = named || len(field.Names) > 0
		for range max(1, len(field.Names)) {
			types = append(types, m.text(field.Type))
		}
	}
	return types, named
}

// negate adds a change that negates a condition.
func (m changer) negate(condition ast.Expr) {
	if b, ok := condition.(*ast.BinaryExpr); ok && b.Op.Precedence() == token.EQL.Precedence() {
		return // operator negates it
	}
	m.note(condition.Pos(), condition.End(), "!("+m.text(condition)+")", m.brief(condition)+" is negated", true, m.call(condition, "mutateNot", m.id()))
}

func (m changer) cases(block *ast.BlockStmt) {
	for _, clause := range block.List {
		for _, condition := range clause.(*ast.CaseClause).List {
			m.negate(condition)
		}
	}
}

// others maps each operator to its replacement.
var others = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD_ASSIGN: {token.SUB_ASSIGN}, token.SUB_ASSIGN: {token.ADD_ASSIGN}, token.MUL_ASSIGN: {token.QUO_ASSIGN}, token.INC: {token.DEC}, token.DEC: {token.INC},
	token.AND: {token.OR}, token.OR: {token.AND}, token.SHL: {token.SHR}, token.SHR: {token.SHL},
}

// operator adds changes that replace an operator, or remove one side of && and ||.
func (m changer) operator(n *ast.BinaryExpr) {
	if n.Op == token.ADD && (m.isText(n.X) || m.isText(n.Y)) {
		return
	}
	id, end := m.id(), n.OpPos+token.Pos(len(n.Op.String()))
	comma := edit{from: m.at(n.OpPos), to: m.at(end), before: ",", instead: true}
	var guards []edit
	switch n.Op {
	case token.EQL, token.NEQ:
		guards = []edit{m.call(n, "mutateNot", id)}
	case token.LAND, token.LOR: // a || b is !(!a && !b)
		guards = []edit{m.call(n, "mutateNot", id), m.call(n.X, "mutateNot", id), m.call(n.Y, "mutateNot", id)}
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		guards = []edit{m.call(n, "mutateOrder", id, strconv.Quote(n.Op.String())), comma}
	case token.ADD, token.SUB, token.MUL, token.QUO:
		guards = []edit{m.call(n, "mutateSum", id, strconv.Quote(n.Op.String())), comma}
	}
	guarded := guards != nil && !m.isConstant(n)
	for i, other := range others[n.Op] {
		if i > 0 {
			guards = nil // the first change has them
		}
		m.note(n.OpPos, end, other.String(), m.brief(n)+": "+n.Op.String()+" becomes "+other.String(), guarded, guards...)
	}
	without := map[token.Token][2]string{token.LAND: {"true || ", "mutateTrue"}, token.LOR: {"false && ", "mutateFalse"}}[n.Op]
	if without[0] == "" {
		return
	}
	for _, side := range []ast.Expr{n.X, n.Y} {
		m.note(side.Pos(), side.End(), "("+without[0]+"("+m.text(side)+"))", m.brief(n)+": without "+m.brief(side), guarded, m.call(side, without[1], m.id()))
	}
}

// isConstant reports whether the compiler knows the value of an expression, or does not know the expression.
func (m changer) isConstant(e ast.Expr) bool {
	t, known := m.types[e]
	return m.constant || !known || t.Value != nil
}

func (m changer) isText(e ast.Expr) bool {
	if literal, ok := e.(*ast.BasicLit); ok {
		return literal.Kind == token.STRING
	}
	t := m.types[e].Type
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsString != 0
}

// number adds a change of a number.
func (m changer) number(n *ast.BasicLit) {
	var other string
	switch value, err := strconv.ParseInt(n.Value, 0, 64); {
	case n.Kind == token.FLOAT:
		other = "(1 + " + n.Value + ")"
	case n.Kind != token.INT || err != nil:
		return
	case value == 1:
		other = "0"
	default:
		other = strconv.FormatInt(value+1, 10)
	}
	kind := m.typeOf(n)
	m.note(n.Pos(), n.End(), other, n.Value+" becomes "+other, kind != "" && !m.constant, m.call(n, "mutateNumber["+kind+"]", m.id()))
}

// typeOf returns the type of a number as text, or "" if this file cannot name the type.
func (m changer) typeOf(n ast.Expr) string {
	t := m.types[n].Type
	if t == nil {
		return ""
	}
	writable := true
	text := types.TypeString(t, func(p *types.Package) string {
		name, imported := m.names[p.Path()]
		switch {
		case !imported: // or it is this one
			writable = writable && p.Path() == ""
			return ""
		case name == "":
			return p.Name()
		}
		return name
	})
	if basic, ok := t.Underlying().(*types.Basic); !ok || basic.Info()&types.IsUntyped != 0 || basic.Info()&types.IsNumeric == 0 || !writable {
		return ""
	}
	return text
}

// zero lists results that values leaves alone.
var zero = map[string]bool{"nil": true, "0": true, `""`: true, "false": true, "true": true}

// values adds changes that replace each returned value.
func (m changer) values(n *ast.ReturnStmt) {
	kinds, _ := m.resultTypes(m.results)
	if len(kinds) != len(n.Results) { // no values, or the values of one call
		return
	}
	for i, value := range n.Results {
		text := m.text(value)
		switch _, literal := value.(*ast.BasicLit); {
		case zero[text] || text == kinds[i]+"{}" || literal && kinds[i] != "string":
			continue
		case kinds[i] == "bool":
			m.note(value.Pos(), value.End(), "!("+text+")", "returns not "+m.brief(value), true, m.call(value, "mutateNot", m.id()))
		default:
			m.note(value.Pos(), value.End(), "*new("+kinds[i]+")", "returns the zero "+kinds[i]+" for "+m.brief(value), true, m.call(value, "mutateZero["+kinds[i]+"]", m.id()))
		}
	}
}

// turn adds a change that replaces the operator of a statement.
func (m changer) turn(at token.Pos, operator token.Token, of ast.Stmt) {
	if assign, ok := of.(*ast.AssignStmt); ok && m.isText(assign.Lhs[0]) {
		return
	}
	for _, other := range others[operator] {
		begin, end := m.at(at), m.at(at)+len(operator.String())
		raw := string(m.content[m.at(of.Pos()):begin]) + other.String() + string(m.content[end:m.at(of.End())])
		m.note(at, at+token.Pos(len(operator.String())), other.String(), m.brief(of)+": "+operator.String()+" becomes "+other.String(), m.listed[of], m.either(of, raw))
	}
}

// either returns the edit that replaces a statement by another one.
func (m changer) either(s ast.Stmt, raw string) edit {
	return edit{from: m.at(s.Pos()), to: m.at(s.End()), before: fmt.Sprintf("if mutateIs(%d) { %s } else { ", m.id(), raw), after: " }"}
}

// drop adds a change that skips a statement. The statement is still compiled, so that no variable is unused.
func (m changer) drop(s ast.Stmt) {
	m.note(s.Pos(), s.End(), "if false { "+m.text(s)+" }", m.brief(s)+" is left out", m.listed[s], m.either(s, ""))
}
