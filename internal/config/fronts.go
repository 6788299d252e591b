package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// FrontKind is a kind of front, as far as the file goes: a key of its name has its settings.
type FrontKind interface {
	// Name is the key. It is also what rules.fronts and application-sessions call the front.
	Name() string
	// Settings returns a pointer to a new struct with a [Listening] in it, with its defaults. Its yaml tags are the keys.
	Settings() any
	// Listens says what its listeners can be.
	Listens() Listens
	// Check finds what is wrong with settings that Settings has returned and the file has filled, beside their
	// listeners.
	Check(settings any, s *Section)
}

// Front is the key of a kind of front.
type Front struct {
	Name     string
	Settings any // a pointer to the struct that [FrontKind.Settings] returns
}

// Listening is embedded in the settings of each kind of front.
type Listening struct {
	Listen []Listener `yaml:"listen"`
}

// Listeners returns where a front is served.
func (l *Listening) Listeners() []Listener { return l.Listen }

// ClearCertificates removes what listeners take while they are served: the names of files of certificates, and what is
// asked of peers.
func (l *Listening) ClearCertificates() {
	l.Listen = slices.Clone(l.Listen)
	for i := range l.Listen {
		l.Listen[i] = l.Listen[i].WithoutCertificates()
	}
}

// Listeners returns where the front is served.
func (f *Front) Listeners() []Listener {
	return f.Settings.(interface{ Listeners() []Listener }).Listeners()
}

// Front returns the settings of a front: a pointer to the struct of its kind; nil where there is none of the name.
func (c *Config) Front(name string) any {
	for _, f := range c.Fronts {
		if f.Name == name {
			return f.Settings
		}
	}
	return nil
}

// Listens says what listeners can be.
type Listens struct {
	Transports    []string // udp, tcp, tls, dtls
	Port, TLSPort string   // of an address without one
	// Ports, where it is not nil, says so for each listener instead.
	Ports           func(l *Listener) (port, tlsPort string)
	Dialect, Notify bool // whether they have these keys
}

// FrontNames lists the fronts, as rules call them.
func (k Kinds) FrontNames() []string {
	names := make([]string, 0, len(k.Fronts))
	for _, f := range k.Fronts {
		names = append(names, f.Name())
	}
	return names
}

// Keep puts back in settings, but for the keys that are live, what is not as it was before. It returns these keys.
// Both are pointers to structs of one type.
func Keep(settings, before any, live ...string) (kept []string) {
	now, old := reflect.ValueOf(settings).Elem(), reflect.ValueOf(before).Elem()
	for _, k := range keysOf(now.Type()) {
		a, b := now.FieldByIndex(k.field.Index), old.FieldByIndex(k.field.Index)
		if !slices.Contains(live, k.name) && !same(a.Interface(), b.Interface()) {
			kept = append(kept, k.name)
			a.Set(b)
		}
	}
	return kept
}

// Changed returns the keys whose values differ. Both are pointers to structs of one type.
func Changed(settings, before any) (keys []string) {
	now, old := reflect.ValueOf(settings).Elem(), reflect.ValueOf(before).Elem()
	for _, k := range keysOf(now.Type()) {
		if !same(now.FieldByIndex(k.field.Index).Interface(), old.FieldByIndex(k.field.Index).Interface()) {
			keys = append(keys, k.name)
		}
	}
	return keys
}

// same reports whether two values say the same: where a listener takes its certificates from is no part of the file.
func same(a, b any) bool {
	x, ok := a.([]Listener)
	if !ok {
		return reflect.DeepEqual(a, b)
	}
	return slices.EqualFunc(x, b.([]Listener), func(x, y Listener) bool {
		x.Source, y.Source = nil, nil
		return reflect.DeepEqual(x, y)
	})
}

func (c *Config) checkFronts(d *document) {
	for i, k := range d.kinds.Fronts {
		f := &c.Fronts[i] // as Default has made them
		c.checkListeners(d, f.Name+".listen", f.Listeners(), k.Listens())
		k.Check(f.Settings, &Section{document: d, config: c, path: f.Name})
	}
}

func (c *Config) checkListeners(d *document, key string, list []Listener, listens Listens) {
	for i := range list {
		port, tlsPort := listens.Port, listens.TLSPort
		if listens.Ports != nil {
			port, tlsPort = listens.Ports(&list[i])
		}
		list[i].Address = withPort(list[i], port, tlsPort)
		c.checkListener(d, fmt.Sprintf("%s[%d]", key, i), list[i], listens)
	}
}

// listening says which fronts have a key of listeners.
func (d *document) listening(have func(Listens) bool) string {
	var names []string
	for _, k := range d.kinds.Fronts {
		if have(k.Listens()) {
			names = append(names, k.Name()+".listen")
		}
	}
	return "is for " + strings.Join(names, " and ") + " only"
}

// sessions fills the key application-sessions, where each front has a key.
func (d *document) sessions(n *yaml.Node, s *Sessions, path string) {
	into := fieldsOf(reflect.ValueOf(s).Elem())
	modes := map[string]*string{}
	for _, name := range d.kinds.FrontNames() {
		modes[name] = new(string)
		into.add(name, reflect.ValueOf(modes[name]).Elem())
	}
	d.mapping(n, path, into)
	for name, mode := range modes {
		if *mode != "" {
			s.Modes[name] = *mode
		}
	}
}
