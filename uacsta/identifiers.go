package uacsta

import (
	_ "embed"
	"strings"
	"sync"

	"github.com/beevik/etree"
)

//go:embed identifiers.txt
var identifierTable string

// idNode says what a schema element holds: an identifier, or children that do.
type idNode struct {
	device     bool
	connection bool
	children   map[string]*idNode
}

// identifierNodes is the table by message name.
var identifierNodes = sync.OnceValue(func() map[string]*idNode { return parseIdentifiers(identifierTable) })

// Device is a device identifier at its place in a message.
type Device struct {
	InConnection bool // it is the device part of a connection identifier
	element      *etree.Element
}

// Path returns the local names from the root's child on, such as
// "heldCall/deviceID".
func (d Device) Path() string { return pathOf(d.element) }

func pathOf(e *etree.Element) string {
	path := e.Tag
	for p := e.Parent(); p != nil && p.Parent() != nil; p = p.Parent() {
		path = p.Tag + "/" + path
	}
	return path
}

// ID returns the identifier with the blanks around it taken off.
func (d Device) ID() string { return strings.TrimSpace(d.element.Text()) }

// SetID replaces the identifier; attributes stay.
func (d Device) SetID(id string) { setText(d.element, id) }

// SetType says what kind of number the identifier is, unless that is said already
// (ECMA-323 typeOfNumber).
func (d Device) SetType(kind string) {
	if d.element.SelectAttr("typeOfNumber") == nil {
		d.element.CreateAttr("typeOfNumber", kind)
	}
}

// Connection is a connection identifier at its place in a message. Either half
// may be missing (ECMA-323 ConnectionID).
type Connection struct {
	element *etree.Element
}

// Path is like that of [Device].
func (c Connection) Path() string { return pathOf(c.element) }

// CallID returns the call half, "" when it is missing or empty.
func (c Connection) CallID() string { return c.half("callID") }

// DeviceID returns the device half, "" when it is missing or empty.
func (c Connection) DeviceID() string { return c.half("deviceID") }

func (c Connection) half(name string) string {
	if e := child(c.element, name); e != nil {
		return strings.TrimSpace(e.Text())
	}
	return ""
}

// SetDeviceID replaces the device half, or adds it.
func (c Connection) SetDeviceID(id string) {
	e := child(c.element, "deviceID")
	if e == nil {
		e = &etree.Element{Space: c.element.Space, Tag: "deviceID"}
		c.element.AddChild(e)
	}
	setText(e, id)
}

// Devices returns every device identifier of the message in document order,
// found by the schema: the same element name can be a device, a connection or
// neither in different messages. Empty ones are left out.
func (m *Message) Devices() []Device {
	found, _ := m.identifiers()
	return found
}

// Connections returns every connection identifier of the message.
func (m *Message) Connections() []Connection {
	_, found := m.identifiers()
	return found
}

func (m *Message) identifiers() ([]Device, []Connection) {
	node := identifierNodes()[m.root.Tag]
	if node == nil {
		return nil, nil
	}
	w := idWalk{devices: make([]Device, 0, 8), connections: make([]Connection, 0, 4)}
	w.children(m.root, node, false)
	return w.devices, w.connections
}

type idWalk struct {
	devices     []Device
	connections []Connection
}

func (w *idWalk) children(e *etree.Element, node *idNode, inConnection bool) {
	for _, t := range e.Child {
		c, ok := t.(*etree.Element)
		if !ok {
			continue
		}
		n := node.children[c.Tag]
		if n == nil {
			continue
		}
		if n.connection {
			w.connections = append(w.connections, Connection{element: c})
		}
		if n.device && !hasElement(c) && strings.TrimSpace(c.Text()) != "" {
			w.devices = append(w.devices, Device{InConnection: inConnection, element: c})
			continue
		}
		w.children(c, n, n.connection)
	}
}

func hasElement(e *etree.Element) bool {
	for _, t := range e.Child {
		if _, ok := t.(*etree.Element); ok {
			return true
		}
	}
	return false
}

// parseIdentifiers reads the table; its notation is explained at its top.
func parseIdentifiers(table string) map[string]*idNode {
	messagePart, typePart, _ := strings.Cut(table[strings.Index(table, "\n\n")+2:], "\n\n")
	types := map[string]*idNode{}
	lines := func(part string, into func(name string) *idNode) {
		for line := range strings.Lines(part) {
			name, rest, ok := strings.Cut(strings.TrimSpace(line), " = ")
			if ok {
				(&idTable{types: types, text: rest}).list(into(name))
			}
		}
	}
	typeNode := func(name string) *idNode {
		if types[name] == nil {
			types[name] = &idNode{children: map[string]*idNode{}}
		}
		return types[name]
	}
	lines(typePart, typeNode)
	messages := map[string]*idNode{}
	lines(messagePart, func(name string) *idNode {
		messages[name] = &idNode{children: map[string]*idNode{}}
		return messages[name]
	})
	return messages
}

// idTable reads one line of the table from the left.
type idTable struct {
	types map[string]*idNode
	text  string
}

func (t *idTable) list(into *idNode) {
	for t.text != "" && t.text[0] != ']' {
		name, rest, _ := strings.Cut(t.text, ":")
		t.text = rest
		node := t.alternative()
		for strings.HasPrefix(t.text, "|") {
			t.text = t.text[1:]
			node = merge(node, t.alternative())
		}
		into.children[name] = node
		t.text = strings.TrimPrefix(t.text, " ")
	}
}

func (t *idTable) alternative() *idNode {
	if strings.HasPrefix(t.text, "[") {
		t.text = t.text[1:]
		node := &idNode{children: map[string]*idNode{}}
		t.list(node)
		t.text = strings.TrimPrefix(t.text, "]")
		return node
	}
	end := strings.IndexAny(t.text, " |]")
	if end < 0 {
		end = len(t.text)
	}
	word := t.text[:end]
	t.text = t.text[end:]
	device := &idNode{device: true}
	switch word {
	case "D":
		return device
	case "C":
		return &idNode{connection: true, children: map[string]*idNode{"deviceID": device}}
	case "E":
		return &idNode{children: map[string]*idNode{"deviceIdentifier": device}}
	case "R":
		return &idNode{children: map[string]*idNode{"numberDialed": device}}
	}
	if t.types[word] == nil {
		t.types[word] = &idNode{children: map[string]*idNode{}}
	}
	return t.types[word]
}

func merge(a, b *idNode) *idNode {
	m := &idNode{device: a.device || b.device, connection: a.connection || b.connection, children: map[string]*idNode{}}
	for _, n := range []*idNode{a, b} {
		for name, c := range n.children {
			m.children[name] = c
		}
	}
	return m
}
