package uacsta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// ErrJSON is the reason to refuse what is not the JSON form of a message at all, for errors.Is.
var ErrJSON = errors.New("not a CSTA message in JSON")

// ParseJSON parses the JSON form of a message, of at most [MaxSize] octets (see [Message.MarshalJSON]).
// The message is of edition 6, and the one that Parse makes of its Bytes; [Message.Convert] changes the
// edition. ParseJSON refuses members that it does not know, values of another type, members that
// occur twice, null, and anything after the message. An error wraps one of the Err values of this
// package or is an [*Unclear], whose text names the member: "MakeCall.callingDevise: there is no such
// member; did you mean callingDevice?".
func ParseJSON(data []byte) (*Message, error) {
	if len(data) > MaxSize {
		return nil, tooLarge(MaxSize)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: octets that are not UTF-8", ErrJSON)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if loneSurrogate(data) {
		return nil, fmt.Errorf("%w: half of a surrogate pair", ErrJSON)
	}
	r := &jsonReader{d: json.NewDecoder(bytes.NewReader(data))}
	r.d.UseNumber()
	root, err := r.message()
	if err != nil {
		return nil, err
	}
	return Parse((&Message{root: root}).Bytes())
}

// loneSurrogate reports whether a valid JSON document has an escape for half of a surrogate pair.
func loneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if i++; data[i] != 'u' {
			continue
		}
		switch r := escaped(data[i-1:]); {
		case !utf16.IsSurrogate(r):
		case utf16.DecodeRune(r, escaped(data[i+5:])) == utf8.RuneError:
			return true
		default:
			i += 6
		}
	}
	return false
}

// escaped returns the character of an escape such as \u0041 at the beginning of data, or 0.
func escaped(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(data[2:6]), 16, 16)
	return rune(n)
}

// jsonReader makes the tree of a message from a valid JSON document.
type jsonReader struct {
	d        *json.Decoder
	name     string // of the message
	elements int
}

// fail returns the refusal of what is at a path.
func (r *jsonReader) fail(path, format string, args ...any) error {
	refusal := &Error{Category: Operation, Value: InvalidParameterValue, Detail: path + ": " + fmt.Sprintf(format, args...)}
	return &Unclear{Name: r.name, Namespace: Edition6.Namespace(), Refusal: refusal}
}

// token returns the next token of the document, which is valid.
func (r *jsonReader) token() json.Token {
	t, _ := r.d.Token()
	return t
}

// message reads the object with the one member.
func (r *jsonReader) message() (*etree.Element, error) {
	if r.token() != json.Delim('{') || !r.d.More() {
		return nil, fmt.Errorf(`%w: write {"MakeCall":{…}}`, ErrJSON)
	}
	name := r.token().(string)
	g := grammars()[name]
	var root *etree.Element
	var err error
	if g == nil {
		root, err = r.foreign(name)
	} else {
		r.name = name
		namespace := Edition6.Namespace()
		if isSessionService(name) {
			namespace = NamespaceApplSession
		}
		root = &etree.Element{Tag: name, Attr: []etree.Attr{{Key: "xmlns", Value: namespace}}}
		err = r.object(root, g.form(name), name)
	}
	if err == nil && r.d.More() {
		err = fmt.Errorf("%w: more than one member", ErrJSON)
	}
	return root, err
}

// foreign reads a message that the standard does not define.
func (r *jsonReader) foreign(name string) (*etree.Element, error) {
	unknown := func() (*etree.Element, error) {
		return nil, fmt.Errorf("%w: %s: there is no such message%s", ErrJSON, quoted(name), Advice(name, Names()))
	}
	if r.token() != json.Delim('{') || !r.d.More() || r.token() != jsonDocument {
		return unknown()
	}
	r.name = name
	path := name + "." + jsonDocument
	root, err := r.element(path)
	switch {
	case err != nil:
		return nil, err
	case root.Tag != name:
		return nil, r.fail(path, "is the XML of another message")
	case r.d.More():
		return nil, r.fail(name, "has members besides %s", jsonDocument)
	}
	r.token() // }
	return root, nil
}

// element reads a string with the XML of one element.
func (r *jsonReader) element(path string) (*etree.Element, error) {
	e, err := r.fragment("element", path)
	if err != nil {
		return nil, err
	}
	if len(e.Child) == 1 {
		if child, ok := e.RemoveChildAt(0).(*etree.Element); ok {
			return child, nil
		}
	}
	return nil, r.fail(path, "must be the XML of one element")
}

// fragment reads a string with XML and returns it as the content of a new element.
func (r *jsonReader) fragment(name, path string) (*etree.Element, error) {
	text, err := r.string(path)
	if err != nil {
		return nil, err
	}
	e, err := scan([]byte("<"+name+">"+text+"</"+name+">"), MaxElements)
	if err != nil {
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			err = cause // without the octet, which is not one of the string
		}
		return nil, r.fail(path, "%v", err)
	}
	return e, nil
}

// string reads a string of characters of XML.
func (r *jsonReader) string(path string) (string, error) {
	text, ok := r.token().(string)
	if !ok {
		return "", r.fail(path, "must be a string")
	}
	if strings.ContainsFunc(text, func(c rune) bool { return !isChar(c) }) {
		return "", r.fail(path, "has a character that XML does not allow")
	}
	return text, nil
}

// jsonMember is a member that has been read: its element, or the items of its list.
type jsonMember struct {
	items []*etree.Element
	item  *grammar
	list  bool
}

// object reads an object into an element.
func (r *jsonReader) object(e *etree.Element, g *grammar, path string) error {
	if r.token() != json.Delim('{') {
		return r.fail(path, "must be an object")
	}
	seen, members, marks := map[string]bool{}, map[string]jsonMember{}, map[string]jsonMember{}
	var others []*etree.Element
	for r.d.More() {
		name := r.token().(string)
		at := path + "." + quoted(name)
		if seen[name] {
			return r.fail(at, "occurs twice")
		}
		seen[name] = true
		var err error
		marked, isMark := strings.CutPrefix(name, jsonAttributes)
		i := slices.IndexFunc(g.members, func(m member) bool { return m.name == name })
		switch {
		case name == jsonAttributes:
			err = r.attributes(e, r.token(), at)
		case isMark:
			marks[marked], err = r.marks(at)
		case name == jsonOthers && g.open:
			others, err = r.others(at)
		case i < 0:
			return r.fail(at, "there is no such member%s", Advice(name, g.names()))
		default:
			members[name], err = r.member(e, &g.members[i], at)
		}
		if err != nil {
			return err
		}
	}
	r.token() // }
	if g.choice && len(members) > 1 {
		return r.fail(path, "must have one member only")
	}
	for _, other := range others {
		e.AddChild(other)
	}
	for name, m := range marks {
		if err := r.mark(members[name], m, path+"."+quoted(jsonAttributes+name)); err != nil {
			return err
		}
	}
	for _, m := range members {
		if m.item.shape == shapeDevice {
			for _, device := range m.items {
				unprefixed(device)
			}
		}
	}
	return nil
}

// unprefixed makes a typeOfNumber of the prefix of a device identifier.
func unprefixed(e *etree.Element) {
	d := Device{element: e}
	if kind, id, found := strings.Cut(trim(e.Text()), ":"); found && isPrefix(kind) && d.typeAt() < 0 {
		d.Set(id, kind)
	}
}

// member reads the value of a member and adds its elements to their parent.
func (r *jsonReader) member(parent *etree.Element, m *member, path string) (jsonMember, error) {
	g := m.content.form(m.name)
	read := jsonMember{item: g, list: m.repeats || g.list}
	item := m
	if g.list {
		item = &g.members[0]
		read.item = item.content.form(item.name)
		parent = add(parent, m.name)
	}
	if !read.list {
		e, err := r.value(item.name, read.item, path)
		if err == nil {
			parent.AddChild(e)
			read.items = []*etree.Element{e}
		}
		return read, err
	}
	err := r.list(path, func(at string) error {
		e, err := r.value(item.name, read.item, at)
		if err == nil {
			parent.AddChild(e)
			read.items = append(read.items, e)
		}
		return err
	})
	return read, err
}

// list reads a list. item reads one of its items.
func (r *jsonReader) list(path string, item func(path string) error) error {
	if r.token() != json.Delim('[') {
		return r.fail(path, "must be a list; write [ ] around it")
	}
	for i := 0; r.d.More(); i++ {
		if err := item(path + "[" + strconv.Itoa(i) + "]"); err != nil {
			return err
		}
	}
	r.token() // ]
	return nil
}

// value reads a value that is no list into a new element.
func (r *jsonReader) value(name string, g *grammar, path string) (*etree.Element, error) {
	if r.elements++; r.elements > MaxElements {
		return nil, ErrTooManyElements
	}
	e := &etree.Element{Tag: name}
	switch g.shape {
	case shapeStruct:
		return e, r.object(e, g, path)
	case shapeData:
		return r.fragment(name, path)
	case shapeText, shapeDevice:
		text, err := r.string(path)
		if text != "" {
			e.SetText(text)
		}
		return e, err
	}
	switch t := r.token().(type) {
	case bool:
		switch {
		case g.shape == shapeBool:
			e.SetText(strconv.FormatBool(t))
			return e, nil
		case g.shape == shapeEmpty && t:
			return e, nil
		}
	case json.Number:
		if _, err := strconv.ParseInt(t.String(), 10, 64); g.shape == shapeInt && err == nil || g.shape == shapeFloat {
			e.SetText(t.String())
			return e, nil
		}
	}
	return nil, r.fail(path, "must be %s", map[shape]string{
		shapeBool: "true or false", shapeEmpty: "true, its only value", shapeInt: "a whole number", shapeFloat: "a number",
	}[g.shape])
}

// others reads a list of elements as XML.
func (r *jsonReader) others(path string) (elements []*etree.Element, err error) {
	return elements, r.list(path, func(at string) error {
		e, err := r.element(at)
		elements = append(elements, e)
		return err
	})
}
