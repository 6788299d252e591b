package uacsta

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A grammar describes the content of an element. Grammars are made from the message structs, so that a
// reader with a grammar reads exactly what Decode reads (ECMA-323).
type grammar struct {
	shape       shape
	members     []member // of a structure, in schema order
	choice      bool     // exactly one of the members is there
	open        bool     // other children are allowed
	list        bool     // its children are the items of a list
	connection  bool     // it is a connection identifier
	identifies  bool     // device identifiers occur in it
	enumeration          // of a text that is a value of one
}

// shape is the form of an element's content.
type shape int

const (
	shapeText         shape = iota // character data
	shapeBool                      // true or false
	shapeInt                       // a whole number
	shapeFloat                     // a number
	shapeEmpty                     // none: the presence of the element is the value
	shapeDevice                    // a device identifier
	shapeStruct                    // children by name
	shapeDestinations              // a device identifier, or a list of them
	shapeData                      // anything, unchanged
	shapeRefusal                   // an error value: one child of any name
	shapeNames                     // capability lists: elements whose names are the values
)

// member is a possible child of an element.
type member struct {
	name, earlier string // earlier is its name up to edition 5; "" for the same
	content       *grammar
	repeats       bool
	optional      bool
}

// find returns the index of the member with a name, or -1. It starts after the last one found, because
// children mostly come in schema order.
func (g *grammar) find(name string, last int) int {
	for i := last + 1; i < len(g.members); i++ {
		if g.members[i].name == name {
			return i
		}
	}
	for i := range g.members {
		if m := &g.members[i]; m.name == name || m.earlier == name && name != "" {
			return i
		}
	}
	return -1
}

// grammars returns the grammars of all messages by name.
var grammars = sync.OnceValue(func() map[string]*grammar {
	c := compiler{}
	all := make(map[string]*grammar, len(messageTypes)+1)
	for name, known := range messageTypes {
		g := c.of(known.typ)
		all[name] = g
	}
	all[NameCSTAErrorCode] = &grammar{shape: shapeRefusal}
	return all
})

// Grammars of leaves.
var (
	plainText   = &grammar{shape: shapeText}
	deviceText  = &grammar{shape: shapeDevice, identifies: true}
	emptyMark   = &grammar{shape: shapeEmpty}
	anyData     = &grammar{shape: shapeData}
	destination = &grammar{shape: shapeDestinations, identifies: true}
)

// written are the types that are a choice or a pair and not a sequence of fields.
var written = map[reflect.Type]*grammar{
	reflect.TypeFor[DeviceID](): deviceText,
	reflect.TypeFor[ConnectionID](): {shape: shapeStruct, connection: true, identifies: true, members: []member{
		{name: "callID", content: plainText}, {name: "deviceID", content: deviceText},
	}},
	reflect.TypeFor[ExtendedDeviceID](): {shape: shapeStruct, choice: true, identifies: true, members: []member{
		{name: "deviceIdentifier", content: deviceText}, {name: "notKnown", content: emptyMark}, {name: "restricted", content: emptyMark},
	}},
	reflect.TypeFor[RedirectionDeviceID](): {shape: shapeStruct, choice: true, identifies: true, members: []member{
		{name: "numberDialed", content: deviceText}, {name: "notKnown", content: emptyMark}, {name: "notRequired", content: emptyMark},
		{name: "notSpecified", content: emptyMark}, {name: "restricted", content: emptyMark},
	}},
	reflect.TypeFor[ConnectionListEnd](): {shape: shapeStruct, choice: true, identifies: true, members: []member{
		{name: "deviceID", content: deviceText}, {name: "notKnown", content: emptyMark}, {name: "restricted", content: emptyMark},
	}},
	reflect.TypeFor[Data](): {shape: shapeStruct, choice: true, members: []member{
		{name: "string", content: plainText}, {name: "private", content: anyData},
	}},
	reflect.TypeFor[Error]():        {shape: shapeRefusal},
	reflect.TypeFor[Capabilities](): {shape: shapeNames},
	reflect.TypeFor[Raw]():          anyData,
	reflect.TypeFor[Empty]():        emptyMark,
}

const (
	extensionsName = "extensions"
	lineName       = "line" // of clients of Lync's kind, in private data
	maxMembers     = 256
)

// extensions ends every message: the one place, besides correlator and user data, for what the
// standard does not define (ECMA-323 CSTACommonArguments).
var extensions = &grammar{shape: shapeStruct, open: true, members: []member{
	{name: "security", content: anyData, optional: true}, {name: "privateData", content: written[reflect.TypeFor[Data]()], repeats: true},
}}

// compiler makes grammars from structs.
type compiler map[reflect.Type]*grammar

func (c compiler) of(t reflect.Type) *grammar {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if g := written[t]; g != nil {
		return g
	}
	if g := c[t]; g != nil {
		return g
	}
	switch t.Kind() {
	case reflect.String:
		values, is := enumerations[t.Name()]
		if !is {
			return plainText
		}
		c[t] = &grammar{shape: shapeText, enumeration: values}
		return c[t]
	case reflect.Bool:
		return &grammar{shape: shapeBool}
	case reflect.Int:
		return &grammar{shape: shapeInt}
	case reflect.Float64:
		return &grammar{shape: shapeFloat}
	case reflect.Struct:
	default:
		panic("uacsta: no grammar for " + t.String())
	}
	g := &grammar{shape: shapeStruct, open: true}
	c[t] = g
	for _, f := range planOf(t) {
		g.members = append(g.members, c.member(t.Field(f.index).Type, f))
		g.choice = g.choice || f.choice
	}
	if _, message := t.FieldByName("Common"); message {
		g.members = append(g.members, member{name: extensionsName, content: extensions, optional: true})
	}
	if len(g.members) > maxMembers {
		panic("uacsta: too many members in " + t.String())
	}
	g.identifies = slices.ContainsFunc(g.members, func(m member) bool { return m.content.identifies })
	return g
}

func (c compiler) member(t reflect.Type, f fieldPlan) member {
	m := member{name: f.name, earlier: f.earlier, repeats: f.items, optional: !f.required}
	t = itemOf(t)
	switch {
	case f.destinations:
		m.content = destination
	case f.item != "":
		item := member{name: f.item, content: c.of(t), repeats: true}
		m.content = &grammar{shape: shapeStruct, open: true, list: true, members: []member{item}, identifies: item.content.identifies}
	default:
		m.content = c.of(t)
	}
	return m
}

// holders are the names, in small letters, of the elements that hold identifiers anywhere in the
// standard. An element without a place in a grammar must not have such a name: another reader might
// take it for an identifier.
var holders = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{"callid": true, "deviceid": true, "device": true}
	seen := map[*grammar]bool{}
	var walk func(g *grammar)
	walk = func(g *grammar) {
		if seen[g] {
			return
		}
		seen[g] = true
		for _, m := range g.members {
			if m.content.identifies {
				names[strings.ToLower(m.name)] = true
				if m.earlier != "" {
					names[strings.ToLower(m.earlier)] = true
				}
				walk(m.content)
			}
		}
	}
	for _, g := range grammars() {
		walk(g)
	}
	return names
})
