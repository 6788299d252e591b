package uacsta

import (
	"reflect"
	"strings"

	"github.com/beevik/etree"
)

// Common is embedded in every message struct. It holds the end of each message, and the elements that
// this package does not define.
type Common struct {
	Unknown    []Raw // children of unknown names; written before Extensions
	Extensions Raw   // security and private data (ECMA-323 CSTACommonArguments)
}

func (c *Common) common() *Common { return c }

// Raw is an element that is kept unread and unchanged. The zero value is an absent element.
type Raw struct{ element *etree.Element }

// IsZero reports whether the element is absent.
func (r Raw) IsZero() bool { return r.element == nil }

// Name returns the name of the element, or "" if it is absent.
func (r Raw) Name() string {
	if r.element == nil {
		return ""
	}
	return r.element.Tag
}

// Arguments is the content of a message's extensions (ECMA-323 CSTACommonArguments).
type Arguments struct {
	Security    *SecurityData `csta:"security"`
	PrivateData []Data        `csta:"privateData,items"`
}

// Arguments decodes extensions.
func (r Raw) Arguments() (Arguments, error) {
	var a Arguments
	if r.element == nil {
		return a, nil
	}
	_, err := decodeStruct(r.element, reflect.ValueOf(&a).Elem())
	return a, err
}

// Extensions encodes extensions, which are absent if there is nothing in them.
func (a Arguments) Extensions() Raw {
	if a.Security == nil && len(a.PrivateData) == 0 {
		return Raw{}
	}
	e := &etree.Element{Tag: "extensions"}
	encodeStruct(e, reflect.ValueOf(a), Edition3)
	return Raw{e}
}

// DeviceID is a device identifier: text, and attributes, which are kept (ECMA-323 DeviceID,
// LocalDeviceID).
type DeviceID struct {
	ID         string
	attributes []etree.Attr
}

// Dev returns a device identifier without attributes.
func Dev(id string) DeviceID { return DeviceID{ID: id} }

// Typed returns a device identifier with a typeOfNumber, "" for none (ECMA-323 DeviceID).
func Typed(id, kind string) DeviceID {
	if kind == "" {
		return Dev(id)
	}
	return DeviceID{ID: id, attributes: []etree.Attr{{Key: typeOfNumber, Value: kind}}}
}

const typeOfNumber = "typeOfNumber"

// Dynamic is the typeOfNumber of a device identifier in hexadecimal digits that is valid in its call only (ECMA-323
// LocalDeviceID).
const Dynamic = "dynamic"

// Type returns the typeOfNumber, or "".
func (d DeviceID) Type() string {
	for _, a := range d.attributes {
		if a.Key == typeOfNumber {
			return a.Value
		}
	}
	return ""
}

// ConnectionID identifies a connection: one device in one call. Either half may be empty (ECMA-323
// ConnectionID).
type ConnectionID struct {
	CallID   string
	DeviceID DeviceID
}

// Conn returns a connection identifier with a device identifier without attributes.
func Conn(callID, deviceID string) ConnectionID {
	return ConnectionID{CallID: callID, DeviceID: Dev(deviceID)}
}

// ExtendedDeviceID is a device in an event: an identifier, or one of two reasons why there is none
// (ECMA-323 SubjectDeviceID, CallingDeviceID, CalledDeviceID and similar). The zero value is notKnown.
type ExtendedDeviceID struct {
	Device     DeviceID
	Restricted bool
}

// Ext returns a device of an event; notKnown if id is empty.
func Ext(id string) ExtendedDeviceID { return ExtendedDeviceID{Device: Dev(id)} }

// IsZero reports whether the device is notKnown.
func (x ExtendedDeviceID) IsZero() bool { return x.Device.ID == "" && !x.Restricted }

// RedirectionDeviceID is the device that last redirected a call (ECMA-323 RedirectionDeviceID). The
// zero value is notRequired: the call was not redirected.
type RedirectionDeviceID struct {
	NumberDialed DeviceID
	Other        string // notKnown, notSpecified or restricted, if NumberDialed is empty
}

// IsZero reports whether the call was not redirected.
func (r RedirectionDeviceID) IsZero() bool { return r.NumberDialed.ID == "" && r.Other == "" }

// ConnectionListEnd is the device at the end of a listed connection, or its trunk, which is never restricted. The zero
// value is notKnown.
type ConnectionListEnd struct {
	DeviceID   DeviceID
	Restricted bool
}

// MonitorObject is what a monitor is on: one of the two (ECMA-323).
type MonitorObject struct {
	CallObject   *ConnectionID `csta:"callObject,choice"`
	DeviceObject *DeviceID     `csta:"deviceObject,choice"`
}

// Data is data whose form CSTA does not define: correlator, user or private data. One of the fields is
// set, or none if the data are absent (ECMA-323 CorrelatorData, UserData, CSTAPrivateData).
type Data struct {
	String  string // octets as hexadecimal digits
	Private Raw    // the element private with its content
}

// IsZero reports whether the data are absent.
func (d Data) IsZero() bool { return d.String == "" && d.Private.IsZero() }

// Empty is an element without content whose presence is the value.
type Empty bool

// The types below encode themselves: they are choices, not sequences.

func (d DeviceID) encode(e *etree.Element) {
	e.Attr = append(e.Attr, d.attributes...)
	if d.ID != "" {
		e.AddChild(etree.NewText(d.ID))
	}
}

func (d *DeviceID) decode(e *etree.Element) error {
	d.ID = trim(e.Text())
	for _, a := range e.Attr {
		if a.Space == "" && a.Key != "xmlns" {
			d.attributes = append(d.attributes, etree.Attr{Key: a.Key, Value: a.Value})
		}
	}
	return nil
}

func (c ConnectionID) encode(e *etree.Element) {
	if c.CallID != "" {
		addText(e, "callID", c.CallID)
	}
	if c.DeviceID.ID != "" || c.CallID == "" {
		c.DeviceID.encode(add(e, "deviceID"))
	}
}

func (c *ConnectionID) decode(e *etree.Element) error {
	if call := child(e, "callID"); call != nil {
		c.CallID = trim(call.Text())
	}
	if dev := child(e, "deviceID"); dev != nil {
		if err := c.DeviceID.decode(dev); err != nil {
			return err
		}
	}
	if c.CallID == "" && c.DeviceID.ID == "" {
		return missing(e.Tag)
	}
	return nil
}

func (x ExtendedDeviceID) encode(e *etree.Element) {
	switch {
	case x.Restricted:
		add(e, "restricted")
	case x.Device.ID == "":
		add(e, "notKnown")
	default:
		x.Device.encode(add(e, "deviceIdentifier"))
	}
}

func (x *ExtendedDeviceID) decode(e *etree.Element) error {
	x.Restricted = child(e, "restricted") != nil
	if dev := child(e, "deviceIdentifier"); dev != nil {
		return x.Device.decode(dev)
	}
	return nil
}

func (r RedirectionDeviceID) encode(e *etree.Element) {
	switch {
	case r.NumberDialed.ID != "":
		r.NumberDialed.encode(add(e, "numberDialed"))
	case r.Other != "":
		add(e, r.Other)
	default:
		add(e, "notRequired")
	}
}

func (r *RedirectionDeviceID) decode(e *etree.Element) error {
	if dev := child(e, "numberDialed"); dev != nil {
		return r.NumberDialed.decode(dev)
	}
	for _, name := range []string{"notKnown", "notSpecified", "restricted"} {
		if child(e, name) != nil {
			r.Other = name
		}
	}
	return nil
}

func (d Data) encode(e *etree.Element) {
	if d.Private.IsZero() {
		addText(e, "string", d.String)
		return
	}
	e.AddChild(d.Private.element.Copy())
}

func (d *Data) decode(e *etree.Element) error { //nolint:unparam // elementDecoder
	if c := child(e, "private"); c != nil {
		d.Private = Raw{c}
	} else if c := child(e, "string"); c != nil {
		d.String = strings.Join(strings.Fields(c.Text()), "") // some peers break the lines
	}
	return nil
}

func (Empty) encode(*etree.Element) {}

func (x *Empty) decode(*etree.Element) error {
	*x = true
	return nil
}

func (c ConnectionListEnd) encode(e *etree.Element) {
	switch {
	case c.Restricted:
		add(e, "restricted")
	case c.DeviceID.ID == "":
		add(e, "notKnown")
	default:
		c.DeviceID.encode(add(e, "deviceID"))
	}
}

func (c *ConnectionListEnd) decode(e *etree.Element) error {
	c.Restricted = child(e, "restricted") != nil
	if dev := child(e, "deviceID"); dev != nil {
		return c.DeviceID.decode(dev)
	}
	return nil
}

func add(parent *etree.Element, name string) *etree.Element {
	e := &etree.Element{Tag: name}
	parent.AddChild(e)
	return e
}

func addText(parent *etree.Element, name, text string) {
	e := add(parent, name)
	if text != "" {
		e.AddChild(etree.NewText(text))
	}
}
