package uacsta

import (
	"bytes"
	"strings"

	"github.com/beevik/etree"
)

// Message is one CSTA-XML message as it travels: its tree, in the one form that
// every reader reads alike. Parse and Encode make nothing else, so that what is
// decided on, logged, carried out and passed on is the same. A Message is not safe
// for concurrent change; Clone it where two parts need their own.
type Message struct {
	root *etree.Element
}

// Kind says what a message is; its root's name decides (ECMA-323).
type Kind int

// The kinds of message.
const (
	Request   Kind = iota // everything that is none of the others
	Response              // ...Response, or ECMA-354's ...PosResponse and ...NegResponse
	Event                 // ...Event
	ErrorCode             // CSTAErrorCode, the negative answer
)

// NameCSTAErrorCode is the name of the negative answer, which no struct stands for.
const NameCSTAErrorCode = "CSTAErrorCode"

func (k Kind) String() string {
	return [...]string{"request", "response", "event", "error"}[k]
}

// Parse reads one document of at most [MaxSize] octets. Errors wrap one of the
// Err values of this package, or are an [*Unclear], and never quote the document.
func Parse(data []byte) (*Message, error) { return ParseWithin(data, MaxElements) }

// ParseWithin is Parse for a document of at most so many elements, of a peer that may not take
// much memory yet.
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

// Known reports whether the standard knows the message: others are passed on as
// they came, to those who are allowed to send them.
func (m *Message) Known() bool { return grammars()[m.root.Tag] != nil }

// Bytes writes the message as a UTF-8 document with an XML declaration.
func (m *Message) Bytes() []byte {
	var b bytes.Buffer
	b.Grow(2048)
	b.WriteString(xmlDeclaration)
	write(&b, m.root)
	return b.Bytes()
}

// String writes the message without an XML declaration, for people.
func (m *Message) String() string {
	var b bytes.Buffer
	write(&b, m.root)
	return b.String()
}

// Indented writes the message with each element on a line of its own, for people.
func (m *Message) Indented() string {
	doc := etree.NewDocumentWithRoot(m.root.Copy())
	doc.Indent(2)
	text, _ := doc.WriteToString() // a string takes everything
	return strings.TrimRight(text, "\n")
}

// Name returns the local name of the root element.
func (m *Message) Name() string { return m.root.Tag }

// Foreign reports whether the message is in a namespace of somebody else's: it is passed on
// in it.
func (m *Message) Foreign() bool {
	return !m.Known() && m.Namespace() != "" && m.Edition() == 0
}

// Kind tells requests, responses, events and errors apart.
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

// OneWay reports whether the message is a request that has no positive answer; it
// can still be refused.
func (m *Message) OneWay() bool {
	switch name := m.root.Tag; name {
	case "IORegisterAbort", "LocationSessionInfo": // which the table does not have
		return true
	default:
		return services[name].oneWay
	}
}

// Namespace returns the namespace of the root element, "" when it has none.
func (m *Message) Namespace() string { return namespaceOf(m.root) }

func namespaceOf(root *etree.Element) string {
	ns, _ := declares(root, root.Space)
	return ns
}

// Edition returns the edition of the message, 0 when its namespace names none.
func (m *Message) Edition() Edition { return EditionOf(m.Namespace()) }

// SetNamespace puts the message under another namespace, keeping its prefix.
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

// Size is about how many octets the message takes in memory: as a tree it takes many times as
// many as on a wire.
func (m *Message) Size() int { return size(m.root) }

// What the parts of a tree take, with their places in it, apart from their texts.
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

// Clone returns a copy that shares nothing with m.
func (m *Message) Clone() *Message { return &Message{root: m.root.Copy()} }

// CrossRef returns the monitorCrossRefID, "" when the message has none.
func (m *Message) CrossRef() string {
	if e := child(m.root, "monitorCrossRefID"); e != nil {
		return trim(e.Text())
	}
	return ""
}

// SetCrossRef changes the monitorCrossRefID of a message that has one.
func (m *Message) SetCrossRef(id string) { m.SetText("monitorCrossRefID", id) }

// SetText changes the text of the element that a path leads to, if there is one.
func (m *Message) SetText(path, text string) {
	if e := m.at(path); e != nil {
		setText(e, text)
	}
}

// Text returns the text of the element that a path of local names leads to, such
// as "monitorObject/deviceObject", with the blanks around it taken off; "" when
// there is none.
func (m *Message) Text(path string) string {
	if e := m.at(path); e != nil {
		return trim(e.Text())
	}
	return ""
}

// SetMonitorType gives a MonitorStart that names no type one.
func (m *Message) SetMonitorType(kind MonitorType) {
	if m.Has("monitorType") {
		return
	}
	after := m.at("requestedMonitorFilter")
	if after == nil {
		after = m.at("monitorObject")
	}
	if after == nil {
		return
	}
	e := etree.NewElement("monitorType")
	e.Space = after.Space
	e.SetText(string(kind))
	m.root.InsertChildAt(after.Index()+1, e)
}

// Remove takes the element that a path leads to out of the message, if there is one.
func (m *Message) Remove(path string) {
	if e := m.at(path); e != nil {
		e.Parent().RemoveChild(e)
	}
}

// CopyExtensions gives the message the extensions of another one: security and private
// data.
func (m *Message) CopyExtensions(from *Message) {
	e := child(from.root, "extensions")
	if e == nil {
		return
	}
	m.root.AddChild(e.Copy())
}

// Has reports whether a path of local names leads to an element.
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

// PrivateText returns the text of the first element with this local name inside
// extensions/privateData/private, where vendors keep what the standard does not
// say; "" when there is none.
func (m *Message) PrivateText(local string) string {
	if e := m.at("extensions/privateData/private"); e != nil {
		if c := child(e, local); c != nil {
			return trim(c.Text())
		}
	}
	return ""
}

// child finds the first child element by local name: prefixes vary.
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

// WithPrivate returns a copy of the message with one element of a vendor's in
// extensions/privateData/private.
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

// NewMessage makes a message that the standard does not know, of names and texts.
func NewMessage(namespace, name string, fields ...string) *Message {
	root := etree.NewElement(name)
	root.CreateAttr("xmlns", namespace)
	for i := 0; i+1 < len(fields); i += 2 {
		addText(root, fields[i], fields[i+1])
	}
	return &Message{root: root}
}
