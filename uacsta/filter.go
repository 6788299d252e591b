package uacsta

import (
	"reflect"
	"strings"
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
