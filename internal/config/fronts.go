package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// FrontKind describes the key of one kind of front.
type FrontKind interface {
	// Name is the key. rules.fronts and application-sessions use the same name.
	Name() string
	// Settings returns a pointer to a new struct that embeds a [Listening] and holds the defaults. Its yaml tags are the
	// keys.
	Settings() any
	// Listens returns what its listeners can be.
	Listens() Listens
	// Check reports the faults of settings that Settings has returned and the file has filled. Package config checks the
	// listeners.
	Check(settings any, s *Section)
}

// Front has the settings of one front.
type Front struct {
	Name     string
	Settings any // a pointer to the struct that [FrontKind.Settings] returns
}

// Listening is the key listen. The settings of each kind of front embed it.
type Listening struct {
	Listen []Listener `yaml:"listen"`
}

// Listeners returns the listeners of a front.
func (l *Listening) Listeners() []Listener { return l.Listen }

// ClearCertificates removes the keys that a reload changes while listeners stay open: certificate files, and what peers
// must present.
func (l *Listening) ClearCertificates() {
	l.Listen = slices.Clone(l.Listen)
	for i := range l.Listen {
		l.Listen[i] = l.Listen[i].WithoutCertificates()
	}
}

// Listeners returns the listeners of the front.
func (f *Front) Listeners() []Listener {
	return f.Settings.(interface{ Listeners() []Listener }).Listeners()
}

// Front returns the settings of a front, a pointer to the struct of its kind, or nil for an unknown name.
func (c *Config) Front(name string) any {
	for _, f := range c.Fronts {
		if f.Name == name {
			return f.Settings
		}
	}
	return nil
}

// Listens describes what listeners of a front can be.
type Listens struct {
	Transports    []string // any of udp, tcp, tls, dtls
	Port, TLSPort string   // the default ports
	// Ports, if not nil, returns the default ports of one listener, in place of Port and TLSPort.
	Ports   func(l *Listener) (port, tlsPort string)
	NoLogin bool // its protocol has no application sessions: application-sessions has no key for it

	Dialect, Notify, Originate bool // whether listeners have these keys
}

// FrontNames returns the names of the fronts.
func (k Kinds) FrontNames() []string {
	names := make([]string, 0, len(k.Fronts))
	for _, f := range k.Fronts {
		names = append(names, f.Name())
	}
	return names
}

// Keep restores in settings the values that differ from before, except those of live keys. It returns the keys that it
// has restored. Both are pointers to structs of one type.
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

// same reports whether two values are equal. It ignores Source of listeners, which does not come from the file.
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
		f := &c.Fronts[i] // Default has made one for each kind
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

// listening returns the text of the fault of a listener's key that only some fronts have.
func (d *document) listening(have func(Listens) bool) string {
	var names []string
	for _, k := range d.kinds.Fronts {
		if have(k.Listens()) {
			names = append(names, k.Name()+".listen")
		}
	}
	return "is for " + strings.Join(names, " and ") + " only"
}

// sessions fills the key application-sessions, which has a key for each front whose protocol has them.
func (d *document) sessions(n *yaml.Node, s *Sessions, path string) {
	into := fieldsOf(reflect.ValueOf(s).Elem())
	modes := map[string]*string{}
	for _, k := range d.kinds.Fronts {
		if !k.Listens().NoLogin {
			modes[k.Name()] = new(string)
			into.add(k.Name(), reflect.ValueOf(modes[k.Name()]).Elem())
		}
	}
	d.mapping(n, path, into)
	for name, mode := range modes {
		if *mode != "" {
			s.Modes[name] = *mode
		}
	}
}
