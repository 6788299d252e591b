package asn1

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// A typ reads and writes the value of a field in BER.
type typ interface {
	// tags returns the tags that a value may begin with.
	tags() []tag
	put(c *coder, v reflect.Value) (*ber.Packet, error)
	take(c *coder, p *ber.Packet, v reflect.Value) error
}

// coder is the state of reading or writing one message.
type coder struct {
	callIDs CallIDs
	lenient bool      // events and results: leave out optional members that cannot be written or read
	exact   bool      // leave out optional members, but for those that are needed
	filters []int     // how many bits each group of a filter has at least; nil: as many as are set
	noted   time.Time // the time stamp of a message without one; zero: none
	unknown []string  // members that the table does not have
}

// inexpressible is the error of a value that the phase cannot express.
type inexpressible struct{ what string }

func (e *inexpressible) Error() string { return e.what + " cannot be expressed" }

// put writes a struct by its form.
func (f *form) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	if f.bare {
		p, err := f.members[0].put(c, v)
		if err == nil && p == nil {
			err = &inexpressible{f.members[0].name}
		}
		return p, err
	}
	p, err := putMembers(c, f.members, v)
	if err == nil && f.tag != nil {
		retag(p, *f.tag)
	}
	return p, err
}

// take reads a struct by its form.
func (f *form) take(c *coder, p *ber.Packet, v reflect.Value) error {
	children := []*ber.Packet{p}
	switch {
	case f.bare:
	case !holds(p), f.tag != nil && tagOf(p) != *f.tag, f.tag == nil && tagOf(p) != universal(ber.TagSequence):
		return mistyped("a SEQUENCE")
	default:
		children = p.Children
	}
	for name, standard := range f.omitted {
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

// needed are the optional members that a program for HiPath expects in each event.
var needed = map[string]bool{"localConnectionInfo": true, "secondaryOldCall": true, "callingDevice": true, "calledDevice": true, "extensions": true}

// put writes a member; nil: it is left out.
func (m *member) put(c *coder, v reflect.Value) (*ber.Packet, error) {
	if m.constant >= 0 {
		return enumerated(m.constant), nil
	}
	f := field(v, m.name)
	if m.name == "extensions" {
		f = c.stamped(f)
	}
	if m.optional && (f.IsZero() || c.exact && (c.noted.IsZero() || !needed[m.name])) {
		return nil, nil //nolint:nilnil // left out
	}
	if f.Kind() == reflect.Pointer && !f.IsNil() {
		f = f.Elem()
	}
	if f.IsZero() && m.standard != "" {
		f = m.standardOf(f)
	}
	p, err := m.typ.put(c, f)
	var un *inexpressible
	switch {
	case errors.As(err, &un) && m.optional && c.lenient:
		return nil, nil //nolint:nilnil // left out
	case err != nil || p == nil:
		return nil, err
	case m.explicit:
		return constructed(*m.tag, p), nil
	case m.tag != nil:
		retag(p, *m.tag)
	}
	return p, nil
}

// standardOf returns the default value of a member that is not set.
func (m *member) standardOf(f reflect.Value) reflect.Value {
	if f.Kind() == reflect.String {
		return reflect.ValueOf(m.standard)
	}
	return reflect.ValueOf(m.standard == "true")
}

// fits reports whether an element can be the member.
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

// takeMembers reads the members of a SEQUENCE in their order.
func takeMembers(c *coder, members []member, children []*ber.Packet, v reflect.Value) error {
	next := 0
	for _, p := range children {
		at := next
		for at < len(members) && !members[at].fits(p) {
			at++
		}
		if at == len(members) { // newer than the table, or a private member
			c.unknown = append(c.unknown, tagOf(p).String())
			continue
		}
		if err := absent(c, members[next:at], v); err != nil {
			return err
		}
		next = at + 1
		err := members[at].take(c, p, v)
		if errors.Is(err, errNoName) && c.lenient && (members[at].optional || members[at].standard != "") {
			c.unknown = append(c.unknown, members[at].name+": "+err.Error())
			err = absent(c, members[at:next], v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", members[at].name, err)
		}
	}
	return absent(c, members[next:], v)
}

// absent sets the defaults of members that are missing. Of a missing member without one it returns an error, but for a
// device in an event or a result: that one is unknown.
func absent(c *coder, members []member, v reflect.Value) error {
	for i := range members {
		m := &members[i]
		switch {
		case m.constant >= 0 || m.optional && m.standard == "":
		case m.standard != "":
			if f := field(v, m.name); f.Kind() == reflect.String {
				f.SetString(m.standard)
			}
		case c.lenient && m.mayBeUnknown():
		default:
			return mistyped(m.name)
		}
	}
	return nil
}

// mayBeUnknown reports whether the member has a value for unknown.
func (m *member) mayBeUnknown() bool {
	switch m.typ.(type) {
	case extended, redirection:
		return true
	}
	return false
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
	within.exact = false // it applies to the members of messages
	return putMembers(&within, s.members, v)
}

func (s *seq) take(c *coder, p *ber.Packet, v reflect.Value) error {
	return takeMembers(c, s.members, p.Children, v)
}

// choice is a CHOICE whose alternatives are fields of a struct.
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
	return nil, &inexpressible{v.Type().Name()}
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

// items returns the slice of a list, which can be the only field of a struct.
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
