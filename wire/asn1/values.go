package asn1

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// enumeration is an ENUMERATED with named values.
type enumeration struct {
	numbers map[string]int
	names   map[int]string
}

func (*enumeration) tags() []tag { return []tag{universal(ber.TagEnumerated)} }

func (e *enumeration) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	n, ok := e.numbers[v.String()]
	if !ok {
		return nil, &inexpressible{fmt.Sprintf("%q", v.String())}
	}
	return enumerated(n), nil
}

func (e *enumeration) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	n, err := number(p)
	if err != nil {
		return err
	}
	name, ok := e.names[n]
	if !ok {
		return fmt.Errorf("%w: %d", errNoName, n)
	}
	v.SetString(name)
	return nil
}

// errNoName is the error of a value that is newer than the table, or private.
var errNoName = fmt.Errorf("%w: unknown value", errMistyped)

// tagged is a type under an IMPLICIT tag.
type tagged struct {
	typ
	tag tag
}

func (t tagged) tags() []tag { return []tag{t.tag} }

func (t tagged) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	p, err := t.typ.put(c, v)
	if err != nil {
		return nil, err
	}
	return retag(p, t.tag), nil
}

// bits is a BIT STRING whose bits are fields of a struct, of type bool or *bool; "-": a bit without a field.
type bits []string

func (bits) tags() []tag { return []tag{universal(ber.TagBitString)} }

func (b bits) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	set := make([]bool, len(b))
	for i, name := range b {
		if at, ok := fields(v.Type())[name]; ok {
			f := reflect.Indirect(v.Field(at))
			set[i] = f.IsValid() && f.Bool()
		}
	}
	return bitString(set), nil
}

func (b bits) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	set, err := readBits(p)
	for i, name := range b {
		at, ok := fields(v.Type())[name]
		if !ok || i >= len(set) || !set[i] {
			continue
		}
		f := v.Field(at)
		if f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		f.SetBool(true)
	}
	return err
}

func bitString(set []bool) *ber.Packet {
	data := make([]byte, 1+(len(set)+7)/8)
	data[0] = byte(8*(len(data)-1) - len(set))
	for i, bit := range set {
		if bit {
			data[1+i/8] |= 0x80 >> (i % 8)
		}
	}
	return primitive(universal(ber.TagBitString), data)
}

func readBits(p *ber.Packet) ([]bool, error) {
	data, err := content(p)
	if err != nil || len(data) == 0 || data[0] > 7 || len(data) == 1 && data[0] > 0 || len(data) > 17 {
		return nil, mistyped("a BIT STRING")
	}
	set := make([]bool, 8*(len(data)-1)-int(data[0]))
	for i := range set {
		set[i] = data[1+i/8]&(0x80>>(i%8)) != 0
	}
	return set, nil
}

// basic returns the types that both phases have.
func basic() map[string]typ {
	return map[string]typ{
		"INTEGER": plain{
			ber.TagInteger, func(v reflect.Value) ([]byte, error) { return integer(int(v.Int())).Data.Bytes(), nil },
			func(p *ber.Packet, v reflect.Value) error {
				n, err := number(p)
				v.SetInt(int64(n))
				return err
			},
		},
		"BOOLEAN": plain{
			ber.TagBoolean, func(v reflect.Value) ([]byte, error) {
				if v.Kind() == reflect.Bool && v.Bool() {
					return []byte{0xFF}, nil
				}
				return []byte{0}, nil
			},
			func(p *ber.Packet, v reflect.Value) error {
				data, err := content(p)
				if err != nil || len(data) != 1 {
					return mistyped("a BOOLEAN")
				}
				v.SetBool(data[0] != 0)
				return nil
			},
		},
		"NULL": plain{
			ber.TagNULL, func(reflect.Value) ([]byte, error) { return nil, nil },
			func(_ *ber.Packet, v reflect.Value) error {
				v.SetBool(true)
				return nil
			},
		},
		"IA5String": ia5String{},
		"Name64":    ia5String{most: 64},
		"OCTETS":    plain{ber.TagOctetString, func(v reflect.Value) ([]byte, error) { return []byte(v.String()), nil }, takeText},
		"HEX":       hexString(MaxPDU),
		"HEX8":      hexString(8),
		"HEX16":     hexString(16),
		"Data": plain{
			ber.TagOctetString, func(v reflect.Value) ([]byte, error) { return dataOctets(v.Interface().(uacsta.Data)) },
			takeData,
		},
		"Time": plain{
			ber.TagGeneralizedTime, func(v reflect.Value) ([]byte, error) { return generalizedTime(v.String()) },
			func(p *ber.Packet, v reflect.Value) error {
				text, err := longTime(p)
				v.SetString(text)
				return err
			},
		},
		"CrossRef": crossRef{},
	}
}

// plain is a primitive type.
type plain struct {
	number ber.Tag
	write  func(reflect.Value) ([]byte, error)
	read   func(*ber.Packet, reflect.Value) error
}

func (t plain) tags() []tag { return []tag{universal(t.number)} }

func (t plain) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	data, err := t.write(v)
	return primitive(universal(t.number), data), err
}

func (t plain) take(_ *coder, p *ber.Packet, v reflect.Value) error { return t.read(p, v) }

func takeText(p *ber.Packet, v reflect.Value) error {
	data, err := content(p)
	v.SetString(cleanText(data))
	return err
}

// cleanText returns octets as text that XML can carry. It replaces characters that are not printable ASCII by question
// marks, and trims blanks, which have no meaning in XML.
func cleanText(data []byte) string {
	clean := make([]byte, len(data))
	for i, b := range data {
		if b < ' ' || b > '~' {
			b = '?'
		}
		clean[i] = b
	}
	return strings.TrimSpace(string(clean))
}

// ia5String is an IA5String. In an event or a result it has question marks in place of characters that it cannot hold; a
// request with such characters cannot be written, and neither can a text that is too long.
type ia5String struct{ most int } // characters; 0: any number

func (ia5String) tags() []tag { return []tag{universal(ber.TagIA5String)} }

func (t ia5String) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	text := strings.Map(func(r rune) rune {
		if r >= ' ' && r <= '~' || r == '\t' || r == '\n' || r == '\r' {
			return r
		}
		return '?'
	}, v.String())
	if text != v.String() && !c.lenient {
		return nil, &inexpressible{"text that is not ASCII"}
	}
	if t.most > 0 && len(text) > t.most {
		return nil, &inexpressible{fmt.Sprintf("text of more than %d characters", t.most)}
	}
	return primitive(universal(ber.TagIA5String), []byte(text)), nil
}

func (ia5String) take(_ *coder, p *ber.Packet, v reflect.Value) error { return takeText(p, v) }

// hexString returns the type of an OCTET STRING of at most so many octets, which XML has in hexadecimal digits.
func hexString(most int) plain {
	return plain{
		ber.TagOctetString, func(v reflect.Value) ([]byte, error) {
			data, err := fromHex(v.String())
			if err == nil && len(data) > most {
				err = &inexpressible{fmt.Sprintf("more than %d octets", most)}
			}
			return data, err
		},
		func(p *ber.Packet, v reflect.Value) error {
			data, err := content(p)
			v.SetString(toHex(data))
			return err
		},
	}
}

func toHex(data []byte) string { return strings.ToUpper(hex.EncodeToString(data)) }

func fromHex(text string) ([]byte, error) {
	data, err := hex.DecodeString(text)
	if err != nil {
		return nil, &inexpressible{"text that is not a hexadecimal number"}
	}
	return data, nil
}

func dataOctets(d uacsta.Data) ([]byte, error) {
	if !d.Private.IsZero() {
		return nil, &inexpressible{"private data that is XML"}
	}
	return fromHex(d.String)
}

func takeData(p *ber.Packet, v reflect.Value) error {
	data, err := content(p)
	v.Set(reflect.ValueOf(uacsta.Data{String: toHex(data)}))
	return err
}

// The forms of a time, by whether it has a zone. Each reads fractions of a second, too. A GeneralizedTime can have hours
// alone as its zone, and needs no seconds (X.680 46).
const (
	xmlTime     = "2006-01-02T15:04:05"
	xmlZone     = "Z07:00"
	generalTime = "20060102150405"
	generalZone = "Z0700"
	fraction    = ".999999999"
)

// readTime reads a time that has one of the forms, with one of the zones or without.
func readTime(text string, forms, zones []string) (at time.Time, zoned, ok bool) {
	for _, form := range forms {
		if at, err := time.Parse(form, text); err == nil {
			return at, false, at.Year() > 0
		}
		for _, zone := range zones {
			if at, err := time.Parse(form+zone, text); err == nil {
				_, offset := at.Zone()
				return at, true, at.Year() > 0 && -farthest <= offset && offset <= farthest
			}
		}
	}
	return time.Time{}, false, false
}

// farthest is the greatest offset of a zone in XML, in seconds.
const farthest = 14 * 3600

// generalizedTime returns a time of XML as a GeneralizedTime: without the separators.
func generalizedTime(text string) ([]byte, error) {
	at, zoned, ok := readTime(text, []string{xmlTime}, []string{xmlZone})
	if !ok || text[13] != ':' || strings.Contains(text, ",") { // Parse takes them, XML does not
		return nil, &inexpressible{"text that is not a time"}
	}
	form := generalTime + fraction
	if zoned {
		form += generalZone
	}
	return []byte(at.Format(form)), nil
}

// longTime returns a GeneralizedTime as a time of XML. Text that is not one is an errNoName: an event or a result without
// the time is better than none.
func longTime(p *ber.Packet) (string, error) {
	data, err := content(p)
	if err != nil {
		return "", err
	}
	at, zoned, ok := readTime(string(data), []string{generalTime, generalTime[:len("200601021504")]}, []string{generalZone, "Z07"})
	if !ok {
		return "", fmt.Errorf("%w: text that is not a time", errNoName)
	}
	form := xmlTime + fraction
	if zoned {
		form += xmlZone
	}
	return at.Format(form), nil
}

// crossRef is a MonitorCrossRefID, which XML has in hexadecimal digits.
type crossRef struct{}

func (crossRef) tags() []tag { return []tag{application(21)} }

func (crossRef) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	data, err := fromHex(v.String())
	return primitive(application(21), data), err
}

func (crossRef) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	data, err := content(p)
	v.SetString(toHex(data))
	return err
}

// filter is a MonitorFilter.
type filter struct{ groups []filterGroup }

func (*filter) tags() []tag { return []tag{universal(ber.TagSequence)} }

func (f *filter) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	wanted, _ := v.Interface().(uacsta.MonitorFilter)
	suppressed := wanted.Suppressed()
	whole := sequence()
	for i, g := range f.groups {
		var set []bool
		for at, name := range g.events {
			if name != "" && suppressed[name] {
				for len(set) <= at {
					set = append(set, false)
				}
				set[at] = true
				delete(suppressed, name)
			}
		}
		for c.filters != nil && len(set) < c.filters[i] {
			set = append(set, false)
		}
		if len(set) > 0 {
			whole.AppendChild(retag(bitString(set), specific(g.tag)))
		}
	}
	if c.filters != nil && len(f.groups) == 4 { // Phase I has a BOOLEAN for private events
		whole.AppendChild(retag(primitive(universal(ber.TagBoolean), []byte{0}), specific(4)))
	}
	for name := range suppressed {
		return nil, &inexpressible{"a filter of " + name}
	}
	return whole, nil
}

func (f *filter) take(_ *coder, p *ber.Packet, v reflect.Value) error {
	wanted := v.Addr().Interface().(*uacsta.MonitorFilter)
	for _, child := range p.Children {
		for _, g := range f.groups {
			if tagOf(child) != specific(g.tag) {
				continue
			}
			set, err := readBits(child)
			if err != nil {
				return err
			}
			for at, name := range g.events {
				if at < len(set) && set[at] && name != "" {
					wanted.Suppress(name)
				}
			}
		}
	}
	return nil
}
