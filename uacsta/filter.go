package uacsta

import (
	"reflect"
	"strings"

	"github.com/beevik/etree"
)

// Suppressed returns the names of the events that the filter suppresses, such as DeliveredEvent: those
// whose member is true (ECMA-269 clause 15). It returns nil if there are none.
func (f *MonitorFilter) Suppressed() map[string]bool {
	if f == nil {
		return nil
	}
	var suppressed map[string]bool
	groups := reflect.ValueOf(f).Elem()
	for _, group := range planOf(groups.Type()) {
		members := groups.Field(group.index)
		if members.IsNil() {
			continue
		}
		for _, member := range planOf(members.Type().Elem()) {
			if !members.Elem().Field(member.index).Bool() {
				continue
			}
			if suppressed == nil {
				suppressed = map[string]bool{}
			}
			suppressed[filteredEvent(member.name)] = true
		}
	}
	return suppressed
}

// Suppress adds an event, such as DeliveredEvent, to the filter. It returns false if the filter has no
// member for it.
func (f *MonitorFilter) Suppress(event string) bool {
	groups := reflect.ValueOf(f).Elem()
	for _, group := range planOf(groups.Type()) {
		members := groups.Field(group.index)
		for _, member := range planOf(members.Type().Elem()) {
			if filteredEvent(member.name) != event {
				continue
			}
			if members.IsNil() {
				members.Set(reflect.New(members.Type().Elem()))
			}
			members.Elem().Field(member.index).SetBool(true)
			return true
		}
	}
	return false
}

// Inverted returns a filter that suppresses what f does not, except private events. It returns nil for nil.
func (f *MonitorFilter) Inverted() *MonitorFilter {
	if f == nil {
		return nil
	}
	inverted := &MonitorFilter{Private: f.Private}
	from, to := reflect.ValueOf(f).Elem(), reflect.ValueOf(inverted).Elem()
	for _, group := range planOf(from.Type()) {
		if group.name == "private" {
			continue
		}
		members := reflect.New(from.Field(group.index).Type().Elem())
		if given := from.Field(group.index); !given.IsNil() {
			members.Elem().Set(given.Elem())
		}
		invert(members.Elem())
		to.Field(group.index).Set(members)
	}
	return inverted
}

// Inverted returns a filter that suppresses what f does not.
func (f StatusFilter) Inverted() StatusFilter {
	invert(reflect.ValueOf(&f).Elem())
	return f
}

// invert inverts the members of a group of a filter.
func invert(group reflect.Value) {
	for _, member := range planOf(group.Type()) {
		group.Field(member.index).SetBool(!group.Field(member.index).Bool())
	}
}

// TakeInversion reports whether the private data of a request turn round the filter in an element, so that true asks for an
// event in place of suppressing it: Avaya's invertFilter. It removes these private data. It refuses a value that is neither
// true nor false, and members of a filter turned round that are not known, which would be suppressed.
func (m *Message) TakeInversion(filter string) (bool, error) {
	private := m.at("extensions/privateData/private")
	if private == nil {
		return false, nil
	}
	for _, vendor := range private.ChildElements() {
		text, given := textBelow(vendor, []string{"invertFilter"}, 1)
		if vendor.Tag == "invertFilter" {
			text, given = vendor.Text(), true
		}
		if !given {
			continue
		}
		private.RemoveChild(vendor)
		for e := private; e != m.root && !hasElement(e); {
			above := e.Parent()
			above.RemoveChild(e)
			e = above
		}
		switch trim(text) {
		case "true", "1":
			g := grammars()[m.root.Tag]
			if e := m.at(filter); e != nil && strange(e, g.members[g.find(filter, -1)].content) {
				return false, &Error{Category: Operation, Value: InvalidParameterValue, Detail: "a member of the filter is not known"}
			}
			return true, nil
		case "false", "0":
			return false, nil
		}
		return false, &Error{Category: Operation, Value: InvalidParameterValue, Detail: "invertFilter is neither true nor false"}
	}
	return false, nil
}

// strange reports whether there is an element below e that the grammar does not have.
func strange(e *etree.Element, g *grammar) bool {
	for _, c := range e.ChildElements() {
		i := g.find(c.Tag, -1)
		if i < 0 || strange(c, g.members[i].content) {
			return true
		}
	}
	return false
}

// filteredEvent returns the event of a filter's member.
func filteredEvent(member string) string {
	switch member {
	case "transferred": // the event is misspelled, its filter is not
		return NameTransferedEvent
	case "deviceCapabilityChanged":
		return NameDeviceCapsChangedEvent
	case "routeingMode":
		return NameRouteingEvent
	case "voiceAttributesChanged":
		return NameVoiceAttributeChangedEvent
	}
	return strings.ToUpper(member[:1]) + member[1:] + "Event"
}
