package uacsta

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// Unclear is the error for a well-formed document that different readers may read differently, or in
// which a value is not of its type. It wraps the refusal for the peer.
type Unclear struct {
	Name      string // of the message
	Namespace string // of the message, "" for none
	Refusal   *Error
}

func (u *Unclear) Error() string { return u.Name + ": " + u.Refusal.Error() }

// Unwrap returns the refusal.
func (u *Unclear) Unwrap() error { return u.Refusal }

// Kind returns the kind of the message.
func (u *Unclear) Kind() Kind { return kindOf(u.Name) }

// canonical converts a message of the standard into the one form that every reader reads alike.
// Children come in schema order, prefixes and comments are removed, each text becomes one piece of
// character data without white space around it, and booleans and numbers are written in one way.
// Elements that the standard does not define are kept, after those that it defines.
//
// canonical refuses what two readers may read differently: a repeated element that may occur once; two
// branches of a choice; text that is split by an element, a comment or an instruction; an element of a
// foreign namespace with a name of the standard; an unknown element with the name of an element that
// holds identifiers; and a value that is not of its type.
//
// It leaves a message that the standard does not define unchanged.
func canonical(root *etree.Element) error {
	g := grammars()[root.Tag]
	if g == nil {
		return nil
	}
	c := canonicalizer{namespace: namespaceOf(root)}
	refusal := c.content(root, g)
	if refusal == nil {
		refusal = oneLine(root)
	}
	if refusal == nil {
		refusal = c.strip(root)
	}
	if refusal != nil {
		return &Unclear{Name: root.Tag, Namespace: strings.Clone(c.namespace), Refusal: refusal}
	}
	if c.namespace != "" {
		root.Attr = append([]etree.Attr{{Key: "xmlns", Value: c.namespace}}, root.Attr...)
	}
	return nil
}

// canonicalizer converts one message, from the leaves to the root: the declarations of an element stay
// until its content no longer needs them.
type canonicalizer struct {
	namespace string // of the root
	added     int    // octets of added declarations
}

func unclear(e *etree.Element, detail string) *Error {
	return &Error{Category: Operation, Value: InvalidParameterValue, Detail: e.Tag + " " + detail}
}

// content converts the content of an element.
func (c *canonicalizer) content(e *etree.Element, g *grammar) *Error {
	switch g.shape {
	case shapeStruct:
		return c.structure(e, g)
	case shapeData:
		return c.data(e)
	case shapeDestinations:
		if hasElement(e) {
			if slices.ContainsFunc(e.Attr, func(a etree.Attr) bool { return a.Space == "" && a.Key != "xmlns" }) {
				return unclear(e, "is a list, and has attributes of a device")
			}
			return c.structure(e, destinationList)
		}
	case shapeRefusal:
		return c.refusal(e)
	case shapeNames:
		return c.names(e)
	}
	if g == deviceText {
		unwrap(e)
	}
	text, err := onlyText(e)
	if err != nil {
		return err
	}
	switch g.shape {
	case shapeBool:
		switch {
		case text == "true" || text == "false":
		case text == "1" || strings.EqualFold(text, "true"):
			setText(e, "true")
		case text == "0" || strings.EqualFold(text, "false"):
			setText(e, "false")
		default:
			return unclear(e, "is neither true nor false")
		}
	case shapeInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return unclear(e, "is no whole number")
		}
		if plain := strconv.FormatInt(n, 10); plain != text {
			setText(e, plain)
		}
	case shapeFloat:
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Trim(text, "+-.0123456789eE") != "" {
			return unclear(e, "is no number")
		}
		if plain := formatFloat(x); plain != text {
			setText(e, plain)
		}
	case shapeEmpty:
		if text != "" {
			return unclear(e, "has content")
		}
	}
	return nil
}

// unwrap takes the content of a deviceIdentifier, with its attributes, for that of the device which has nothing else: some switches
// write one within the deviceID of a connection.
func unwrap(e *etree.Element) {
	children := e.ChildElements()
	if e.Tag != "deviceID" || len(e.Attr) > 0 || len(children) != 1 || children[0].Tag != "deviceIdentifier" || namespaceOf(children[0]) != namespaceOf(e) {
		return
	}
	for _, t := range e.Child {
		if text, ok := t.(*etree.CharData); ok && trim(text.Data) != "" {
			return
		}
	}
	for len(e.Child) > 0 {
		e.RemoveChildAt(len(e.Child) - 1)
	}
	e.Attr = children[0].Attr
	for inner := children[0]; len(inner.Child) > 0; {
		e.AddChild(inner.Child[0])
	}
}

// destinationList is the form of a list of destinations from edition 6 on.
var destinationList = &grammar{shape: shapeStruct, list: true, members: []member{{name: "device", content: deviceText, repeats: true}}}

// structure converts the children of an element and puts them into schema order.
func (c *canonicalizer) structure(e *etree.Element, g *grammar) *Error {
	var seen [maxMembers / 64]uint64
	last, tidy := -1, true
	for _, t := range e.Child {
		child, ok := t.(*etree.Element)
		if !ok {
			if text, ok := t.(*etree.CharData); ok && trim(text.Data) != "" {
				return unclear(e, "has text between its elements")
			}
			tidy = false // white space, comments and instructions between elements mean nothing
			continue
		}
		i := g.find(child.Tag, last)
		if i < 0 {
			if err := c.stranger(child, g); err != nil {
				return err
			}
			tidy = false
			continue
		}
		m := &g.members[i]
		bit := uint64(1) << (i % 64)
		if seen[i/64]&bit != 0 && !m.repeats {
			return unclear(child, "is there twice")
		}
		seen[i/64] |= bit
		if err := c.known(child, m); err != nil {
			return err
		}
		tidy = tidy && i >= last && child.Tag != ""
		last = i
	}
	if g.choice {
		branches := 0
		for _, word := range seen {
			branches += bits.OnesCount64(word)
		}
		if branches > 1 {
			return unclear(e, "has two branches of a choice")
		}
	}
	if !tidy {
		arrange(e, g)
	}
	return nil
}

// known converts a child that a member stands for. An optional child that has no content where a value
// is required counts as absent: it loses its name.
func (c *canonicalizer) known(e *etree.Element, m *member) *Error {
	if e.Space != "" || len(e.Attr) > 0 || e.Parent().Space != "" {
		if ns, _ := resolve(e, e.Space); ns != "" && ns != c.namespace && EditionOf(ns) == 0 && ns != NamespaceApplSession {
			return unclear(e, "is of a foreign namespace")
		}
	}
	if err := c.content(e, m.content); err != nil {
		if text, split := onlyText(e); m.optional && m.content.shape != shapeEmpty && split == nil && text == "" {
			e.Tag = ""
			return nil
		}
		return err
	}
	return c.strip(e)
}

// stranger handles an element that the standard has no place for.
func (c *canonicalizer) stranger(e *etree.Element, g *grammar) *Error {
	if !g.open {
		return unclear(e.Parent(), "has something else in it")
	}
	if decoy(e) {
		return unclear(e, "is not expected there")
	}
	return c.keep(e)
}

// decoy reports whether an element or one inside it has the name of an element that holds identifiers.
func decoy(e *etree.Element) bool {
	if holders()[strings.ToLower(e.Tag)] {
		return true
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok && decoy(child) {
			return true
		}
	}
	return false
}

// arrange puts the children of an element into schema order, those that no member stands for behind
// them, and the extensions last.
func arrange(e *etree.Element, g *grammar) {
	places := make([][]etree.Token, len(g.members)+1)
	end := len(g.members)
	if end > 0 && g.members[end-1].name == extensionsName {
		end--
	}
	for len(e.Child) > 0 { // from the end, so that the tree is whole at every moment
		child, ok := e.RemoveChildAt(len(e.Child) - 1).(*etree.Element)
		if !ok || child.Tag == "" {
			continue
		}
		place := g.find(child.Tag, -1)
		switch {
		case place < 0:
			place = end
		case place >= end:
			place++
		}
		places[place] = append(places[place], child)
	}
	for _, tokens := range places {
		for i := len(tokens) - 1; i >= 0; i-- {
			e.AddChild(tokens[i])
		}
	}
}

// data leaves the content of an element unchanged.
func (c *canonicalizer) data(e *etree.Element) *Error {
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok {
			if err := c.keep(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// names converts capability lists: elements, and texts in the innermost.
func (c *canonicalizer) names(e *etree.Element) *Error {
	if !hasElement(e) {
		_, err := onlyText(e)
		return err
	}
	for _, t := range e.Child {
		if child, ok := t.(*etree.Element); ok {
			if err := c.names(child); err != nil {
				return err
			}
			if err := c.strip(child); err != nil {
				return err
			}
		}
	}
	arrange(e, emptyMark)
	return nil
}

// refusal converts the content of a CSTAErrorCode: one value of one category.
func (c *canonicalizer) refusal(e *etree.Element) *Error {
	values := 0
	for _, child := range e.ChildElements() {
		if child.Tag == extensionsName {
			if err := c.structure(child, extensions); err != nil {
				return err
			}
		} else {
			if values++; values > 1 {
				return unclear(e, "has two values")
			}
			if _, err := onlyText(child); err != nil {
				return err
			}
		}
		if err := c.strip(child); err != nil {
			return err
		}
	}
	arrange(e, emptyMark)
	return nil
}

// onlyText makes the content of an element one piece of character data without white space around it,
// and returns it.
func onlyText(e *etree.Element) (string, *Error) {
	switch len(e.Child) {
	case 0:
		return "", nil
	case 1:
		if t, ok := e.Child[0].(*etree.CharData); ok && !t.IsCData() {
			if t.Data = trim(t.Data); t.Data == "" {
				e.RemoveChildAt(0) // white space alone is no content
				return "", nil
			}
			return t.Data, nil
		}
	}
	var b strings.Builder
	for _, t := range e.Child {
		text, ok := t.(*etree.CharData)
		if !ok {
			return "", unclear(e, "has something in its text")
		}
		b.WriteString(text.Data)
	}
	text := trim(b.String())
	for len(e.Child) > 0 {
		e.RemoveChildAt(len(e.Child) - 1)
	}
	if text != "" {
		e.AddChild(etree.NewText(text))
	}
	return text, nil
}

// trim removes what XML calls white space, and nothing else, from both ends of a text.
func trim(text string) string {
	if text == "" || text[0] > ' ' && text[len(text)-1] > ' ' {
		return text // the usual case
	}
	return strings.Trim(text, " \t\r\n")
}

// oneLine checks the line that clients of Lync's kind name in private data: the only private data that
// the proxy acts on.
func oneLine(root *etree.Element) *Error {
	e := child(root, extensionsName)
	if e == nil {
		return nil
	}
	lines := 0
	for _, data := range e.ChildElements() {
		for _, private := range data.ChildElements() {
			for _, line := range private.ChildElements() {
				if line.Tag != lineName {
					continue
				}
				if lines++; lines > 1 {
					return unclear(line, "is there twice")
				}
				if _, err := onlyText(line); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
