package asn1

import (
	"errors"
	"reflect"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// phase3 is CSTA Phase III (ECMA-285).
var phase3 = read(phase3Text, phase3Types())

func phase3Types() map[string]typ {
	types, ids := basic(), wrapped()
	for i, name := range []string{"Calling", "Called", "Subject", "", "AssociatedCalling", "AssociatedCalled", "NetworkCalling", "NetworkCalled"} {
		if name != "" {
			types[name] = extended{ids, application(i + 1)}
		}
	}
	types["Device"] = device{ids}
	types["Redirection"] = redirection{ids, []string{"notKnown", "notRequired", "notSpecified", "restricted"}}
	types["Connection"] = connection3{ids}
	types["Object"] = object{ids}
	types["End"] = end{ids}
	types["OldDevice"] = deviceInside{device{ids}}
	types["UserData"] = userData{}
	types["Extensions"] = extensions{}
	return types
}

// object is a CSTAObject. In Phase I it is a device.
type object struct{ ids *identifiers }

func (o object) tags() []tag {
	all := o.ids.begins()
	if o.ids.wraps {
		all = append(all, application(11))
	}
	return all
}

func (o object) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	m := v.Interface().(uacsta.MonitorObject)
	switch {
	case m.DeviceObject != nil:
		return o.ids.device(*m.DeviceObject)
	case m.CallObject != nil && o.ids.wraps:
		return connection3(o).put(c, reflect.ValueOf(*m.CallObject))
	}
	return nil, &inexpressible{"a monitor on a call"}
}

func (o object) take(c *coder, p *ber.Packet, v reflect.Value) error {
	var m uacsta.MonitorObject
	if tagOf(p) == application(11) {
		m.CallObject = &uacsta.ConnectionID{}
		if err := connection3(o).take(c, p, reflect.ValueOf(m.CallObject).Elem()); err != nil {
			return err
		}
		v.Set(reflect.ValueOf(m))
		return nil
	}
	d, err := o.ids.read(c, p)
	m.DeviceObject = &d
	v.Set(reflect.ValueOf(m))
	return err
}

// end is the endpoint of a connection in a list.
type end struct{ ids *identifiers }

func (end) tags() []tag {
	return []tag{universal(ber.TagSequence), universal(ber.TagNULL), specific(1)}
}

func (t end) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	e := v.Interface().(uacsta.ConnectionListEnd)
	switch {
	case e.Restricted:
		return primitive(specific(1), nil), nil
	case e.DeviceID.ID == "":
		return null(), nil
	}
	return t.ids.device(e.DeviceID)
}

func (t end) take(c *coder, p *ber.Packet, v reflect.Value) error {
	if tagOf(p) != universal(ber.TagSequence) { // notKnown or restricted
		v.Set(reflect.ValueOf(uacsta.ConnectionListEnd{Restricted: tagOf(p) == specific(1)}))
		return nil
	}
	d, err := t.ids.read(c, p)
	v.Set(reflect.ValueOf(uacsta.ConnectionListEnd{DeviceID: d}))
	return err
}

// onlyOne is a list of which ASN.1 has one item.
type onlyOne struct{ typ }

func (d onlyOne) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	if v.Len() != 1 {
		return nil, &inexpressible{"a list of more or less than one"}
	}
	return d.typ.put(c, v.Index(0))
}

func (d onlyOne) take(c *coder, p *ber.Packet, v reflect.Value) error {
	v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	return d.typ.take(c, p, v.Index(0))
}

// userData is UserData: [APPLICATION 29] OCTET STRING, tagged EXPLICIT.
type userData struct{}

func (userData) tags() []tag { return []tag{application(29)} }

func (userData) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	data, err := dataOctets(v.Interface().(uacsta.Data))
	return constructed(application(29), octets(data)), err
}

func (userData) take(_ *coder, p *ber.Packet, v reflect.Value) error { return takeData(p, v) }

// extensions is CSTACommonArguments: [APPLICATION 30] { [0] security, [1] privateData }.
type extensions struct{}

func (extensions) tags() []tag { return []tag{application(30)} }

func (extensions) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	a, err := v.Interface().(uacsta.Raw).Arguments()
	if err != nil {
		return nil, err
	}
	whole := constructed(application(30))
	if s := a.Security; s != nil {
		security := constructed(specific(0))
		if s.MessageSequenceNumber != nil {
			security.AppendChild(retag(integer(*s.MessageSequenceNumber), specific(0)))
		}
		if s.TimeStamp != "" {
			stamp, err := generalizedTime(s.TimeStamp)
			switch {
			case err == nil:
				security.AppendChild(primitive(universal(ber.TagGeneralizedTime), stamp))
			case !c.lenient:
				return nil, err
			}
		}
		whole.AppendChild(security)
	}
	private := constructed(specific(1))
	for _, d := range a.PrivateData {
		data, err := dataOctets(d)
		if err != nil {
			return nil, err
		}
		private.AppendChild(octets(data))
	}
	if len(private.Children) > 0 {
		whole.AppendChild(private)
	}
	return whole, nil
}

func (extensions) take(c *coder, p *ber.Packet, v reflect.Value) error {
	var a uacsta.Arguments
	for _, child := range p.Children {
		switch tagOf(child) {
		case specific(0):
			a.Security = &uacsta.SecurityData{}
			for _, part := range child.Children {
				switch tagOf(part) {
				case specific(0):
					n, err := number(part)
					if err != nil {
						return err
					}
					a.Security.MessageSequenceNumber = &n
				case universal(ber.TagGeneralizedTime):
					var err error
					a.Security.TimeStamp, err = longTime(part)
					switch {
					case errors.Is(err, errNoName) && c.lenient:
						c.unknown = append(c.unknown, "in security "+err.Error())
					case err != nil:
						return err
					}
				default:
					c.unknown = append(c.unknown, "in security "+tagOf(part).String())
				}
			}
		case specific(1):
			for _, part := range child.Children { // of any type: the BER of an element that is not a string is kept
				data, err := content(part)
				if err != nil || tagOf(part) != universal(ber.TagOctetString) {
					data = part.Bytes()
				}
				a.PrivateData = append(a.PrivateData, uacsta.Data{String: toHex(data)})
			}
		default:
			c.unknown = append(c.unknown, "in extensions "+tagOf(child).String())
		}
	}
	v.Set(reflect.ValueOf(a.Extensions()))
	return nil
}

// stamped returns extensions with a time stamp and nothing else if the flavour needs one: the one that they have, or the time
// of the message.
func (c *coder) stamped(v reflect.Value) reflect.Value {
	if c.noted.IsZero() {
		return v
	}
	stamp := c.noted.Format(xmlTime)
	if a, err := v.Interface().(uacsta.Raw).Arguments(); err == nil && a.Security != nil {
		if _, err := generalizedTime(a.Security.TimeStamp); err == nil {
			stamp = a.Security.TimeStamp
		}
	}
	a := uacsta.Arguments{Security: &uacsta.SecurityData{TimeStamp: stamp}}
	return reflect.ValueOf(a.Extensions())
}
