package asn1

import (
	"reflect"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// numberForms are the tags of a DeviceID that is text, and the typeOfNumber of each in XML (ECMA-323).
var numberForms = map[int]string{0: "", 2: "implicitPublic", 4: "implicitPrivate"}

var (
	publicForms  = []string{"unknown", "international", "national", "networkspecific", "subscriber", "abbreviated"}
	privateForms = []string{"unknown", "level3RegionalNumber", "level2RegionalNumber", "level1RegionalNumber", "pTNSpecificNumber", "localNumber", "abbreviated"}
)

// putNumber writes the CHOICE of a DeviceID.
func putNumber(d uacsta.DeviceID) (*ber.Packet, error) {
	kind, form, _ := strings.Cut(d.Type(), ":")
	text, err := identifierText(d.ID)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "", "dialingNumber":
		return primitive(specific(0), text), nil
	case "deviceNumber":
		n, err := strconv.ParseInt(d.ID, 10, 32)
		if err != nil || strconv.FormatInt(n, 10) != d.ID { // not an INTEGER, or one with another spelling
			return primitive(specific(0), text), nil //nolint:nilerr // some device numbers are text
		}
		return retag(integer(int(n)), specific(1)), nil
	case "implicitPublic":
		return primitive(specific(2), text), nil
	case "implicitPrivate":
		return primitive(specific(4), text), nil
	case "explicitPublic":
		return putForm(3, publicForms, form, text), nil
	case "explicitPrivate":
		return putForm(5, privateForms, form, text), nil
	}
	return primitive(specific(6), text), nil
}

func putForm(outer int, forms []string, form string, text []byte) *ber.Packet {
	inner := 0
	for i, name := range forms {
		if name == form {
			inner = i
		}
	}
	return constructed(specific(outer), primitive(specific(inner), text))
}

func takeNumber(p *ber.Packet) (uacsta.DeviceID, error) {
	if p.ClassType != ber.ClassContext {
		return uacsta.DeviceID{}, mistyped("a device")
	}
	text := func(p *ber.Packet) (string, error) {
		data, err := content(p)
		return cleanText(data), err
	}
	switch p.Tag {
	case 0, 2, 4:
		id, err := text(p)
		return uacsta.Typed(id, numberForms[int(p.Tag)]), err
	case 1:
		n, err := number(p)
		return uacsta.Typed(strconv.Itoa(n), "deviceNumber"), err
	case 3, 5:
		kind, forms := "explicitPublic:", publicForms
		if p.Tag == 5 {
			kind, forms = "explicitPrivate:", privateForms
		}
		if len(p.Children) != 1 || p.Children[0].ClassType != ber.ClassContext || int(p.Children[0].Tag) >= len(forms) {
			return uacsta.DeviceID{}, mistyped("a kind of number")
		}
		id, err := text(p.Children[0])
		return uacsta.Typed(id, kind+forms[p.Children[0].Tag]), err
	case 6:
		id, err := text(p)
		return uacsta.Typed(id, "other"), err
	}
	return uacsta.DeviceID{}, mistyped("a device")
}

// numberTags returns the tags of the CHOICE in a DeviceID.
func numberTags() []tag {
	all := make([]tag, 7)
	for i := range all {
		all[i] = specific(i)
	}
	return all
}

// identifiers reads and writes the DeviceID of a phase.
type identifiers struct {
	device func(uacsta.DeviceID) (*ber.Packet, error)
	read   func(c *coder, p *ber.Packet) (uacsta.DeviceID, error)
	begins func() []tag
	wraps  bool // it is Phase III
}

// wrapped returns the identifiers of Phase III: a DeviceID is a SEQUENCE.
func wrapped() *identifiers {
	return &identifiers{
		device: func(d uacsta.DeviceID) (*ber.Packet, error) {
			p, err := putNumber(d)
			if err != nil {
				return nil, err
			}
			return sequence(p), nil
		},
		read: func(c *coder, p *ber.Packet) (uacsta.DeviceID, error) {
			if len(p.Children) == 0 {
				return uacsta.DeviceID{}, mistyped("a device")
			}
			for _, more := range p.Children[1:] {
				c.unknown = append(c.unknown, "in a device "+tagOf(more).String())
			}
			return takeNumber(p.Children[0])
		},
		begins: func() []tag { return []tag{universal(ber.TagSequence)} },
		wraps:  true,
	}
}

// plainly returns the identifiers of Phase I: a DeviceID is a CHOICE.
func plainly() *identifiers {
	return &identifiers{
		device: putNumber,
		read:   func(_ *coder, p *ber.Packet) (uacsta.DeviceID, error) { return takeNumber(p) },
		begins: numberTags,
	}
}

// device is a DeviceID.
type device struct{ ids *identifiers }

func (d device) tags() []tag { return d.ids.begins() }

func (d device) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	return d.ids.device(v.Interface().(uacsta.DeviceID))
}

func (d device) take(c *coder, p *ber.Packet, v reflect.Value) error {
	id, err := d.ids.read(c, p)
	v.Set(reflect.ValueOf(id))
	return err
}

// deviceInside is a DeviceID in place of a struct of XML that begins with one: a SubjectDeviceID or a
// RedirectionDeviceID.
type deviceInside struct{ device }

func (t deviceInside) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	return t.device.put(c, v.Field(0))
}

func (t deviceInside) take(c *coder, p *ber.Packet, v reflect.Value) error {
	v.SetZero()
	return t.device.take(c, p, v.Field(0))
}

// extended is a device of an event, such as a SubjectDeviceID.
type extended struct {
	ids *identifiers
	tag tag
}

func (x extended) tags() []tag { return []tag{x.tag} }

func (x extended) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	d := v.Interface().(uacsta.ExtendedDeviceID)
	switch {
	case d.Restricted:
		return constructed(x.tag, primitive(specific(8), nil)), nil
	case d.Device.ID == "":
		return constructed(x.tag, primitive(specific(7), nil)), nil
	}
	p, err := x.ids.device(c.expressible(d.Device))
	switch {
	case err != nil && c.lenient:
		return constructed(x.tag, primitive(specific(7), nil)), nil // the peer gets it as unknown
	case err != nil:
		return nil, err
	}
	return constructed(x.tag, p), nil
}

func (x extended) take(c *coder, p *ber.Packet, v reflect.Value) error {
	var d uacsta.ExtendedDeviceID
	if len(p.Children) != 1 {
		return mistyped("a device")
	}
	var err error
	switch p = p.Children[0]; tagOf(p) {
	case specific(7):
	case specific(8):
		d.Restricted = true
	default:
		d.Device, err = x.ids.read(c, p)
	}
	v.Set(reflect.ValueOf(d))
	return err
}

// expressible returns a device for programs of HiPath, which expect a number in each place of an event: it replaces
// characters that cannot be written by question marks. No device has such a number.
func (c *coder) expressible(d uacsta.DeviceID) uacsta.DeviceID {
	if _, err := identifierText(d.ID); err == nil || !c.exact {
		return d
	}
	text := cleanText([]byte(d.ID))
	return uacsta.Typed(strings.TrimSpace(text[:min(len(text), longestID)]), d.Type())
}

// redirection is a RedirectionDeviceID. Phase I has only the first two of others.
type redirection struct {
	ids    *identifiers
	others []string // the values from tag 7 on
}

func (redirection) tags() []tag { return []tag{application(4)} }

func (r redirection) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	d := v.Interface().(uacsta.RedirectionDeviceID)
	if c.exact { // programs for HiPath take no other value
		return constructed(application(4), primitive(specific(7), nil)), nil
	}
	if d.NumberDialed.ID != "" {
		p, err := r.ids.device(d.NumberDialed)
		switch {
		case err != nil && c.lenient:
			return constructed(application(4), primitive(specific(7), nil)), nil // the peer gets it as unknown
		case err != nil:
			return nil, err
		}
		return constructed(application(4), p), nil
	}
	other := d.Other
	if other == "" {
		other = "notRequired"
	}
	for i, name := range r.others {
		if name == other {
			return constructed(application(4), primitive(specific(7+i), nil)), nil
		}
	}
	return constructed(application(4), primitive(specific(7), nil)), nil
}

func (r redirection) take(c *coder, p *ber.Packet, v reflect.Value) error {
	if len(p.Children) != 1 {
		return mistyped("a device")
	}
	var d uacsta.RedirectionDeviceID
	var err error
	p = p.Children[0]
	if i := int(p.Tag) - 7; p.ClassType == ber.ClassContext && i >= 0 {
		if i >= len(r.others) {
			return mistyped("a device")
		}
		if d.Other = r.others[i]; d.Other == "notRequired" {
			d.Other = ""
		}
	} else {
		d.NumberDialed, err = r.ids.read(c, p)
	}
	v.Set(reflect.ValueOf(d))
	return err
}

// connection3 is a ConnectionID of Phase III.
type connection3 struct{ ids *identifiers }

func (connection3) tags() []tag { return []tag{application(11)} }

func (t connection3) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	id := v.Interface().(uacsta.ConnectionID)
	var call, dev *ber.Packet
	if id.CallID != "" {
		data, err := c.callIDs.octets(id.CallID)
		if err != nil {
			return nil, err
		}
		call = primitive(specific(0), data)
	}
	if id.DeviceID.ID != "" {
		var inner *ber.Packet
		var err error
		if id.DeviceID.Type() == uacsta.Dynamic {
			var data []byte
			data, err = identifierHex(id.DeviceID.ID)
			inner = primitive(specific(3), data)
		} else {
			inner, err = t.ids.device(c.expressible(id.DeviceID))
		}
		switch {
		case err == nil:
			dev = constructed(specific(1), inner)
		case !c.lenient || call == nil: // otherwise the call alone identifies the connection
			return nil, err
		}
	}
	switch {
	case call != nil && dev != nil:
		return constructed(application(11), sequence(call, dev)), nil
	case call != nil:
		return constructed(application(11), call), nil
	case dev != nil:
		return constructed(application(11), dev), nil
	}
	return nil, &inexpressible{"a connection without a call and a device"}
}

func (t connection3) take(c *coder, p *ber.Packet, v reflect.Value) error {
	children := p.Children
	if len(children) == 1 && tagOf(children[0]) == universal(ber.TagSequence) {
		children = children[0].Children
	}
	var id uacsta.ConnectionID
	for _, child := range children {
		switch {
		case tagOf(child) == specific(0):
			data, err := content(child)
			if err != nil {
				return err
			}
			id.CallID = c.callIDs.text(data)
		case tagOf(child) == specific(1) && len(child.Children) == 1 && tagOf(child.Children[0]) == specific(3):
			data, err := content(child.Children[0])
			if err != nil {
				return err
			}
			id.DeviceID = uacsta.Typed(toHex(data), uacsta.Dynamic)
		case tagOf(child) == specific(1) && len(child.Children) == 1:
			d, err := t.ids.read(c, child.Children[0])
			if err != nil {
				return err
			}
			id.DeviceID = d
		default:
			return mistyped("a connection")
		}
	}
	v.Set(reflect.ValueOf(id))
	return nil
}

// connection1 is a ConnectionID of Phase I.
type connection1 struct{}

func (connection1) tags() []tag { return []tag{application(11)} }

func (connection1) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	id := v.Interface().(uacsta.ConnectionID)
	whole := constructed(application(11))
	if id.CallID != "" {
		data, err := c.callIDs.octets(id.CallID)
		if err != nil {
			return nil, err
		}
		whole.AppendChild(primitive(specific(2), data))
	}
	if id.DeviceID.ID != "" {
		device := id.DeviceID.ID
		if id.DeviceID.Type() == uacsta.Dynamic { // Phase I has text only, which says so itself
			device = uacsta.Dynamic + ":" + device
		}
		text, err := identifierText(device)
		switch {
		case err == nil:
			whole.AppendChild(primitive(specific(0), text))
		case !c.lenient || id.CallID == "": // otherwise the call alone identifies the connection
			return nil, err
		}
	}
	if len(whole.Children) == 0 {
		return nil, &inexpressible{"a connection without a call and a device"}
	}
	return whole, nil
}

func (connection1) take(c *coder, p *ber.Packet, v reflect.Value) error {
	var id uacsta.ConnectionID
	for _, child := range p.Children {
		data, err := content(child)
		switch {
		case err != nil:
			return err
		case tagOf(child) == specific(2):
			id.CallID = c.callIDs.text(data)
		case tagOf(child) == specific(0):
			id.DeviceID = uacsta.Dev(cleanText(data))
		default:
			return mistyped("a connection")
		}
	}
	v.Set(reflect.ValueOf(id))
	return nil
}
