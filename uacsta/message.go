package uacsta

import (
	"bytes"
	"strings"

	"github.com/beevik/etree"
)

// Message is one CSTA-XML message: its XML tree, in the one form that every reader reads alike. Parse
// and Encode return no other form, so what is decided on, logged, carried out and forwarded is the
// same. A Message is not safe for concurrent changes; Clone it if two goroutines need it.
type Message struct {
	root   *etree.Element
	unsure bool   // Error.Unsure, of an error message that was not parsed
	detail string // Error.Detail of it
	rules  bool   // Error.Rules of it
	cause  uint64 // for the trace: see Message.Cause
}

// Kind is the kind of a message. The name of its root decides (ECMA-323).
type Kind int

// The kinds of messages.
const (
	Request   Kind = iota // all others
	Response              // ...Response, or ECMA-354's ...PosResponse and ...NegResponse
	Event                 // ...Event
	ErrorCode             // CSTAErrorCode, the negative response
)

// NameCSTAErrorCode is the name of the negative response, which has no struct.
const NameCSTAErrorCode = "CSTAErrorCode"

func (k Kind) String() string {
	return [...]string{"request", "response", "event", "error"}[k]
}

// Parse parses a document of at most [MaxSize] octets. An error wraps one of the Err values of this
// package or is an [*Unclear]. It never quotes the document.
func Parse(data []byte) (*Message, error) { return ParseWithin(data, MaxElements) }

// ParseWithin is Parse for a document of at most a number of elements, for peers that may use only
// little memory.
func ParseWithin(data []byte, elements int) (*Message, error) {
	root, err := scan(data, elements)
	if err == nil {
		err = canonical(root)
	}
	if err != nil {
		return nil, err
	}
	return &Message{root: root}, nil
}

// Known reports whether the standard defines the message. Others can be forwarded unchanged.
func (m *Message) Known() bool { return grammars()[m.root.Tag] != nil }

// Bytes returns the message as a UTF-8 document with an XML declaration.
func (m *Message) Bytes() []byte {
	var b bytes.Buffer
	b.Grow(2048)
	b.WriteString(xmlDeclaration)
	write(&b, m.root)
	return b.Bytes()
}

// String returns the message without an XML declaration, for people.
func (m *Message) String() string {
	var b bytes.Buffer
	write(&b, m.root)
	return b.String()
}

// Indented returns the message with each element on its own line, for people.
func (m *Message) Indented() string {
	doc := etree.NewDocumentWithRoot(m.root.Copy())
	doc.Indent(2)
	text, _ := doc.WriteToString() // a string takes everything
	return strings.TrimRight(text, "\n")
}

// Name returns the local name of the root element.
func (m *Message) Name() string { return m.root.Tag }

// Foreign reports whether the message is in a namespace that is not the standard's. It is forwarded in
// that namespace.
func (m *Message) Foreign() bool {
	return !m.Known() && m.Namespace() != "" && m.Edition() == 0
}

// Kind returns the kind of the message.
func (m *Message) Kind() Kind { return kindOf(m.root.Tag) }

func kindOf(name string) Kind {
	switch {
	case name == NameCSTAErrorCode:
		return ErrorCode
	case strings.HasSuffix(name, "Event"):
		return Event
	case strings.HasSuffix(name, "Response"):
		return Response
	default:
		return Request
	}
}

// OneWay reports whether the message is a request without a positive response. It can still be
// refused.
func (m *Message) OneWay() bool {
	switch name := m.root.Tag; name {
	case "IORegisterAbort", "LocationSessionInfo": // they are not in the table
		return true
	default:
		return services[name].oneWay
	}
}

// Namespace returns the namespace of the root element, or "".
func (m *Message) Namespace() string { return namespaceOf(m.root) }

func namespaceOf(root *etree.Element) string {
	ns, _ := declares(root, root.Space)
	return ns
}

// Edition returns the edition of the message, or 0 if its namespace names none.
func (m *Message) Edition() Edition { return EditionOf(m.Namespace()) }

// SetNamespace changes the namespace of the message and keeps its prefix.
func (m *Message) SetNamespace(ns string) {
	space, key := "", "xmlns"
	if m.root.Space != "" {
		space, key = "xmlns", m.root.Space
	}
	for i := range m.root.Attr {
		if a := &m.root.Attr[i]; a.Space == space && a.Key == key {
			a.Value = ns
			return
		}
	}
	m.root.Attr = append(m.root.Attr, etree.Attr{Space: space, Key: key, Value: ns})
}

// Size estimates the octets of memory that the message takes: as a tree, many times its size on a
// wire.
func (m *Message) Size() int { return size(m.root) }

// Sizes in memory of the parts of a tree, without their texts.
const (
	elementSize = 112
	textSize    = 56
	attrSize    = 56
)

func size(e *etree.Element) int {
	n := elementSize + len(e.Space) + len(e.Tag)
	for i := range e.Attr {
		n += attrSize + len(e.Attr[i].Key) + len(e.Attr[i].Value)
	}
	for _, t := range e.Child {
		switch c := t.(type) {
		case *etree.Element:
			n += size(c)
		case *etree.CharData:
			n += textSize + len(c.Data)
		}
	}
	return n
}

// Clone returns a deep copy.
func (m *Message) Clone() *Message {
	return &Message{root: m.root.Copy(), unsure: m.unsure, detail: m.detail, rules: m.rules, cause: m.cause}
}

// CrossRef returns the monitorCrossRefID, or "".
func (m *Message) CrossRef() string {
	if e := child(m.root, "monitorCrossRefID"); e != nil {
		return trim(e.Text())
	}
	return ""
}

// SetCrossRef replaces the monitorCrossRefID if there is one.
func (m *Message) SetCrossRef(id string) { m.SetText("monitorCrossRefID", id) }

// SetText replaces the text of the element at a path, if there is one.
func (m *Message) SetText(path, text string) {
	if e := m.at(path); e != nil {
		setText(e, text)
	}
}

// Text returns the text of the element at a path of local names, such as "monitorObject/deviceObject",
// without white space around it. It returns "" if there is no such element.
func (m *Message) Text(path string) string {
	if e := m.at(path); e != nil {
		return trim(e.Text())
	}
	return ""
}

// Default adds the element at a path, with a text, where the schema has the first name of the path, to a message of the standard
// that has no element of that name.
func (m *Message) Default(path, text string) {
	name, inner, _ := strings.Cut(path, "/")
	g := grammars()[m.root.Tag]
	if g == nil || m.Has(name) {
		return
	}
	own := g.find(name, -1)
	if own < 0 {
		return
	}
	before := len(m.root.Child)
	for i, t := range m.root.Child {
		if c, ok := t.(*etree.Element); ok {
			if at := g.find(c.Tag, -1); at < 0 || at > own {
				before = i
				break
			}
		}
	}
	e := etree.NewElement(name)
	e.Space = m.root.Space
	m.root.InsertChildAt(before, e)
	for inner != "" {
		name, inner, _ = strings.Cut(inner, "/")
		e = e.CreateElement(name)
		e.Space = m.root.Space
	}
	e.SetText(text)
}

// Remove removes the element at a path, if there is one.
func (m *Message) Remove(path string) {
	if e := m.at(path); e != nil {
		e.Parent().RemoveChild(e)
	}
}

// CopyExtensions replaces the extensions (security and private data) by those of another message.
func (m *Message) CopyExtensions(from *Message) {
	e := child(from.root, "extensions")
	if e == nil {
		return
	}
	m.root.AddChild(e.Copy())
}

// Has reports whether there is an element at a path of local names.
func (m *Message) Has(path string) bool { return m.at(path) != nil }

func (m *Message) at(path string) *etree.Element {
	e := m.root
	for path != "" && e != nil {
		var name string
		name, path, _ = strings.Cut(path, "/")
		e = child(e, name)
	}
	return e
}

// PrivateText returns the text of the first element with a local name within
// extensions/privateData/private, the place for vendors' data. It returns "" if there is none.
func (m *Message) PrivateText(local string) string {
	if e := m.at("extensions/privateData/private"); e != nil {
		if c := child(e, local); c != nil {
			return trim(c.Text())
		}
	}
	return ""
}

// child returns the first child with a local name, whatever its prefix.
func child(e *etree.Element, local string) *etree.Element {
	for _, t := range e.Child {
		if c, ok := t.(*etree.Element); ok && c.Tag == local {
			return c
		}
	}
	return nil
}

func setText(e *etree.Element, text string) {
	if len(e.Child) == 1 {
		if t, ok := e.Child[0].(*etree.CharData); ok && !t.IsCData() {
			t.Data = text
			return
		}
	}
	e.SetText(text)
}

// WithPrivate returns a copy of the message with one vendor element in extensions/privateData/private.
func (m *Message) WithPrivate(prefix, namespace, local, text string) *Message {
	copied := m.Clone()
	e := copied.root
	for _, name := range []string{"extensions", "privateData", "private"} {
		next := child(e, name)
		if next == nil {
			next = add(e, name)
			next.Space = e.Space
		}
		e = next
	}
	addText(e, local, text)
	vendor := e.Child[len(e.Child)-1].(*etree.Element)
	vendor.Space = prefix
	vendor.Attr = []etree.Attr{{Space: "xmlns", Key: prefix, Value: namespace}}
	return copied
}

// NewMessage returns a message that the standard does not define, made of names and texts.
func NewMessage(namespace, name string, fields ...string) *Message {
	root := etree.NewElement(name)
	root.CreateAttr("xmlns", namespace)
	for i := 0; i+1 < len(fields); i += 2 {
		addText(root, fields[i], fields[i+1])
	}
	return &Message{root: root}
}
