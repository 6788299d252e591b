package asn1

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A typ says how the value of a field stands in BER.
type typ interface {
	// tags are those that a value of it may begin with.
	tags() []tag
	put(c *coder, v reflect.Value) (*ber.Packet, error)
	take(c *coder, p *ber.Packet, v reflect.Value) error
}

// coder is one message on its way into BER, or out of it.
type coder struct {
	callIDs callIDs
	lenient bool      // what is optional and cannot be said is left out: events and results
	exact   bool      // optional members are left out even where they can be said
	filters []int     // how many bits each group of a filter has at least; nil: as many as are set
	noted   time.Time // the time stamp of a message that has none; zero: it gets none
	unknown []string  // members that were read and are not known
}

// unsayable is a value that the phase has no word for.
type unsayable struct{ what string }

func (e *unsayable) Error() string { return e.what + " cannot be said" }

// put writes the members of a struct.
func (f *form) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	if f.bare {
		p, err := f.members[0].put(c, v)
		if err == nil && p == nil {
			err = &unsayable{f.members[0].name}
		}
		return p, err
	}
	p, err := putMembers(c, f.members, v)
	if err == nil && f.tag != nil {
		retag(p, *f.tag)
	}
	return p, err
}

// take reads the members of a struct.
func (f *form) take(c *coder, p *ber.Packet, v reflect.Value) error {
	children := []*ber.Packet{p}
	switch {
	case f.bare:
	case !holds(p), f.tag != nil && tagOf(p) != *f.tag, f.tag == nil && tagOf(p) != universal(ber.TagSequence):
		return mistyped("a SEQUENCE")
	default:
		children = p.Children
	}
	for name, standard := range f.unsaid {
		if standard != "" {
			field(v, name).SetString(standard)
		}
	}
	return takeMembers(c, f.members, children, v)
}

func putMembers(c *coder, members []member, v reflect.Value) (*ber.Packet, error) {
	whole := sequence()
	for i := range members {
		p, err := members[i].put(c, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", members[i].name, err)
		}
		if p != nil {
			whole.AppendChild(p)
		}
	}
	return whole, nil
}

// needed are the optional members that a message has even in its shortest form.
var needed = map[string]bool{"localConnectionInfo": true, "secondaryOldCall": true, "callingDevice": true, "calledDevice": true, "extensions": true}

// put writes one member; nil when it is left out.
func (m *member) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	if m.constant >= 0 {
		return enumerated(m.constant), nil
	}
	f := field(v, m.name)
	if m.name == "extensions" {
		f = c.stamped(f)
	}
	if m.optional && (f.IsZero() || c.exact && (c.noted.IsZero() || !needed[m.name])) {
		return nil, nil //nolint:nilnil // it is left out
	}
	if f.Kind() == reflect.Pointer && !f.IsNil() {
		f = f.Elem()
	}
	if f.IsZero() && m.standard != "" {
		f = m.standardOf(f)
	}
	p, err := m.typ.put(c, f)
	var un *unsayable
	switch {
	case errors.As(err, &un) && m.optional && c.lenient:
		return nil, nil //nolint:nilnil // it is left out
	case err != nil || p == nil:
		return nil, err
	case m.explicit:
		return constructed(*m.tag, p), nil
	case m.tag != nil:
		retag(p, *m.tag)
	}
	return p, nil
}

// standardOf is the standard value of a member that is not set.
func (m *member) standardOf(f reflect.Value) reflect.Value {
	if f.Kind() == reflect.String {
		return reflect.ValueOf(m.standard)
	}
	return reflect.ValueOf(m.standard == "true")
}

// fits reports whether an element may be the member.
func (m *member) fits(p *ber.Packet) bool {
	switch {
	case m.constant >= 0:
		return tagOf(p) == universal(ber.TagEnumerated)
	case m.tag != nil:
		return tagOf(p) == *m.tag
	}
	for _, t := range m.typ.tags() {
		if t == tagOf(p) {
			return true
		}
	}
	return false
}

func takeMembers(c *coder, members []member, children []*ber.Packet, v reflect.Value) error {
	next := 0
	for _, p := range children {
		at := next
		for at < len(members) && !members[at].fits(p) {
			at++
		}
		if at == len(members) { // newer than the table, or a private one
			c.unknown = append(c.unknown, tagOf(p).String())
			continue
		}
		if err := absent(members[next:at], v); err != nil {
			return err
		}
		next = at + 1
		if err := members[at].take(c, p, v); err != nil {
			return fmt.Errorf("%s: %w", members[at].name, err)
		}
	}
	return absent(members[next:], v)
}

// absent looks at members that are not there.
func absent(members []member, v reflect.Value) error {
	for i := range members {
		m := &members[i]
		switch {
		case m.constant >= 0 || m.optional && m.standard == "":
		case m.standard != "":
			if f := field(v, m.name); f.Kind() == reflect.String {
				f.SetString(m.standard)
			}
		default:
			return mistyped(m.name)
		}
	}
	return nil
}

func (m *member) take(c *coder, p *ber.Packet, v reflect.Value) error {
	if m.constant >= 0 {
		return nil
	}
	if m.explicit {
		if len(p.Children) != 1 {
			return mistyped("one element")
		}
		p = p.Children[0]
	}
	f := field(v, m.name)
	if f.Kind() == reflect.Pointer {
		f.Set(reflect.New(f.Type().Elem()))
		f = f.Elem()
	}
	return m.typ.take(c, p, f)
}

// seq is a SEQUENCE.
type seq struct{ members []member }

func (*seq) tags() []tag { return []tag{universal(ber.TagSequence)} }

func (s *seq) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	within := *c
	within.exact = false // which is about the members of messages
	return putMembers(&within, s.members, v)
}

func (s *seq) take(c *coder, p *ber.Packet, v reflect.Value) error {
	return takeMembers(c, s.members, p.Children, v)
}

// choice is a CHOICE whose alternatives are fields.
type choice struct{ members []member }

func (ch *choice) tags() []tag {
	var all []tag
	for i := range ch.members {
		if m := &ch.members[i]; m.tag != nil {
			all = append(all, *m.tag)
		} else {
			all = append(all, m.typ.tags()...)
		}
	}
	return all
}

func (ch *choice) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	for i := range ch.members {
		if !field(v, ch.members[i].name).IsZero() {
			return ch.members[i].put(c, v)
		}
	}
	return nil, &unsayable{v.Type().Name()}
}

func (ch *choice) take(c *coder, p *ber.Packet, v reflect.Value) error {
	for i := range ch.members {
		if ch.members[i].fits(p) {
			return ch.members[i].take(c, p, v)
		}
	}
	return mistyped(v.Type().Name())
}

// sequenceOf is a SEQUENCE OF.
type sequenceOf struct{ item typ }

func (*sequenceOf) tags() []tag { return []tag{universal(ber.TagSequence)} }

// items is the list: a slice, or the only field of a struct.
func items(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Struct {
		return v.Field(0)
	}
	return v
}

func (l *sequenceOf) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	whole := sequence()
	v = items(v)
	for i := range v.Len() {
		p, err := l.item.put(c, v.Index(i))
		if err != nil {
			return nil, err
		}
		whole.AppendChild(p)
	}
	return whole, nil
}

func (l *sequenceOf) take(c *coder, p *ber.Packet, v reflect.Value) error {
	v = items(v)
	for _, child := range p.Children {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := l.item.take(c, child, item); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
	}
	return nil
}

// enumeration is an ENUMERATED whose values have names.
type enumeration struct {
	numbers map[string]int
	names   map[int]string
}

func (*enumeration) tags() []tag { return []tag{universal(ber.TagEnumerated)} }

func (e *enumeration) put(_ *coder, v reflect.Value) (*ber.Packet, error) {
	n, ok := e.numbers[v.String()]
	if !ok {
		return nil, &unsayable{fmt.Sprintf("%q", v.String())}
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
		return fmt.Errorf("%w: %d is no value", errMistyped, n)
	}
	v.SetString(name)
	return nil
}

// tagged is a type with a tag of its own: IMPLICIT.
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

// bits is a BIT STRING whose bits are fields of a struct: *bool or bool; "-" has none.
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

// basic are the types that both phases have.
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
		"IA5String": plain{ber.TagIA5String, func(v reflect.Value) ([]byte, error) { return ia5(v.String()) }, takeText},
		"OCTETS":    plain{ber.TagOctetString, func(v reflect.Value) ([]byte, error) { return []byte(v.String()), nil }, takeText},
		"HEX": plain{
			ber.TagOctetString, func(v reflect.Value) ([]byte, error) { return fromHex(v.String()) },
			func(p *ber.Packet, v reflect.Value) error {
				data, err := content(p)
				v.SetString(toHex(data))
				return err
			},
		},
		"Data": plain{
			ber.TagOctetString, func(v reflect.Value) ([]byte, error) { return dataOctets(v.Interface().(uacsta.Data)) },
			takeData,
		},
		"Time": plain{
			ber.TagGeneralizedTime, func(v reflect.Value) ([]byte, error) { return []byte(compactTime(v.String())), nil },
			func(p *ber.Packet, v reflect.Value) error {
				data, err := content(p)
				v.SetString(longTime(string(data)))
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

// cleanText is octets as text that XML can carry: what is no printable ASCII becomes a
// question mark, and blanks around it, which mean nothing in XML, are taken off.
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

func ia5(text string) ([]byte, error) {
	for _, r := range text {
		if r >= 0x80 {
			return nil, &unsayable{"text that is not ASCII"}
		}
	}
	return []byte(text), nil
}

func toHex(data []byte) string { return strings.ToUpper(hex.EncodeToString(data)) }

func fromHex(text string) ([]byte, error) {
	data, err := hex.DecodeString(text)
	if err != nil {
		return nil, &unsayable{"what is no hexadecimal number"}
	}
	return data, nil
}

func dataOctets(d uacsta.Data) ([]byte, error) {
	if !d.Private.IsZero() {
		return nil, &unsayable{"private data that is XML"}
	}
	return fromHex(d.String)
}

func takeData(p *ber.Packet, v reflect.Value) error {
	data, err := content(p)
	v.Set(reflect.ValueOf(uacsta.Data{String: toHex(data)}))
	return err
}

// compactTime is an XML time as a GeneralizedTime: without the signs between.
func compactTime(text string) string {
	day, clock, _ := strings.Cut(text, "T")
	zone := ""
	if at := strings.IndexAny(clock, "+-Z"); at >= 0 {
		clock, zone = clock[:at], strings.ReplaceAll(clock[at:], ":", "")
	}
	return strings.ReplaceAll(day, "-", "") + strings.ReplaceAll(clock, ":", "") + zone
}

// longTime is a GeneralizedTime as an XML time; one that is too short to be one as it is.
func longTime(text string) string {
	if len(text) < 14 {
		return cleanText([]byte(text))
	}
	for i := range 14 {
		if _, err := strconv.Atoi(text[i : i+1]); err != nil {
			return cleanText([]byte(text))
		}
	}
	rest := cleanText([]byte(text[14:]))
	if at := strings.IndexAny(rest, "+-"); at >= 0 && len(rest) == at+5 {
		rest = rest[:at+3] + ":" + rest[at+3:]
	}
	return text[:4] + "-" + text[4:6] + "-" + text[6:8] + "T" + text[8:10] + ":" + text[10:12] + ":" + text[12:14] + rest
}

// crossRef is a MonitorCrossRefID: hexadecimal digits in XML.
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
	if c.filters != nil && len(f.groups) == 4 { // Phase I tells private events by a BOOLEAN
		whole.AppendChild(retag(primitive(universal(ber.TagBoolean), []byte{0}), specific(4)))
	}
	for name := range suppressed {
		return nil, &unsayable{"a filter of " + name}
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
