package uacsta

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// The JSON form of messages is fixed by the table of messages: what a member is never depends on the
// message. README.md of this package describes it.
const (
	jsonAttributes = "@"             // before the name of a member: its attributes; alone: those of the object itself
	jsonOthers     = "otherElements" // the elements of an object that have no other form, as XML
	jsonDocument   = "xml"           // a message that the standard does not define, as XML
)

// form returns the grammar by which an element is JSON.
func (g *grammar) form(tag string) *grammar {
	switch g.shape {
	case shapeRefusal:
		return refusalForm
	case shapeNames:
		return nameForms(tag)
	case shapeDestinations:
		return destinationList
	}
	return g
}

// MarshalJSON encodes the message as an object with one member, which has the name of the message:
// {"AnswerCall":{"callToBeAnswered":{"callID":"1","deviceID":"101"}}}. [ParseJSON] reads it. It is one
// line, and as long as the message in XML or longer. The edition of the message is not in it.
func (m *Message) MarshalJSON() ([]byte, error) {
	w := newJSONWriter()
	w.buf.WriteByte('{')
	w.name(m.root.Tag)
	begin := w.buf.Len()
	if g := grammars()[m.root.Tag]; g == nil || !w.value(m.root, g.form(m.root.Tag)) {
		w.buf.Truncate(begin)
		w.buf.WriteByte('{')
		w.name(jsonDocument)
		w.xml(m.root)
		w.buf.WriteByte('}')
	}
	w.buf.WriteByte('}')
	return w.buf.Bytes(), nil
}

// jsonWriter writes JSON. Its methods report whether an element has the form that they write; what was
// written of one that has not is to be removed.
type jsonWriter struct {
	buf   bytes.Buffer
	texts *json.Encoder
}

func newJSONWriter() *jsonWriter {
	w := &jsonWriter{}
	w.buf.Grow(1024)
	w.texts = json.NewEncoder(&w.buf)
	w.texts.SetEscapeHTML(false)
	return w
}

// text writes a string. As in XML, U+FFFD takes the place of what is no character.
func (w *jsonWriter) text(s string) {
	if special(s, true) >= 0 || strings.IndexByte(s, '\\') >= 0 {
		_ = w.texts.Encode(strings.Map(func(r rune) rune {
			if !isChar(r) {
				return utf8.RuneError
			}
			return r
		}, s)) // a string always encodes
		w.buf.Truncate(w.buf.Len() - 1) // the line feed
		return
	}
	w.buf.WriteByte('"')
	w.buf.WriteString(s)
	w.buf.WriteByte('"')
}

// name begins a member of an object.
func (w *jsonWriter) name(name string) {
	if b := w.buf.Bytes(); b[len(b)-1] != '{' {
		w.buf.WriteByte(',')
	}
	w.text(name)
	w.buf.WriteByte(':')
}

// xml writes elements as the text of a document.
func (w *jsonWriter) xml(tokens ...etree.Token) {
	var b bytes.Buffer
	for _, t := range tokens {
		writeToken(&b, t)
	}
	w.text(b.String())
}

// value writes an element.
func (w *jsonWriter) value(e *etree.Element, g *grammar) bool {
	switch g.shape {
	case shapeStruct:
		return w.object(e, g)
	case shapeData:
		w.xml(e.Child...)
		return true
	}
	var b strings.Builder
	for _, t := range e.Child {
		c, ok := t.(*etree.CharData)
		if !ok {
			return false
		}
		b.WriteString(c.Data)
	}
	return w.scalar(e, g.shape, trim(b.String()))
}

func (w *jsonWriter) scalar(e *etree.Element, shape shape, text string) bool {
	switch shape {
	case shapeBool:
		x, err := strconv.ParseBool(text)
		w.buf.WriteString(strconv.FormatBool(x))
		return err == nil
	case shapeInt:
		n, err := strconv.ParseInt(text, 10, 64)
		w.buf.WriteString(strconv.FormatInt(n, 10))
		return err == nil
	case shapeFloat:
		x, err := strconv.ParseFloat(text, 64)
		w.buf.WriteString(formatFloat(x))
		return err == nil && x-x == 0 // neither infinite nor no number
	case shapeEmpty:
		w.buf.WriteString("true")
		return text == ""
	case shapeDevice:
		if kind := (Device{element: e}).Type(); isPrefix(kind) {
			text = kind + ":" + text
		}
	}
	w.text(text)
	return true
}

// isPrefix reports whether a typeOfNumber is written before the device identifier, as in rules and on
// the command line.
func isPrefix(typeOfNumber string) bool {
	return typeOfNumber == "deviceNumber" || typeOfNumber == Dynamic
}

// object writes an element with children. The children of a kind are neighbours.
func (w *jsonWriter) object(e *etree.Element, g *grammar) bool {
	w.buf.WriteByte('{')
	if attrs := attributesOf(e, shapeStruct); len(attrs) > 0 {
		w.name(jsonAttributes)
		w.attributes(attrs)
	}
	var seen [maxMembers]bool
	var others []etree.Token
	last := -1
	for i := 0; i < len(e.Child); i++ {
		child, ok := e.Child[i].(*etree.Element)
		if !ok {
			if text, ok := e.Child[i].(*etree.CharData); ok && trim(text.Data) != "" {
				return false
			}
			continue
		}
		at := g.find(child.Tag, last)
		if at < 0 || seen[at] {
			others = append(others, child)
			continue
		}
		last, seen[at] = at, true
		same := e.Child[i:][:1]
		for g.members[at].repeats && i+1 < len(e.Child) && isElement(e.Child[i+1], child.Tag) {
			i++
			same = same[:len(same)+1]
		}
		if begin := w.buf.Len(); !w.member(&g.members[at], same) {
			w.buf.Truncate(begin)
			others = append(others, same...)
		}
	}
	for i := range g.members {
		if m := &g.members[i]; m.repeats && !seen[i] {
			w.name(m.name)
			w.buf.WriteString("[]")
		}
	}
	if len(others) > 0 {
		w.name(jsonOthers)
		for i, t := range others {
			w.buf.WriteByte("[,"[min(i, 1)])
			w.xml(t)
		}
		w.buf.WriteByte(']')
	}
	w.buf.WriteByte('}')
	return len(others) == 0 || g.open
}

func isElement(t etree.Token, tag string) bool {
	e, ok := t.(*etree.Element)
	return ok && e.Tag == tag
}

// member writes a member of an object and, beside it, the attributes of what has no object of its own.
func (w *jsonWriter) member(m *member, same []etree.Token) bool {
	items, item, list := m.items(same)
	if items == nil {
		return false
	}
	w.name(m.name)
	if list {
		w.buf.WriteByte('[')
	}
	marked := false
	for i, t := range items {
		if list && i > 0 {
			w.buf.WriteByte(',')
		}
		e, ok := t.(*etree.Element)
		if !ok || !w.value(e, item) {
			return false
		}
		marked = marked || len(attributesOf(e, item.shape)) > 0
	}
	if list {
		w.buf.WriteByte(']')
	}
	if !marked || item.shape == shapeStruct {
		return true
	}
	w.name(jsonAttributes + m.name)
	if !list {
		w.attributes(attributesOf(items[0].(*etree.Element), item.shape))
		return true
	}
	for i, t := range items {
		w.buf.WriteByte("[,"[min(i, 1)])
		w.attributes(attributesOf(t.(*etree.Element), item.shape))
	}
	w.buf.WriteByte(']')
	return true
}

// items returns the elements that a member consists of, their grammar, and whether they are a list. It
// returns nil if there is something else in the list.
func (m *member) items(same []etree.Token) (items []etree.Token, item *grammar, list bool) {
	g := m.content.form(m.name)
	if !g.list {
		return same, g, m.repeats
	}
	e := same[0].(*etree.Element)
	switch item = g.members[0].content.form(g.members[0].name); {
	case m.content.shape == shapeDestinations && !hasElement(e) && len(e.Child)+len(e.Attr) > 0:
		return same, item, true
	case len(e.Attr) > 0:
		return nil, nil, false
	}
	items = []etree.Token{}
	for _, t := range e.Child {
		if isElement(t, g.members[0].name) {
			items = append(items, t)
		} else if text, ok := t.(*etree.CharData); !ok || trim(text.Data) != "" {
			return nil, nil, false
		}
	}
	return items, item, true
}

// attributesOf returns the attributes of an element that its JSON does not hold in another way.
func attributesOf(e *etree.Element, shape shape) []etree.Attr {
	return slices.DeleteFunc(slices.Clone(e.Attr), func(a etree.Attr) bool {
		return a.Space == "" && (a.Key == "xmlns" || shape == shapeDevice && a.Key == typeOfNumber && isPrefix(a.Value))
	})
}

func (w *jsonWriter) attributes(attrs []etree.Attr) {
	w.buf.WriteByte('{')
	for _, a := range attrs {
		w.name(qualified(a.Space, a.Key))
		w.text(a.Value)
	}
	w.buf.WriteByte('}')
}

// refusalForm is the form of an error value.
var refusalForm = func() *grammar {
	g := &grammar{shape: shapeStruct, open: true}
	for _, c := range categories {
		g.members = append(g.members, member{name: string(c), content: plainText})
		if c == SystemResourceAvailability {
			g.members = append(g.members, member{name: string(spelledSystemResourceAvailability), content: plainText})
		}
	}
	g.members = append(g.members, member{name: extensionsName, content: extensions})
	return g
}()

// nameForms returns the form of capability lists in an element: an object for each list, in it one for
// each service or event, and in that a boolean for each detail.
func nameForms(tag string) *grammar {
	if g := capabilityForms()[tag]; g != nil {
		return g
	}
	return &grammar{shape: shapeStruct, open: true}
}

var capabilityForms = sync.OnceValue(func() map[string]*grammar {
	table := capabilityLists()
	forms := make(map[string]*grammar, len(table.lists)+len(table.holders))
	detail := &grammar{shape: shapeBool}
	for name, list := range table.lists {
		g := &grammar{shape: shapeStruct, open: true}
		for _, c := range list {
			content := &grammar{shape: shapeStruct, open: true}
			for _, d := range c.details {
				content.members = append(content.members, member{name: d.name, content: detail})
			}
			g.members = append(g.members, member{name: c.name, content: content})
		}
		forms[name] = g
	}
	for name, lists := range table.holders {
		g := &grammar{shape: shapeStruct, open: true}
		for _, list := range lists {
			g.members = append(g.members, member{name: list.name, content: forms[list.name]})
		}
		forms[name] = g
	}
	return forms
})
