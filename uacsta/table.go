//go:build ignore

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
)

// section is a group of messages, types or enumerations: one Go file.
type section struct {
	name, title string
	entries     []*entry
}

// entry is a message, a type or an enumeration.
type entry struct {
	name, doc, prefix string
	edition6          bool
	form              string // "", "one of" or "set of"
	children          []child
	values            []string // of an enumeration
	others            bool     // it has other values, too
	classes           []string // of a request
	direction         string   // of a request: "", "from-switch" or "both-ways"
	mandatory         bool     // every link must serve the request
	capability        string   // its name in the capability lists, if it does not follow from its own
}

// child is one child element.
type child struct {
	name, typ, item  string
	required, repeat bool
	only             string // "ed6", "ed3" or ""
	alias            string // its name in edition 3
	role             string // of the devices in it: "", "destination" or "mentioned"
	refusal          string // the error value if policy refuses them; "" for the usual one
}

// goTypes are the types that are not structs of the table.
var goTypes = map[string]string{
	"str": "string", "hex": "string", "int": "int", "bool": "bool", "float": "float64",
	"Dev": "DeviceID", "Conn": "ConnectionID", "Ext": "ExtendedDeviceID", "Redir": "RedirectionDeviceID", "End": "ConnectionListEnd",
	"State": "LocalConnectionState", "Cause": "EventCause", "Data": "Data", "Failure": "Error", "Capabilities": "Capabilities",
	"MonitorObject": "MonitorObject", "Destinations": "[]DeviceID", "Empty": "Empty", "Raw": "Raw",
}

// tables are what messages.txt says.
type tables struct {
	sections []*section
	entries  map[string]*entry // by name
}

// read reads the file of the tables.
func read(path string) (tables, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tables{}, err
	}
	sections, err := parse(data)
	if err != nil {
		return tables{}, fmt.Errorf("%s: %w", path, err)
	}
	t := tables{sections, map[string]*entry{}}
	for _, s := range sections {
		for _, e := range s.entries {
			t.entries[e.name] = e
		}
	}
	return t, nil
}

func parse(data []byte) ([]*section, error) {
	var sections []*section
	var current *entry
	var body strings.Builder
	finish := func() error {
		if current == nil {
			return nil
		}
		err := current.parseBody(strings.TrimSpace(body.String()), sections[len(sections)-1].name == "enumerations")
		if err != nil {
			return fmt.Errorf("%s: %w", current.name, err)
		}
		current = nil
		body.Reset()
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#") || line == "":
		case strings.HasPrefix(line, " "):
			body.WriteString(line)
		case strings.HasPrefix(line, "["):
			if err := finish(); err != nil {
				return nil, err
			}
			name, title, _ := strings.Cut(line[1:], "] ")
			sections = append(sections, &section{name: name, title: title})
		default:
			if err := finish(); err != nil {
				return nil, err
			}
			var err error
			if current, err = newEntry(line); err != nil {
				return nil, err
			}
			last := sections[len(sections)-1]
			last.entries = append(last.entries, current)
		}
	}
	return sections, finish()
}

// newEntry parses "Name {classes} [prefix] mandatory as capability: doc", of which only the name is
// required.
func newEntry(line string) (*entry, error) {
	e := &entry{}
	head, doc, _ := strings.Cut(line, ": ")
	e.doc = doc
	e.name, head, _ = strings.Cut(head, " ")
	e.name, e.edition6 = strings.CutPrefix(e.name, "+")
	if inside, rest, found := bracketed(head, "{", "}"); found {
		e.classes, head = split(inside, ","), rest
		if last := len(e.classes) - 1; last > 0 && (e.classes[last] == "from-switch" || e.classes[last] == "both-ways") {
			e.classes, e.direction = e.classes[:last], e.classes[last]
		}
	}
	if inside, rest, found := bracketed(head, "[", "]"); found {
		e.prefix, head = inside, rest
	}
	words := strings.Fields(head)
	if len(words) > 0 && words[0] == "mandatory" {
		e.mandatory, words = true, words[1:]
	}
	if len(words) == 2 && words[0] == "as" {
		e.capability, words = words[1], nil
	}
	if len(words) > 0 {
		return nil, fmt.Errorf("%s: malformed: %q", e.name, line)
	}
	return e, nil
}

// bracketed splits a text after the brackets that it starts with.
func bracketed(text, opening, closing string) (inside, rest string, found bool) {
	if text, found = strings.CutPrefix(text, opening); found {
		inside, rest, found = strings.Cut(text, closing)
	}
	return inside, strings.TrimSpace(rest), found
}

// classes are the classes of requests in the table.
var classes = []string{"observe", "calls", "new-calls", "forwarding", "agents", "routeing", "data"}

// roles are the roles of devices in a request, with their constants.
var roles = map[string]string{"": "Subject", "destination": "Destination", "mentioned": "Mentioned"}

// identifies reports whether elements of a type contain device identifiers.
func identifies(typ string, all map[string]*entry) bool {
	if slices.Contains([]string{"Dev", "Conn", "Ext", "Redir", "End", "MonitorObject", "Destinations"}, typ) {
		return true
	}
	e := all[typ]
	return e != nil && slices.ContainsFunc(e.children, func(c child) bool { return identifies(c.typ, all) })
}

func (e *entry) parseBody(body string, enumeration bool) error {
	if enumeration {
		e.values = split(body, "|")
		if last := len(e.values) - 1; last >= 0 && e.values[last] == "..." {
			e.values, e.others = e.values[:last], true
		}
		return nil
	}
	separator := ","
	for _, form := range []string{"one of", "set of"} {
		if rest, ok := strings.CutPrefix(body, form+" "); ok {
			e.form, body = form, rest
			if form == "one of" {
				separator = "|"
			}
		}
	}
	for _, word := range split(body, separator) {
		c, err := newChild(word)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(e.children, func(d child) bool { return export(d.name) == export(c.name) }); i >= 0 {
			// One child under two names: the later edition's stands for both.
			old := e.children[i]
			if old.only == "ed6" {
				old, c = c, old
			}
			c.alias, c.only = old.name, ""
			e.children = slices.Delete(e.children, i, i+1)
		}
		e.children = append(e.children, c)
	}
	return nil
}

// plainValues returns the values of an enumeration without the marks of editions.
func (e *entry) plainValues() []string {
	plain := make([]string, len(e.values))
	for i, value := range e.values {
		plain[i] = strings.TrimPrefix(value, "+")
	}
	return plain
}

// constants returns the values of the constants of a type in a Go file.
func constants(file, typ string) ([]string, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	var values []string
	ast.Inspect(tree, func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok && len(c.Values) == 1 {
			name, typed := c.Type.(*ast.Ident)
			if value, literal := c.Values[0].(*ast.BasicLit); literal && typed && name.Name == typ {
				values = append(values, strings.Trim(value.Value, `"`))
			}
		}
		return true
	})
	return values, nil
}

func split(s, separator string) []string {
	var words []string
	for word := range strings.SplitSeq(s, separator) {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

func newChild(word string) (child, error) {
	c := child{}
	if before, refusal, found := strings.Cut(word, " ("); found {
		word, c.refusal = before, strings.TrimSuffix(refusal, ")")
	}
	for role := range roles {
		if before, found := strings.CutSuffix(word, " "+role); found && role != "" {
			word, c.role = before, role
		}
	}
	switch word[0] {
	case '+':
		c.only, word = "ed6", word[1:]
	case '-':
		c.only, word = "ed3", word[1:]
	}
	word, c.required = strings.CutSuffix(word, "!")
	word, c.repeat = strings.CutSuffix(word, "*")
	if name, rest, found := strings.Cut(word, "["); found {
		c.name = name
		c.item, c.typ, found = strings.Cut(strings.TrimSuffix(rest, "]"), ":")
		if !found || c.item == "" {
			return c, fmt.Errorf("malformed list %q", word)
		}
		return c, nil
	}
	var typed bool
	c.name, c.typ, typed = strings.Cut(word, ":")
	switch {
	case strings.ContainsAny(c.name, " \t"):
		return c, fmt.Errorf("malformed child %q", word)
	case !typed:
		c.typ = "bool"
	case c.typ == "":
		c.typ = strings.ToUpper(c.name[:1]) + c.name[1:]
	}
	return c, nil
}

func export(name string) string {
	if name == "originatinNIDConnection" { // misspelled in one event only
		name = "originatingNIDConnection"
	}
	return strings.ToUpper(name[:1]) + name[1:]
}
