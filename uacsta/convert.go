package uacsta

import (
	"reflect"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// Convert converts the message into another edition, in place: it changes the namespace, removes
// children, attributes and values that the edition does not have or replaces them by the nearest that
// it has, and adds mandatory ones. Elements that no edition defines stay. If the edition does not have
// the message itself, Convert returns false and changes nothing.
func (m *Message) Convert(edition Edition) bool {
	to := edition.Written()
	known, ok := messageTypes[m.root.Tag]
	switch {
	case isSessionService(m.root.Tag), m.Foreign():
		return true
	case ok && known.since > to:
		return false
	}
	if from := m.Edition(); from.Written() != to {
		switch {
		case m.root.Tag == NameCSTAErrorCode:
			convertError(m.root, to)
		case ok:
			convertStruct(m.root, known.typ, to)
		}
	}
	m.SetNamespace(edition.Namespace())
	return true
}

// Fits reports whether an edition has room for each destination of the message: up to edition 5 there
// is only one.
func (m *Message) Fits(edition Edition) bool {
	known, ok := messageTypes[m.root.Tag]
	if !ok || edition.Written() >= Edition6 {
		return true
	}
	return !slices.ContainsFunc(planOf(known.typ), func(f fieldPlan) bool {
		list := child(m.root, f.name)
		return f.destinations && list != nil && len(list.ChildElements()) > 1
	})
}

func convertStruct(e *etree.Element, t reflect.Type, to Edition) {
	plan := planOf(t)
	if t == reflect.TypeFor[SupportedProfiles]() {
		convertProfiles(e, to)
	}
	at := 0 // where a missing child belongs
	for i := range plan {
		f := &plan[i]
		typ := t.Field(f.index).Type
		if found := convertChildren(e, f, typ, to); found >= 0 {
			at = found + 1
		} else {
			at = f.supply(e, at, typ, to)
		}
	}
}

// convertChildren converts the children of a field. It returns the index of the last of them, or -1.
func convertChildren(e *etree.Element, f *fieldPlan, typ reflect.Type, to Edition) int {
	if typ = itemOf(typ); typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	last := -1
	for i := 0; i < len(e.Child); i++ {
		c, ok := e.Child[i].(*etree.Element)
		if !ok || c.Tag != f.name && (f.earlier == "" || c.Tag != f.earlier) {
			continue
		}
		if !f.in(to) {
			e.RemoveChildAt(i)
			i--
			continue
		}
		c.Tag = f.nameIn(to)
		last = i
		if f.destinations {
			convertDestinations(c, to)
			continue
		}
		if f.item == "" {
			convertValue(c, typ, to)
			continue
		}
		for _, item := range c.ChildElements() {
			convertValue(item, typ, to)
		}
	}
	return last
}

// editionAttributes are the attributes that edition 6 added to device identifiers.
var editionAttributes = []string{"privateNumber", "privateName"}

func convertValue(e *etree.Element, t reflect.Type, to Edition) {
	switch t {
	case reflect.TypeFor[DeviceID]():
		convertDevice(e, to)
	case reflect.TypeFor[ConnectionID](), reflect.TypeFor[ExtendedDeviceID](), reflect.TypeFor[RedirectionDeviceID](), reflect.TypeFor[ConnectionListEnd]():
		for _, c := range e.ChildElements() {
			convertDevice(c, to)
		}
	case reflect.TypeFor[Error]():
		convertError(e, to)
	case reflect.TypeFor[Capabilities]():
		convertCapabilities(e, to)
	case reflect.TypeFor[Raw](), reflect.TypeFor[Data]():
	default:
		switch t.Kind() {
		case reflect.Struct:
			convertStruct(e, t, to)
		case reflect.String:
			if older := olderValue(t.Name(), strings.TrimSpace(e.Text())); older != "" && to < Edition6 {
				setText(e, older)
			}
		}
	}
}

func convertDevice(e *etree.Element, to Edition) {
	if to < Edition6 {
		e.Attr = slices.DeleteFunc(e.Attr, func(a etree.Attr) bool { return a.Space == "" && slices.Contains(editionAttributes, a.Key) })
	}
}

// convertDestinations converts a single device into a list, or a list into its first device.
func convertDestinations(e *etree.Element, to Edition) {
	switch list := hasElement(e); {
	case to >= Edition6 && !list:
		device := &etree.Element{Space: e.Space, Tag: "device", Attr: e.Attr}
		device.SetText(strings.TrimSpace(e.Text()))
		e.Child, e.Attr = nil, nil
		e.AddChild(device)
	case to < Edition6 && list:
		device := child(e, "device")
		e.Child = nil
		if device != nil {
			convertDevice(device, to)
			e.Attr = device.Attr
			e.SetText(strings.TrimSpace(device.Text()))
		}
	}
}

// olderValue returns what edition 3 has instead of a later value, or "" for a value that it has.
func olderValue(enumeration, value string) string {
	switch enumeration {
	case "EventCause":
		return map[string]string{
			"callInterception": "redirected", "callInterceptionBusy": "busy", "callInterceptionForwarded": "callForward",
			"callInterceptionNoAnswer": "callNotAnswered", "callInterceptionResourcesNotAvailable": "resourcesNotAvailable",
			"lawfulInterception": "normal", "makeConnection": "makeCall",
		}[value]
	case "DeviceCategory":
		if strings.HasSuffix(value, "InteractiveVoice") || value == "conference" {
			return "other"
		}
	case "ReqDeviceCategory":
		if strings.HasSuffix(value, "IV") || value == "promptQueue" || value == "conference" {
			return "other"
		}
	case "CCIEType":
		if value == "sip" {
			return "other"
		}
	}
	return ""
}

// laterErrors are the error values that edition 6 added. An older peer gets a generic one of the
// category.
var laterErrors = []string{"conferenceResourceCannotBeSatisfied", "maxDevicesExceeded", "startTimeOutOfRange", "durationExceeded"}

func convertError(e *etree.Element, to Edition) {
	for _, c := range e.ChildElements() {
		if to < Edition6 && slices.Contains(laterErrors, strings.TrimSpace(c.Text())) {
			setText(c, Generic)
		}
	}
}

func convertProfiles(e *etree.Element, to Edition) {
	for _, c := range e.ChildElements() {
		for _, p := range Profiles {
			switch {
			case to >= Edition6 && c.Tag == p.NameEdition3:
				c.Tag = p.NameEdition6
			case to < Edition6 && c.Tag == p.NameEdition6:
				c.Tag = p.NameEdition3
			}
		}
	}
}

// convertCapabilities removes lists, members and details that were added later.
func convertCapabilities(e *etree.Element, to Edition) {
	table := capabilityLists()
	list := func(e *etree.Element, members []capability) {
		for _, c := range e.ChildElements() {
			i := slices.IndexFunc(members, func(m capability) bool { return m.name == c.Tag })
			switch {
			case i < 0:
			case !members[i].in(to):
				e.RemoveChild(c)
			default:
				for _, detail := range members[i].details {
					if d := child(c, detail.name); d != nil && !detail.in(to) {
						c.RemoveChild(d)
					}
				}
			}
		}
	}
	if members, ok := table.lists[e.Tag]; ok {
		list(e, members)
		return
	}
	for _, name := range table.holders[e.Tag] {
		c := child(e, name.name)
		switch {
		case c == nil:
		case !name.in(to):
			e.RemoveChild(c)
		default:
			list(c, table.lists[name.name])
		}
	}
}

// supply adds the missing child of a mandatory field at an index, if a value is known. It returns the index behind it.
func (f *fieldPlan) supply(e *etree.Element, at int, typ reflect.Type, edition Edition) int {
	if !f.required || !f.in(edition) {
		return at
	}
	value := supplied(typ, f.nameIn(edition))
	if value == nil {
		return at
	}
	value.Space = e.Space
	e.InsertChildAt(at, value)
	return at + 1
}

// supplied makes a mandatory child of which nothing is known. It returns nil if there is no truthful
// value.
func supplied(t reflect.Type, name string) *etree.Element {
	e := &etree.Element{Tag: name}
	switch t {
	case reflect.TypeFor[ExtendedDeviceID]():
		add(e, "notKnown")
	case reflect.TypeFor[RedirectionDeviceID]():
		add(e, "notSpecified")
	case reflect.TypeFor[EventCause]():
		e.SetText(string(CauseNormal))
	case reflect.TypeFor[int]():
		e.SetText("0")
	default:
		return nil
	}
	return e
}
