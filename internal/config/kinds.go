package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Kinds are the kinds of links and of fronts that a file can name. Package kind makes them, the daemon has the
// lists.
type Kinds struct {
	Links  []LinkKind // the first is that of an entry without type
	Fronts []FrontKind
}

// LinkKind is a kind of link, as far as its entry of links goes.
type LinkKind interface {
	// Name is the value of links[].type.
	Name() string
	// Settings returns a pointer to a new struct, with its defaults. Its yaml tags are the keys of an
	// entry besides those of [Link]; keys of structs that are embedded in it stand among its own.
	Settings() any
	// Check finds what is wrong with settings that Settings has returned and the file has filled. It may fill in
	// what follows from the rest.
	Check(settings any, s *Section)
	// Devices returns the devices of an entry that names none, and whether there can be such an entry.
	Devices(settings any) (devices []string, ok bool)
	// Lacks says why the kind does not have a key that others have; "" where there is nothing to say.
	Lacks(key string) string
}

// linkEntry is an entry of links while the file is checked.
type linkEntry struct {
	kind    LinkKind // nil: there is none of this name
	foreign []string // keys that it does not have and others do, from the entry on
}

// link fills an entry of links: its type says which keys it has.
func (d *document) link(n *yaml.Node, l *Link, path string) {
	entry := &linkEntry{}
	d.links[path] = entry
	name := ""
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "type" {
			name = n.Content[i+1].Value
		}
	}
	into := []reflect.Value{reflect.ValueOf(l).Elem()}
	for i, k := range d.kinds.Links {
		if k.Name() == name || name == "" && i == 0 {
			entry.kind, l.Settings = k, k.Settings()
			into = append(into, reflect.ValueOf(l.Settings).Elem())
			break
		}
	}
	d.mapping(n, path, fieldsOf(into...))
	if l.Type == "" && entry.kind != nil {
		l.Type = entry.kind.Name()
	}
}

// foreign reports whether a key that its entry of links does not have is one of another kind, and notes it.
func (d *document) foreign(path string) bool {
	for at := parent(path); at != ""; at = parent(at) {
		entry := d.links[at]
		if entry == nil {
			continue
		}
		key := path[len(at)+1:]
		if len(d.havers(key)) == 0 {
			return false
		}
		entry.foreign = append(entry.foreign, key)
		return true
	}
	return false
}

// havers are the kinds of links that have a key.
func (d *document) havers(key string) (names []string) {
	for _, k := range d.kinds.Links {
		if hasKey(reflect.TypeOf(k.Settings()), key) {
			names = append(names, k.Name())
		}
	}
	return names
}

// hasKey reports whether a struct, or what is a list of it or points to it, has a path of keys.
func hasKey(t reflect.Type, path string) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	first, rest, more := strings.Cut(path, ".")
	first, _, _ = strings.Cut(first, "[")
	for _, k := range keysOf(t) {
		if k.name == first {
			return !more || hasKey(k.field.Type, rest)
		}
	}
	return false
}

func (c *Config) checkLinks(d *document) {
	for i := range c.Links {
		l := &c.Links[i]
		key := fmt.Sprintf("links[%d]", i)
		if l.Name == "" || l.Name == "switch" || slices.ContainsFunc(c.Links[:i], func(other Link) bool { return other.Name == l.Name }) {
			d.fault(key+".name", "must be there, once only, and not be switch, which is the built-in one")
		}
		d.numberRules(key+".numbers.out", l.Numbers.Out)
		d.numberRules(key+".numbers.in", l.Numbers.In)
		d.numbers(key+".devices", l.Devices)
		entry := d.links[key]
		if entry == nil || entry.kind == nil {
			names := make([]string, 0, len(d.kinds.Links))
			for _, k := range d.kinds.Links {
				names = append(names, k.Name())
			}
			d.oneOf(key+".type", l.Type, names...)
			continue
		}
		for _, foreign := range entry.foreign {
			d.fault(key+"."+foreign, d.notOf(entry.kind, foreign))
		}
		entry.kind.Check(l.Settings, &Section{document: d, config: c, path: key})
		if len(l.Devices) > 0 {
			continue
		}
		devices, own := entry.kind.Devices(l.Settings)
		if l.Devices = devices; !own {
			d.fault(key+".devices", "must say which devices are there, such as [\"2??\"], or [\"*\"] for all")
		}
	}
}

// notOf is what is wrong with a key that the kind of its entry does not have.
func (d *document) notOf(kind LinkKind, key string) string {
	if why := kind.Lacks(key); why != "" {
		return "is not for type " + kind.Name() + ": " + why
	}
	if names := d.havers(key); len(names) == 1 && names[0] != d.kinds.Links[0].Name() {
		return "is for type " + names[0] + " only"
	}
	return "is not for type " + kind.Name()
}

// Section is a part of the file while it is checked. Keys are written from the section on.
type Section struct {
	*document

	config *Config
	path   string
}

// at is the path of a key of the section; "" is the section itself.
func (s *Section) at(key string) string { return strings.TrimSuffix(s.path+"."+key, ".") }

// Fault says what is wrong with a key, and what to write instead; the key "" is the section itself.
func (s *Section) Fault(key, text string) { s.fault(s.at(key), text) }

// OneOf finds a value that is none of those that are allowed.
func (s *Section) OneOf(key, value string, allowed ...string) { s.oneOf(s.at(key), value, allowed...) }

// Patterns finds patterns of device numbers that are not usable.
func (s *Section) Patterns(key string, patterns []string) { s.numbers(s.at(key), patterns) }

// NotNegative finds times below 0.
func (s *Section) NotNegative(times map[string]time.Duration) {
	for key, v := range times {
		if v < 0 {
			s.Fault(key, "must not be negative")
		}
	}
}

// Listeners finds what is wrong with the listeners that a key names, and gives an address without port the usual
// one.
func (s *Section) Listeners(key string, list []Listener, listens Listens) {
	s.config.checkListeners(s.document, s.at(key), list, listens)
}

// Positive finds numbers below 1.
func (s *Section) Positive(numbers map[string]int) {
	for key, v := range numbers {
		s.positive(s.at(key), v)
	}
}

// Longer finds times that are no longer than nothing.
func (s *Section) Longer(times map[string]time.Duration) {
	for key, v := range times {
		s.longer(s.at(key), v)
	}
}

func (d *document) positive(key string, v int) {
	if v <= 0 {
		d.fault(key, "must be a number greater than 0")
	}
}

func (d *document) longer(key string, v time.Duration) {
	if v <= 0 {
		d.fault(key, "must be longer than nothing, for example 5s")
	}
}

// ValidNumber reports whether a text is the number of a device that an entry names: 1 to 20 digits, * or #.
func ValidNumber(number string) bool { return deviceNumber.MatchString(number) }
