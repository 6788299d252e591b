package asn1

import (
	"bytes"
	"errors"
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// The limits of a PDU. They are checked before anything is allocated.
const (
	MaxPDU      = 32767 // octets: the longest PDU that a frame of Phase III can hold
	MaxElements = 4096
	maxDepth    = 32
)

// The faults of octets that are not a PDU.
var (
	ErrTooLong  = errors.New("the PDU is longer than 32767 octets")
	ErrTooDeep  = errors.New("the PDU is nested too deeply")
	ErrTooMany  = errors.New("the PDU has too many elements")
	ErrTooShort = errors.New("the PDU ends too early")
	ErrMore     = errors.New("octets follow the PDU")
	ErrBER      = errors.New("the PDU is not BER")
)

// parse reads one element, which must be all of data. It takes lengths of all forms.
//
// The BER library only writes elements. Its reader refuses times without a zone and texts that are not ASCII, which peers
// send, and copies nested elements once for each level.
func parse(data []byte) (*ber.Packet, error) { return parseWithin(data, MaxElements) }

// parseWithin is parse for at most so many elements.
func parseWithin(data []byte, elements int) (*ber.Packet, error) {
	if len(data) > MaxPDU {
		return nil, ErrTooLong
	}
	r := reader{data: data, left: elements}
	p, err := r.element(0)
	if err == nil && r.at != len(data) {
		err = ErrMore
	}
	return p, err
}

// reader reads elements from data.
type reader struct {
	data []byte
	at   int // octets that were read
	left int // elements that may follow
}

func (r *reader) octet() (byte, error) {
	if r.at >= len(r.data) {
		return 0, ErrTooShort
	}
	r.at++
	return r.data[r.at-1], nil
}

// element reads one element (X.690 8.1).
func (r *reader) element(depth int) (*ber.Packet, error) {
	if depth >= maxDepth {
		return nil, ErrTooDeep
	}
	if r.left--; r.left < 0 {
		return nil, ErrTooMany
	}
	p := &ber.Packet{}
	if err := r.identifier(p); err != nil {
		return nil, err
	}
	length, err := r.length()
	begin, end := r.at, r.at+length
	switch {
	case err != nil:
		return nil, err
	case length < 0 && !holds(p):
		return nil, ErrBER
	case length < 0:
		end, err = r.indefinite(p, depth)
	case length > len(r.data)-r.at:
		return nil, ErrTooShort
	case !holds(p):
		r.at = end
	default:
		for r.at < end && err == nil {
			err = r.child(p, depth)
		}
		if err == nil && r.at != end {
			err = ErrBER
		}
	}
	if err != nil {
		return nil, err
	}
	p.Data = bytes.NewBuffer(r.data[begin:end:end])
	return p, nil
}

// identifier reads class and tag (X.690 8.1.2).
func (r *reader) identifier(p *ber.Packet) error {
	first, err := r.octet()
	if err != nil {
		return err
	}
	p.ClassType, p.TagType, p.Tag = ber.Class(first&0xC0), ber.Type(first&0x20), ber.Tag(first&0x1F)
	if p.Tag < 0x1F {
		return nil
	}
	p.Tag = 0
	for more := true; more; {
		next, err := r.octet()
		if err != nil {
			return err
		}
		if p.Tag = p.Tag<<7 | ber.Tag(next&0x7F); p.Tag > 1<<20 {
			return ErrBER
		}
		more = next&0x80 != 0
	}
	return nil
}

func (r *reader) child(p *ber.Packet, depth int) error {
	child, err := r.element(depth + 1)
	if err == nil {
		p.Children = append(p.Children, child)
	}
	return err
}

// indefinite reads children up to the end-of-contents octets, and returns their offset.
func (r *reader) indefinite(p *ber.Packet, depth int) (int, error) {
	for {
		if r.at+1 < len(r.data) && r.data[r.at] == 0 && r.data[r.at+1] == 0 {
			r.at += 2
			return r.at - 2, nil
		}
		if err := r.child(p, depth); err != nil {
			return 0, err
		}
	}
}

// length reads a length; -1: the indefinite form.
func (r *reader) length() (int, error) {
	first, err := r.octet()
	switch {
	case err != nil:
		return 0, err
	case first == 0x80:
		return -1, nil
	case first < 0x80:
		return int(first), nil
	}
	n := 0
	for range first & 0x7F {
		next, err := r.octet()
		if err != nil {
			return 0, err
		}
		if n = n<<8 | int(next); n > MaxPDU {
			return 0, ErrTooShort
		}
	}
	return n, nil
}

// tag is the class and number of an element.
type tag struct {
	class  ber.Class
	number ber.Tag
}

func specific(n int) tag      { return tag{ber.ClassContext, ber.Tag(n)} }
func application(n int) tag   { return tag{ber.ClassApplication, ber.Tag(n)} }
func universal(n ber.Tag) tag { return tag{ber.ClassUniversal, n} }
func tagOf(p *ber.Packet) tag { return tag{p.ClassType, p.Tag} }

func (t tag) String() string {
	name := map[ber.Class]string{ber.ClassUniversal: "UNIVERSAL ", ber.ClassApplication: "APPLICATION ", ber.ClassPrivate: "PRIVATE "}[t.class]
	return fmt.Sprintf("[%s%d]", name, t.number)
}

// retag replaces the tag of an element: IMPLICIT tagging.
func retag(p *ber.Packet, t tag) *ber.Packet {
	p.ClassType, p.Tag = t.class, t.number
	return p
}

func constructed(t tag, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(t.class, ber.TypeConstructed, t.number, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}

func sequence(children ...*ber.Packet) *ber.Packet {
	return constructed(universal(ber.TagSequence), children...)
}

func primitive(t tag, content []byte) *ber.Packet {
	p := ber.Encode(t.class, ber.TypePrimitive, t.number, nil, "")
	p.Data.Write(content)
	return p
}

func integer(n int) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, n, "")
}

func enumerated(n int) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, n, "")
}

func octets(content []byte) *ber.Packet { return primitive(universal(ber.TagOctetString), content) }

func null() *ber.Packet { return primitive(universal(ber.TagNULL), nil) }

// holds reports whether an element is constructed.
func holds(p *ber.Packet) bool { return p.TagType == ber.TypeConstructed }

// content returns the content of a string, which may come in pieces.
func content(p *ber.Packet) ([]byte, error) {
	if holds(p) {
		return join(p)
	}
	return p.Data.Bytes(), nil
}

// join joins the pieces of a constructed string (X.690 8.7.3).
func join(p *ber.Packet) ([]byte, error) {
	var all []byte
	for _, c := range p.Children {
		piece, err := content(c)
		if err != nil {
			return nil, err
		}
		all = append(all, piece...)
	}
	return all, nil
}

// number reads an INTEGER or an ENUMERATED under any tag. An empty one is 0, for one client sends it.
func number(p *ber.Packet) (int, error) {
	if holds(p) || p.Data.Len() > 4 {
		return 0, mistyped("a number")
	}
	n, err := ber.ParseInt64(p.Data.Bytes())
	return int(n), err
}

func mistyped(what string) error { return fmt.Errorf("%w: %s is expected", errMistyped, what) }

var errMistyped = errors.New("mistyped")
