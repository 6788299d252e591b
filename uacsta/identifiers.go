package uacsta

import (
	"strings"

	"slices"

	"github.com/beevik/etree"
)

// Device is a device identifier in a message.
type Device struct {
	InConnection bool // it is the device part of a connection identifier
	element      *etree.Element
}

// Path returns the local names below the root, such as "heldCall/deviceID".
func (d Device) Path() string { return pathOf(d.element) }

func pathOf(e *etree.Element) string {
	path := e.Tag
	for p := e.Parent(); p != nil && p.Parent() != nil; p = p.Parent() {
		path = p.Tag + "/" + path
	}
	return path
}

// ID returns the identifier without white space around it.
func (d Device) ID() string { return trim(d.element.Text()) }

// SetID replaces the identifier and keeps its attributes.
func (d Device) SetID(id string) { setText(d.element, id) }

// Type returns the typeOfNumber of the identifier, or "" (ECMA-323).
func (d Device) Type() string {
	if i := d.typeAt(); i >= 0 {
		return d.element.Attr[i].Value
	}
	return ""
}

// typeAt returns the index of typeOfNumber among the attributes, or -1. An attribute with a prefix is
// a vendor's and does not count.
func (d Device) typeAt() int {
	return slices.IndexFunc(d.element.Attr, func(a etree.Attr) bool { return a.Space == "" && a.Key == typeOfNumber })
}

// Set replaces the identifier and its typeOfNumber, "" for none. It keeps other attributes.
func (d Device) Set(id, kind string) {
	setText(d.element, id)
	if i := d.typeAt(); i >= 0 {
		d.element.Attr = slices.Delete(d.element.Attr, i, i+1)
	}
	d.SetType(kind)
}

// SetType sets the typeOfNumber of an identifier that has none (ECMA-323); "" does nothing.
func (d Device) SetType(kind string) {
	if kind != "" && d.typeAt() < 0 {
		d.element.Attr = append(d.element.Attr, etree.Attr{Key: typeOfNumber, Value: kind})
	}
}

// CallID returns the call half of the connection identifier that the device is in, or "".
func (d Device) CallID() string {
	if !d.InConnection {
		return ""
	}
	return Connection{element: d.element.Parent()}.CallID()
}

// Connection is a connection identifier in a message. Either half may be missing (ECMA-323
// ConnectionID).
type Connection struct {
	element *etree.Element
}

// Path is like [Device.Path].
func (c Connection) Path() string { return pathOf(c.element) }

// Name returns the local name of the element.
func (c Connection) Name() string { return c.element.Tag }

// CallID returns the call half, or "".
func (c Connection) CallID() string { return c.half("callID") }

// DeviceID returns the device half, or "".
func (c Connection) DeviceID() string { return c.half("deviceID") }

// DeviceType returns the typeOfNumber of the device half, or "" (ECMA-323).
func (c Connection) DeviceType() string {
	if e := child(c.element, "deviceID"); e != nil {
		return Device{element: e}.Type()
	}
	return ""
}

// Beside returns the text at a path that starts at the parent of the connection, as [Message.Text]
// does from the root.
func (c Connection) Beside(path string) string {
	e := c.element.Parent()
	for name := range strings.SplitSeq(path, "/") {
		if e = child(e, name); e == nil {
			return ""
		}
	}
	return trim(e.Text())
}

func (c Connection) half(name string) string {
	if e := child(c.element, name); e != nil {
		return trim(e.Text())
	}
	return ""
}

// SetCallID replaces the call half or adds it.
func (c Connection) SetCallID(id string) {
	e := child(c.element, "callID")
	if e == nil {
		e = &etree.Element{Space: c.element.Space, Tag: "callID"}
		c.element.InsertChildAt(0, e)
	}
	setText(e, id)
}

// SetDeviceID replaces the device half or adds it. It removes its typeOfNumber.
func (c Connection) SetDeviceID(id string) {
	e := child(c.element, "deviceID")
	if e == nil {
		e = &etree.Element{Space: c.element.Space, Tag: "deviceID"}
		c.element.AddChild(e)
	}
	Device{element: e}.Set(id, "")
}

// Devices returns the device identifiers of the message in document order, without empty ones. It
// finds them by the schema, because an element name can be a device, a connection or neither in
// different messages.
func (m *Message) Devices() []Device {
	found, _ := m.identifiers()
	return found
}

// Connections returns the connection identifiers of the message in document order.
func (m *Message) Connections() []Connection {
	_, found := m.identifiers()
	return found
}

func (m *Message) identifiers() ([]Device, []Connection) {
	g := grammars()[m.root.Tag]
	if g == nil || !g.identifies {
		return nil, nil
	}
	w := idWalk{devices: make([]Device, 0, 8), connections: make([]Connection, 0, 4)}
	w.children(m.root, g)
	return w.devices, w.connections
}

type idWalk struct {
	devices     []Device
	connections []Connection
}

func (w *idWalk) children(e *etree.Element, g *grammar) {
	last := -1
	for _, t := range e.Child {
		c, ok := t.(*etree.Element)
		if !ok {
			continue
		}
		i := g.find(c.Tag, last)
		if i < 0 {
			continue
		}
		last = i
		member := g.members[i].content
		if !member.identifies {
			continue
		}
		if member.connection {
			w.connections = append(w.connections, Connection{element: c})
		}
		switch {
		case member.shape == shapeDevice, member.shape == shapeDestinations && !hasElement(c):
			if len(c.Child) > 0 {
				w.devices = append(w.devices, Device{InConnection: g.connection, element: c})
			}
		case member.shape == shapeDestinations:
			w.children(c, destinationList)
		default:
			w.children(c, member)
		}
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
