package asn1

import (
	"reflect"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

var fieldsOf sync.Map // reflect.Type -> map[string]int

// fields returns the index of each field of a struct of uacsta, by the name of its element.
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

// field returns a field of a struct by the name of its element; "*" is the struct itself.
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

// inexpressible returns the name of a field that is set and has no member in the form, or has another value than the only
// one; "": there is none.
func (f *form) inexpressible(v reflect.Value) string {
	known := map[string]bool{}
	for name := range f.omitted {
		known[name] = true
	}
	for i := range f.members {
		if custom, ok := f.members[i].typ.(interface{ fields() []string }); ok {
			for _, name := range custom.fields() {
				known[name] = true
			}
		}
		known[f.members[i].name] = true
	}
	for name, i := range fields(v.Type()) {
		other := f.only[name] && v.Field(i).String() != f.omitted[name]
		if other || !known[name] && !v.Field(i).IsZero() {
			return name
		}
	}
	if common, ok := v.FieldByName("Common").Interface().(uacsta.Common); ok {
		switch {
		case len(common.Unknown) > 0:
			return common.Unknown[0].Name()
		case !known["extensions"] && !common.Extensions.IsZero():
			return "extensions"
		}
	}
	return ""
}
