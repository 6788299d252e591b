package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Kinds lists the kinds of links and fronts that a file can name.
type Kinds struct {
	Links  []LinkKind // the first is the default
	Fronts []FrontKind
}

// LinkKind describes the entries of links of one type.
type LinkKind interface {
	// Name is the value of links[].type.
	Name() string
	// Settings returns a pointer to a new struct that holds the defaults. Its yaml tags are the keys that an
	// entry has in addition to those of [Link]. Keys of embedded structs are on the same level.
	Settings() any
	// Check reports the faults of settings that Settings has returned and the file has filled. It may set defaults
	// that depend on other keys.
	Check(settings any, s *Section)
	// Devices returns the devices of an entry without the key devices. It returns false if an entry must have the
	// key.
	Devices(settings any) (devices []string, ok bool)
	// Lacks returns why the kind does not have a key that other kinds have, or "" for no reason.
	Lacks(key string) string
}

// linkEntry is an entry of links that is being checked.
type linkEntry struct {
	kind    LinkKind // nil if the type is unknown
	foreign []string // keys, relative to the entry, that other kinds have and this one has not
}

// link fills an entry of links. The type of the entry decides which keys it can have.
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

// foreign reports whether an unknown key of an entry of links may be a key of another kind, and adds it to the entry.
func (d *document) foreign(path string) bool {
	for at := parent(path); at != ""; at = parent(at) {
		entry := d.links[at]
		if entry == nil {
			continue
		}
		key := path[len(at)+1:]
		if entry.kind != nil && len(d.kindsWith(key)) == 0 { // of an unknown type any key may be right: the type is the fault
			return false
		}
		entry.foreign = append(entry.foreign, key)
		return true
	}
	return false
}

// kindsWith returns the names of the kinds of links that have a key.
func (d *document) kindsWith(key string) (names []string) {
	for _, k := range d.kinds.Links {
		if hasKey(reflect.TypeOf(k.Settings()), key) {
			names = append(names, k.Name())
		}
	}
	return names
}

// hasKey reports whether a struct, or the struct that a pointer or list is of, has a path of keys.
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
			d.fault(key+".name", "must be a name that no other link has, and not switch, the built-in one; write for example pbx")
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
			d.fault(key+"."+foreign, d.foreignFault(entry.kind, foreign))
		}
		entry.kind.Check(l.Settings, &Section{document: d, config: c, path: key})
		if len(l.Devices) > 0 {
			continue
		}
		devices, own := entry.kind.Devices(l.Settings)
		if l.Devices = devices; !own {
			d.fault(key+".devices", "must name the devices of the link; write for example [\"2??\"], or [\"*\"] for all")
		}
	}
}

// foreignFault returns the text of the fault of a key that other kinds have and this one has not.
func (d *document) foreignFault(kind LinkKind, key string) string {
	if why := kind.Lacks(key); why != "" {
		return "is not for type " + kind.Name() + ": " + why
	}
	if names := d.kindsWith(key); len(names) == 1 && names[0] != d.kinds.Links[0].Name() {
		if kind.Name() == d.kinds.Links[0].Name() { // also that of an entry without type
			return "is for type " + names[0] + " only; write type: " + names[0]
		}
		return "is for type " + names[0] + " only"
	}
	return "is not for type " + kind.Name()
}

// Section is the part of the file that a kind checks. Keys are relative to the section.
type Section struct {
	*document

	config *Config
	path   string
}

// at returns the full path of a key. The key "" is the section itself.
func (s *Section) at(key string) string { return strings.TrimSuffix(s.path+"."+key, ".") }

// Fault reports a fault at a key. The text says what is wrong and what to write instead. The key "" is the section
// itself.
func (s *Section) Fault(key, text string) { s.fault(s.at(key), text) }

// OneOf reports a fault if the value is not one of those allowed.
func (s *Section) OneOf(key, value string, allowed ...string) { s.oneOf(s.at(key), value, allowed...) }

// Patterns reports a fault for each invalid pattern of device numbers.
func (s *Section) Patterns(key string, patterns []string) { s.numbers(s.at(key), patterns) }

// NotNegative reports a fault for each duration below 0.
func (s *Section) NotNegative(times map[string]time.Duration) {
	for key, v := range times {
		if v < 0 {
			s.Fault(key, "must not be negative")
		}
	}
}

// Listeners reports the faults of a list of listeners, and adds the default port to addresses without one.
func (s *Section) Listeners(key string, list []Listener, listens Listens) {
	s.config.checkListeners(s.document, s.at(key), list, listens)
}

// Positive reports a fault for each number below 1.
func (s *Section) Positive(numbers map[string]int) {
	for key, v := range numbers {
		s.positive(s.at(key), v)
	}
}

// Longer reports a fault for each duration that is not above 0.
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
		d.fault(key, "must be longer than 0s; write for example 5s")
	}
}

// ValidNumber reports whether a string is a device number of the file: 1 to 20 digits, * or #.
func ValidNumber(number string) bool { return deviceNumber.MatchString(number) }
