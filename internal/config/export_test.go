package config

import (
	"reflect"
	"strings"
)

const MaxFile = maxFile

// LinesOf returns where each key of a file stands.
func LinesOf(file string, data []byte, kinds Kinds) map[string]int {
	return decode(file, data, Default(kinds), kinds).lines
}

// Keys lists every key that a file may have, list entries without index.
func Keys(kinds Kinds) []string {
	var all []string
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Slice {
			walk(t.Elem(), path+"[0]")
			return
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for _, k := range keysOf(t) {
			name := strings.TrimPrefix(path+"."+k.name, ".")
			all = append(all, name)
			walk(k.field.Type, name)
		}
	}
	walk(reflect.TypeFor[Config](), "")
	for _, k := range kinds.Links {
		walk(reflect.TypeOf(k.Settings()), "links[0]")
	}
	for _, k := range kinds.Fronts {
		all = append(all, k.Name())
		if !k.Listens().NoLogin {
			all = append(all, "application-sessions."+k.Name())
		}
		walk(reflect.TypeOf(k.Settings()), k.Name())
	}
	return all
}
