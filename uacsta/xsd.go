package uacsta

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Schema returns an XML schema of all messages of an edition, for programs that make classes from it. It describes what
// [Message.Conform] lets pass, in the plainest form: a sequence for what the standard calls a repeated choice, so that the
// tools of the field make lists of it (ECMA-323).
func Schema(edition Edition) []byte {
	return schemaOf(edition, edition.Namespace(), MessagesOf(edition))
}

// SessionSchema returns an XML schema of the messages of application sessions (ECMA-354).
func SessionSchema() []byte {
	return schemaOf(Edition6, NamespaceApplSession, slices.DeleteFunc(Names(), func(name string) bool { return !isSessionService(name) }))
}

// schemaOf returns the schema of messages.
func schemaOf(edition Edition, namespace string, names []string) []byte {
	s := schemaWriter{edition: edition.Written(), done: map[string]bool{}}
	fmt.Fprintf(&s.b, `%s<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="%s" targetNamespace="%[2]s" elementFormDefault="qualified">`+"\n", xmlDeclaration, namespace)
	for _, name := range names {
		fmt.Fprintf(&s.b, `<xs:element name="%s" type="%[1]s"/>`+"\n", name)
		if name == NameCSTAErrorCode {
			s.once(name, s.refusal)
		} else {
			s.need(messageTypes[name].typ)
		}
	}
	for len(s.waiting) > 0 {
		define := s.waiting[0]
		s.waiting = s.waiting[1:]
		define()
	}
	s.b.WriteString("</xs:schema>\n")
	return s.b.Bytes()
}

// MessagesOf returns the names of the messages that an edition has, without those of application sessions.
func MessagesOf(edition Edition) []string {
	names := []string{NameCSTAErrorCode}
	for _, name := range Names() {
		if messageTypes[name].since <= edition.Written() && !isSessionService(name) {
			names = append(names, name)
		}
	}
	return names
}

// schemaWriter writes a schema.
type schemaWriter struct {
	b       bytes.Buffer
	edition Edition
	done    map[string]bool // types that are written, or wait
	waiting []func()        // they write types
}

// need has a type written, and returns its name.
func (s *schemaWriter) need(t reflect.Type) string { return s.once(t.Name(), func() { s.define(t) }) }

// once has a type written once, and returns its name.
func (s *schemaWriter) once(name string, define func()) string {
	if !s.done[name] {
		s.done[name] = true
		s.waiting = append(s.waiting, define)
	}
	return name
}

// typeOf returns the name of the schema's type for a Go type.
func (s *schemaWriter) typeOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		if e, is := enumerations[t.Name()]; !is || e.others {
			return "xs:string"
		}
	case reflect.Bool:
		if t != reflect.TypeFor[Empty]() {
			return "xs:boolean"
		}
	case reflect.Int:
		return "xs:long"
	case reflect.Float64:
		return "xs:double"
	}
	if t == reflect.TypeFor[Error]() {
		return s.once(NameCSTAErrorCode, s.refusal)
	}
	return s.need(t)
}

// define writes a type.
func (s *schemaWriter) define(t reflect.Type) {
	name := t.Name()
	switch t {
	case reflect.TypeFor[DeviceID]():
		s.device()
		return
	case reflect.TypeFor[Raw]():
		s.complex(name, `<xs:sequence><xs:any namespace="##any" processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>`)
		return
	case reflect.TypeFor[Empty]():
		s.complex(name, `<xs:sequence/>`)
		return
	case reflect.TypeFor[Data]():
		raw := s.need(reflect.TypeFor[Raw]())
		s.complex(name, `<xs:sequence><xs:choice><xs:element name="string" type="xs:string"/><xs:element name="private" type="`+raw+`"/></xs:choice></xs:sequence>`)
		return
	}
	if g := written[t]; g != nil {
		s.complex(name, s.leaves(g))
		return
	}
	if t.Kind() == reflect.String {
		fmt.Fprintf(&s.b, `<xs:simpleType name="%s"><xs:restriction base="xs:string">`, name)
		for _, value := range enumerations[name].values {
			fmt.Fprintf(&s.b, `<xs:enumeration value="%s"/>`, value)
		}
		s.b.WriteString("</xs:restriction></xs:simpleType>\n")
		return
	}
	s.complex(name, s.structure(t))
}

func (s *schemaWriter) complex(name, content string) {
	fmt.Fprintf(&s.b, `<xs:complexType name="%s">%s</xs:complexType>`+"\n", name, content)
}

// deviceAttributes are the attributes of a device identifier.
func deviceAttributes(edition Edition) []string {
	attributes := []string{typeOfNumber, "mediaClass", "connectionRate", "bitRate", "delayTolerance", "switchingSubDomainCCIEType", "switchingSubDomainInformationElements"}
	if edition >= Edition6 {
		attributes = append(attributes, editionAttributes...)
	}
	return attributes
}

// device writes the type of device identifiers.
func (s *schemaWriter) device() {
	var b strings.Builder
	for _, a := range deviceAttributes(s.edition) {
		fmt.Fprintf(&b, `<xs:attribute name="%s" type="xs:string"/>`, a)
	}
	s.complex("DeviceID", `<xs:simpleContent><xs:extension base="xs:string">`+b.String()+`</xs:extension></xs:simpleContent>`)
}

// leaves returns the content of one of the types that a grammar describes: a choice, or the pair of a connection.
func (s *schemaWriter) leaves(g *grammar) string {
	var b strings.Builder
	for _, m := range g.members {
		typ, few := "xs:string", ""
		switch m.content.shape {
		case shapeDevice:
			typ = s.need(reflect.TypeFor[DeviceID]())
		case shapeEmpty:
			typ = s.need(reflect.TypeFor[Empty]())
		}
		if !g.choice {
			few = ` minOccurs="0"`
		}
		fmt.Fprintf(&b, `<xs:element name="%s" type="%s"%s/>`, m.name, typ, few)
	}
	if g.choice {
		return `<xs:sequence><xs:choice>` + b.String() + `</xs:choice></xs:sequence>`
	}
	return `<xs:sequence>` + b.String() + `</xs:sequence>`
}

// structure returns the content of a structure: its fields in order, or one of them.
func (s *schemaWriter) structure(t reflect.Type) string {
	var b strings.Builder
	choice := false
	for _, f := range planOf(t) {
		if f.in(s.edition) {
			s.field(&b, t.Field(f.index).Type, f)
			choice = choice || f.choice
		}
	}
	if choice {
		return `<xs:sequence><xs:choice>` + b.String() + `</xs:choice></xs:sequence>`
	}
	if _, message := t.FieldByName("Common"); message {
		fmt.Fprintf(&b, `<xs:element name="%s" type="%s" minOccurs="0"/>`, extensionsName, s.once("Extensions", s.extensions))
	}
	return `<xs:sequence>` + b.String() + `</xs:sequence>`
}

// field writes the element of a field.
func (s *schemaWriter) field(b *strings.Builder, t reflect.Type, f fieldPlan) {
	name, few := f.nameIn(s.edition), ""
	if !f.required && !f.choice {
		few = ` minOccurs="0"`
	}
	t = itemOf(t)
	item := f.itemIn(s.edition)
	const many = ` minOccurs="0" maxOccurs="unbounded"`
	switch {
	case t == reflect.TypeFor[Capabilities]():
		fmt.Fprintf(b, `<xs:element name="%s" type="%s"%s/>`, name, s.capabilities(name), few)
	case item != "":
		s.list(b, name, few, item, s.typeOf(t))
	case f.items:
		fmt.Fprintf(b, `<xs:element name="%s" type="%s"%s/>`, name, s.typeOf(t), many)
	default:
		fmt.Fprintf(b, `<xs:element name="%s" type="%s"%s/>`, name, s.typeOf(t), few)
	}
}

// list writes an element that holds items.
func (s *schemaWriter) list(b *strings.Builder, name, few, item, typ string) {
	fmt.Fprintf(b, `<xs:element name="%s"%s><xs:complexType><xs:sequence><xs:element name="%s" type="%s" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>`, name, few, item, typ)
}

// extensions writes the type of what ends a message.
func (s *schemaWriter) extensions() {
	raw, data := s.need(reflect.TypeFor[Raw]()), s.need(reflect.TypeFor[Data]())
	s.complex("Extensions", fmt.Sprintf(`<xs:sequence><xs:element name="security" type="%s" minOccurs="0"/><xs:element name="privateData" type="%s" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>`, raw, data))
}

// capabilities has the type of an element that holds capabilities written, and returns its name.
func (s *schemaWriter) capabilities(element string) string {
	name := strings.ToUpper(element[:1]) + element[1:]
	return s.once(name, func() {
		var b strings.Builder
		table := capabilityLists()
		for _, c := range table.lists[element] {
			if c.in(s.edition) {
				fmt.Fprintf(&b, `<xs:element name="%s" minOccurs="0"><xs:complexType><xs:sequence>`, c.name)
				for _, detail := range c.details {
					if detail.in(s.edition) {
						fmt.Fprintf(&b, `<xs:element name="%s" type="xs:boolean" minOccurs="0"/>`, detail.name)
					}
				}
				b.WriteString(`</xs:sequence></xs:complexType></xs:element>`)
			}
		}
		for _, list := range table.holders[element] {
			if list.in(s.edition) {
				fmt.Fprintf(&b, `<xs:element name="%s" type="%s" minOccurs="0"/>`, list.name, s.capabilities(list.name))
			}
		}
		s.complex(name, `<xs:sequence>`+b.String()+`</xs:sequence>`)
	})
}

// refusal writes the type of error values. Links pass on values that no edition has, so they are any text.
func (s *schemaWriter) refusal() {
	var b strings.Builder
	for _, category := range categories {
		fmt.Fprintf(&b, `<xs:element name="%s" type="xs:string"/>`, category)
	}
	s.complex(NameCSTAErrorCode, `<xs:sequence><xs:choice>`+b.String()+`</xs:choice></xs:sequence>`)
}
