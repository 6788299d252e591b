package uacsta

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// MaxCarrier is how many octets a document may have that carries a message, such as an envelope of SOAP.
const MaxCarrier = 2 * MaxSize

// ParseCarrier parses a document that carries a message, in UTF-8: at most [MaxCarrier] octets, and the limits of a
// message besides. An error wraps one of the Err values of this package.
func ParseCarrier(data []byte, elements int) (Raw, error) {
	switch strings.ToLower(declaredEncoding(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	default:
		return Raw{}, fmt.Errorf("%w, and here UTF-8 alone", ErrEncoding)
	}
	root, err := scanWithin(data, MaxCarrier, elements)
	if err != nil {
		return Raw{}, err
	}
	return Raw{root}, nil
}

// Namespace returns the namespace of the element, or "".
func (r Raw) Namespace() string {
	ns, _ := resolve(r.element, r.element.Space)
	return ns
}

// Text returns the text of the element without white space around it, and false if there is an element in it.
func (r Raw) Text() (string, bool) {
	var b strings.Builder
	for _, t := range r.element.Child {
		switch c := t.(type) {
		case *etree.CharData:
			b.WriteString(c.Data)
		case *etree.Element:
			return "", false
		}
	}
	return trim(b.String()), true
}

// Attribute returns the value of an attribute. namespace is "" for attributes without a prefix.
func (r Raw) Attribute(namespace, name string) (string, bool) {
	for _, a := range r.element.Attr {
		if a.Key != name || a.Space == "xmlns" {
			continue
		}
		ns := ""
		if a.Space != "" {
			ns, _ = resolve(r.element, a.Space)
		}
		if ns == namespace {
			return a.Value, true
		}
	}
	return "", false
}

// Children returns the elements in the element.
func (r Raw) Children() []Raw {
	elements := r.element.ChildElements()
	children := make([]Raw, 0, len(elements))
	for _, e := range elements {
		children = append(children, Raw{e})
	}
	return children
}

// HasText reports whether there is text beside the elements in the element.
func (r Raw) HasText() bool {
	return slices.ContainsFunc(r.element.Child, func(t etree.Token) bool {
		c, ok := t.(*etree.CharData)
		return ok && trim(c.Data) != ""
	})
}

// apart returns a copy of the element that declares the namespaces it needs itself.
func (r Raw) apart() *etree.Element {
	e := r.element.Copy()
	needed := map[string]bool{}
	prefixes(e, e, needed)
	for _, prefix := range slices.Sorted(maps.Keys(needed)) {
		ns, bound := resolve(r.element, prefix)
		switch {
		case !bound:
		case prefix == "":
			e.Attr = append(e.Attr, etree.Attr{Key: "xmlns", Value: ns})
		default:
			e.Attr = append(e.Attr, etree.Attr{Space: "xmlns", Key: prefix, Value: ns})
		}
	}
	return e
}

// XML returns the element as text that can stand anywhere in a document.
func (r Raw) XML() string {
	var b bytes.Buffer
	write(&b, r.apart())
	return b.String()
}

// Message returns the message that the element is, as [Parse] does. Types and locations of schemas that the peer's
// software writes into every element mean nothing and are removed (XML Schema 1 2.6; SOAP 1.1 4.1.1).
func (r Raw) Message() (*Message, error) {
	root := r.apart()
	plain(root)
	if err := canonical(root); err != nil {
		return nil, err
	}
	return &Message{root: root}, nil
}

// encodings are the namespaces of SOAP's encodingStyle.
var encodings = []string{"http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"}

// plain removes from an element, and all in it, what SOAP's encoding adds.
func plain(e *etree.Element) {
	e.Attr = slices.DeleteFunc(e.Attr, func(a etree.Attr) bool {
		if a.Space == "" || a.Space == "xmlns" {
			return false
		}
		ns, _ := resolve(e, a.Space)
		return ns == namespaceInstance && a.Key != "nil" || a.Key == "encodingStyle" && slices.Contains(encodings, ns)
	})
	for _, t := range e.Child {
		if c, ok := t.(*etree.Element); ok {
			plain(c)
		}
	}
}
