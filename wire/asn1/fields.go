package asn1

import (
	"reflect"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

var fieldsOf sync.Map // reflect.Type -> map[string]int

// fields are the fields of a struct of uacsta, by the names of their elements.
func fields(t reflect.Type) map[string]int {
	if f, ok := fieldsOf.Load(t); ok {
		return f.(map[string]int)
	}
	found := map[string]int{}
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("csta"); ok {
			name, _, _ = strings.Cut(name, ",")
			name, _, _ = strings.Cut(name, ">")
			found[name] = i
		}
	}
	fieldsOf.Store(t, found)
	return found
}

// field is a field of a struct; "*" is the struct itself.
func field(v reflect.Value, name string) reflect.Value {
	switch name {
	case "*":
		return v
	case "extensions":
		return v.FieldByName("Common").FieldByName("Extensions")
	}
	i, ok := fields(v.Type())[name]
	if !ok {
		panic("asn1: " + v.Type().Name() + " has no " + name)
	}
	return v.Field(i)
}

// unsayable is the first field that is set and that a form has no member for, "" if all can
// be said.
func (f *form) unsayable(v reflect.Value) string {
	said := map[string]bool{}
	for name := range f.unsaid {
		said[name] = true
	}
	for i := range f.members {
		if custom, ok := f.members[i].typ.(interface{ says() []string }); ok {
			for _, name := range custom.says() {
				said[name] = true
			}
		}
		said[f.members[i].name] = true
	}
	for name, i := range fields(v.Type()) {
		if !said[name] && !v.Field(i).IsZero() {
			return name
		}
	}
	if common, ok := v.FieldByName("Common").Interface().(uacsta.Common); ok {
		switch {
		case len(common.Unknown) > 0:
			return common.Unknown[0].Name()
		case !said["extensions"] && !common.Extensions.IsZero():
			return "extensions"
		}
	}
	return ""
}
