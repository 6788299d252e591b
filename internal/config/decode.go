package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// document is a YAML file that is being checked: the line of each key, and the faults found
// so far.
type document struct {
	file   string
	kinds  Kinds
	lines  map[string]int        // by path of keys
	links  map[string]*linkEntry // by path of keys
	opened map[string]string     // keys of listeners, by protocol and address
	faults Faults
}

const maxFile = 1 << 20

var yamlLine = regexp.MustCompile(`line (\d+)`)

// decode fills c from data. Unlike the library's decoder it continues after a fault, and
// knows the path of keys to it.
func decode(file string, data []byte, c *Config, kinds Kinds) *document {
	return decodeInto(file, data, reflect.ValueOf(c).Elem(), kinds)
}

func decodeInto(file string, data []byte, into reflect.Value, kinds Kinds) *document {
	d := &document{file: file, kinds: kinds, lines: map[string]int{}, opened: map[string]string{}, links: map[string]*linkEntry{}}
	var root yaml.Node
	err := errors.New("the file is larger than 1 MiB")
	if len(data) <= maxFile {
		err = yaml.Unmarshal(data, &root)
	}
	if err != nil {
		line := 1
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if strings.HasPrefix(text, "unknown anchor") { // whose name may be a password
			text = "a value that begins with * must be in quotes"
		}
		d.faults = append(d.faults, Fault{file, line, "(file)", text})
		return d
	}
	if len(root.Content) > 0 {
		d.value(root.Content[0], into, "")
	}
	return d
}

// at returns a fault at a key. Its line is that of the key, or, if the file does not have the key, of the nearest key
// above it.
func (d *document) at(key, text string) Fault {
	line := 1
	for path := key; path != ""; path = parent(path) {
		if l, ok := d.lines[path]; ok {
			line = l
			break
		}
	}
	return Fault{d.file, line, key, text}
}

func (d *document) fault(key, text string) {
	d.faults = append(d.faults, d.at(key, text))
	slices.SortStableFunc(d.faults, func(a, b Fault) int { return a.Line - b.Line })
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)]
}

func (d *document) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		d.fault(key, fmt.Sprintf("is %q; write one of: %s", value, strings.Join(allowed, ", ")))
	}
}

func (d *document) value(n *yaml.Node, v reflect.Value, path string) {
	d.lines[path] = n.Line
	if n.Kind == yaml.AliasNode {
		d.fault(path, "aliases are not supported; write the value out")
		return
	}
	if n.Tag == "!!null" {
		return
	}
	if target, ok := v.Addr().Interface().(*time.Duration); ok {
		parsed, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.fault(path, "must be a time such as 90s, 30m or 500ms")
			return
		}
		*target = parsed
		return
	}
	switch target := v.Addr().Interface().(type) {
	case interface{ short(value string) }:
		if n.Kind == yaml.ScalarNode {
			target.short(n.Value)
			return
		}
	case *Link:
		d.link(n, target, path)
		return
	case *Sessions:
		d.sessions(n, target, path)
		return
	case *Config:
		into := fieldsOf(v)
		for _, f := range target.Fronts {
			into.add(f.Name, reflect.ValueOf(f.Settings).Elem())
		}
		d.mapping(n, path, into)
		return
	}
	switch v.Kind() {
	case reflect.Pointer: // an optional part
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.mapping(n, path, fieldsOf(v))
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fault(path, "must be a list: one entry on each line with - before it, or [in, brackets]")
			return
		}
		list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			d.value(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(list)
	case reflect.Map: // of names that people choose, each with a text
		d.names(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// names fills a map of texts.
func (d *document) names(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fault(path, "must be keys with values: one on each line, or {in: braces}")
		return
	}
	all := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i], path+"."+n.Content[i].Value
		name, value := reflect.ValueOf(key.Value), reflect.New(v.Type().Elem()).Elem()
		if key.Kind != yaml.ScalarNode || all.MapIndex(name).IsValid() {
			d.fault(at, "must be there once only, and be text")
			continue
		}
		d.value(n.Content[i+1], value, at)
		all.SetMapIndex(name, value)
	}
	v.Set(all)
}

// fields maps keys to the struct fields for their values.
type fields struct {
	known []string // the keys, in the order of the fields
	at    map[string]reflect.Value
}

func (f *fields) add(key string, v reflect.Value) {
	f.known = append(f.known, key)
	f.at[key] = v
}

// fieldsOf returns the fields of structs whose keys are in one mapping.
func fieldsOf(structs ...reflect.Value) *fields {
	f := &fields{at: map[string]reflect.Value{}}
	for _, v := range structs {
		for _, k := range keysOf(v.Type()) {
			f.add(k.name, v.FieldByIndex(k.field.Index))
		}
	}
	return f
}

func (d *document) mapping(n *yaml.Node, path string, into *fields) {
	if n.Kind != yaml.MappingNode {
		d.fault(path, "must have keys below it; write for example key: value on the next line, indented")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, item := n.Content[i], n.Content[i+1]
		full := strings.TrimPrefix(path+"."+key.Value, ".")
		if seen[key.Value] {
			d.faults = append(d.faults, Fault{d.file, key.Line, full, "is there twice; write it once"})
			continue
		}
		seen[key.Value] = true
		field, ok := into.at[key.Value]
		switch {
		case ok:
			d.value(item, field, full)
			d.lines[full] = key.Line
		case d.foreign(full):
			d.lines[full] = key.Line
		default:
			d.lines[full] = key.Line
			d.fault(full, unknownKey(key.Value, into.known))
		}
	}
}

// key is a key of a struct.
type key struct {
	name  string
	field reflect.StructField // Index is relative to the struct
}

// keysOf returns the keys of a struct and of the structs embedded in it, in the order of the fields.
func keysOf(t reflect.Type) (keys []key) {
	for field := range t.Fields() {
		name := field.Tag.Get("yaml")
		if field.Anonymous && name == "" {
			for _, k := range keysOf(field.Type) {
				k.field.Index = append(slices.Clone(field.Index), k.field.Index...)
				keys = append(keys, k)
			}
		} else if name != "" && name != "-" {
			keys = append(keys, key{name, field})
		}
	}
	return keys
}

func unknownKey(key string, known []string) string {
	best, distance := "", len(key)/2+1
	for _, k := range known {
		if n := editDistance(key, k); n < distance {
			best, distance = k, n
		}
	}
	if best != "" {
		return "unknown key; did you mean " + best + "?"
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}

// editDistance returns the number of bytes to change, insert or delete (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (d *document) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.fault(path, "must be a single value, not a list or keys")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		switch n.Value {
		case "true", "false":
			v.SetBool(n.Value == "true")
		default:
			d.fault(path, "must be true or false")
		}
	case reflect.Int:
		number, err := strconv.Atoi(n.Value)
		if err != nil {
			d.fault(path, "must be a whole number")
			return
		}
		v.SetInt(int64(number))
	}
}
