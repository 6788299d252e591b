package uacsta

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/beevik/etree"
)

// Attributes of XML in JSON: "@" in an object, and "@name" beside a value or a list.

// marks reads the attributes of a member into new elements: an object, or a list of objects.
func (r *jsonReader) marks(path string) (m jsonMember, err error) {
	holder := func(begin json.Token, at string) error {
		e := &etree.Element{}
		m.items = append(m.items, e)
		return r.attributes(e, begin, at)
	}
	begin := r.token()
	if m.list = begin == json.Delim('['); !m.list {
		return m, holder(begin, path)
	}
	for i := 0; r.d.More(); i++ {
		if err := holder(r.token(), path+"["+strconv.Itoa(i)+"]"); err != nil {
			return m, err
		}
	}
	r.token() // ]
	return m, nil
}

// mark gives the elements of a member their attributes.
func (r *jsonReader) mark(m, marks jsonMember, path string) error {
	switch {
	case m.item == nil:
		return r.fail(path, "there is no such member beside it")
	case m.item.shape == shapeStruct:
		return r.fail(path, "its attributes must be in the object, as %q", jsonAttributes)
	case m.list != marks.list || len(m.items) != len(marks.items):
		return r.fail(path, "must be an object for a value, and a list of the same length for a list")
	}
	for i, e := range m.items {
		e.Attr = append(e.Attr, marks.items[i].Attr...)
	}
	return nil
}

// attributes reads an object of attributes into an element.
func (r *jsonReader) attributes(e *etree.Element, begin json.Token, path string) error {
	if begin != json.Delim('{') {
		return r.fail(path, "must be an object")
	}
	for r.d.More() {
		name := r.token().(string)
		at := path + "." + quoted(name)
		space, key := splitName(name)
		switch {
		case !isAttribute(name) || name == "xmlns":
			return r.fail(at, "is not a permitted attribute")
		case slices.ContainsFunc(e.Attr, func(a etree.Attr) bool { return a.Space == space && a.Key == key }):
			return r.fail(at, "occurs twice")
		}
		value, err := r.string(at)
		if err != nil {
			return err
		}
		e.Attr = append(e.Attr, etree.Attr{Space: space, Key: key, Value: value})
	}
	r.token() // }
	return nil
}

// isAttribute reports whether a text is a name in XML.
func isAttribute(name string) bool {
	s := &scanner{src: name + "="}
	read, err := s.name()
	return err == nil && read == name
}
