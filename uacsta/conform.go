package uacsta

import (
	"reflect"
	"slices"

	"github.com/beevik/etree"
)

// Conform converts the message into what [Schema] describes of an edition, in place, for peers whose software refuses a
// message with anything else in it: it also removes elements, attributes and values that the schema does not have, and
// adds mandatory elements of which a value is known. Extensions stay. If the edition does not have the message, Conform
// returns false and changes nothing.
func (m *Message) Conform(edition Edition) bool {
	known, ok := messageTypes[m.root.Tag]
	if !ok && m.root.Tag != NameCSTAErrorCode || !m.Convert(edition) {
		return false
	}
	if ok && !isSessionService(m.root.Tag) {
		c := conformer(edition.Written())
		c.structure(m.root, known.typ)
	}
	return true
}

// conformer removes from elements what an edition's schema does not have.
type conformer Edition

// structure conforms an element with the fields of a type.
func (c conformer) structure(e *etree.Element, t reflect.Type) {
	plan := planOf(t)
	_, message := t.FieldByName("Common")
	keep := func(child *etree.Element) bool {
		if message && child.Tag == extensionsName {
			c.only(child, "security", "privateData")
			return true
		}
		i := slices.IndexFunc(plan, func(f fieldPlan) bool { return f.in(Edition(c)) && f.nameIn(Edition(c)) == child.Tag })
		return i >= 0 && c.field(child, t.Field(plan[i].index).Type, plan[i])
	}
	for _, child := range e.ChildElements() {
		if !keep(child) {
			e.RemoveChild(child)
		}
	}
	at := 0
	for i := range plan {
		f := &plan[i]
		if found := child(e, f.nameIn(Edition(c))); found != nil {
			at = found.Index() + 1
		} else {
			at = f.supply(e, at, t.Field(f.index).Type, Edition(c))
		}
	}
}

// only removes all children but those with some names.
func (conformer) only(e *etree.Element, names ...string) {
	for _, child := range e.ChildElements() {
		if !slices.Contains(names, child.Tag) {
			e.RemoveChild(child)
		}
	}
}

// field conforms the element of a field, and reports whether it can stay.
func (c conformer) field(e *etree.Element, t reflect.Type, f fieldPlan) bool {
	t = itemOf(t)
	item := f.itemIn(Edition(c))
	if item == "" {
		return c.value(e, t)
	}
	e.Attr = nil
	for _, child := range e.ChildElements() {
		if child.Tag != item || !c.value(child, t) {
			e.RemoveChild(child)
		}
	}
	return true
}

// value conforms an element with a value of a type, and reports whether it can stay.
func (c conformer) value(e *etree.Element, t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[Raw]():
		return true
	case reflect.TypeFor[DeviceID]():
		c.device(e)
		return true
	case reflect.TypeFor[Capabilities]():
		c.capabilities(e)
		return true
	}
	e.Attr = nil
	if g := written[t]; g != nil {
		for _, child := range e.ChildElements() {
			if at := g.find(child.Tag, -1); at >= 0 && g.members[at].content.shape == shapeDevice {
				c.device(child)
			}
		}
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		c.structure(e, t)
	case reflect.String:
		values, is := enumerations[t.Name()]
		return !is || values.others || slices.Contains(values.values, trim(e.Text()))
	}
	return true
}

// device removes attributes that device identifiers do not have.
func (c conformer) device(e *etree.Element) {
	e.Attr = slices.DeleteFunc(e.Attr, func(a etree.Attr) bool { return a.Space != "" || !slices.Contains(deviceAttributes(Edition(c)), a.Key) })
}

// capabilities removes lists, members and details that the table does not have.
func (c conformer) capabilities(e *etree.Element) {
	table := capabilityLists()
	list := func(e *etree.Element, members []capability) {
		for _, child := range e.ChildElements() {
			i := slices.IndexFunc(members, func(m capability) bool { return m.name == child.Tag })
			if i < 0 {
				e.RemoveChild(child)
				continue
			}
			var details []string
			for _, detail := range members[i].details {
				details = append(details, detail.name)
			}
			c.only(child, details...)
		}
	}
	if members, ok := table.lists[e.Tag]; ok {
		list(e, members)
		return
	}
	for _, child := range e.ChildElements() {
		if !slices.ContainsFunc(table.holders[e.Tag], func(l later) bool { return l.name == child.Tag }) {
			e.RemoveChild(child)
			continue
		}
		list(child, table.lists[child.Tag])
	}
}
