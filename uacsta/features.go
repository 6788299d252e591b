package uacsta

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Features lists what a switching function supports on a line: services, by the names of their
// requests, and events, by their names, such as "MakeCall" and "DeliveredEvent". Capability lists call
// some of them differently (ECMA-323 GetCSTAFeaturesResponse).
type Features struct {
	Services []string
	Events   []string
}

// Message returns the GetCSTAFeaturesResponse, in schema order and without what the edition does not
// have.
func (f Features) Message(edition Edition) *Message {
	return Encode(GetCSTAFeaturesResponse{SupportedServices: f.Listed("supportedServices"), SupportedEvents: f.Listed("supportedEvents")}, edition)
}

// Listed returns the services and events as the capabilities of an element: one that holds lists, such
// as servEvtsList, or a list itself, such as routeingServList. It leaves out what the element has no
// place for.
func (f Features) Listed(holder string) Capabilities {
	services, events := map[string]bool{}, map[string]bool{}
	for _, name := range f.Services {
		services[CapabilityName(name)] = true
	}
	for _, name := range f.Events {
		events[CapabilityName(name)] = true
	}
	var found Capabilities
	table := capabilityLists()
	lists := table.holders[holder]
	if lists == nil {
		lists = []later{{name: holder}}
	}
	for _, list := range lists {
		wanted := services
		if ofEvents(list.name) {
			wanted = events
		}
		for _, member := range table.lists[list.name] {
			if wanted[member.name] {
				found = append(found, Capability{List: list.name, Name: member.name})
			}
		}
	}
	return found
}

// ofEvents reports whether a capability list lists events, not services.
func ofEvents(list string) bool { return strings.HasSuffix(list, "EvtsList") }

// Features reads a GetCSTAFeaturesResponse. Unknown services and events get the name that follows from
// their capability by the usual rule.
func (m *Message) Features() Features {
	return Features{Services: m.listed("supportedServices"), Events: m.listed("supportedEvents")}
}

func (m *Message) listed(name string) []string {
	e := child(m.root, name)
	if e == nil {
		return nil
	}
	var names []string
	for _, list := range e.ChildElements() {
		for _, item := range list.ChildElements() {
			if of := MessageOf(item.Tag, ofEvents(list.Tag)); of != "" {
				names = append(names, of)
			}
		}
	}
	return names
}

// CapabilityName returns the name of a request or event in the capability lists, or "" if they do not
// have it.
func CapabilityName(message string) string {
	if name, irregular := capabilityNames[message]; irregular || message == "" {
		return name
	}
	return strings.ToLower(message[:1]) + strings.TrimSuffix(message[1:], eventSuffix)
}

// Has reports whether a service, by the name of its request, is permitted. The lists spell some services in another way.
func (p *ServicesPermitted) Has(service string) bool {
	lists := reflect.ValueOf(p).Elem()
	for i := range lists.NumField() {
		list := lists.Field(i)
		for j := range list.NumField() {
			name := list.Type().Field(j).Name
			if same := strings.EqualFold(name, service) || strings.EqualFold(name+"Call", service) || strings.EqualFold(name, CapabilityName(service)); same && list.Field(j).Kind() == reflect.Bool {
				return list.Field(j).Bool()
			}
		}
	}
	return false
}

// MessageOf is the inverse of [CapabilityName]: it returns the name of the request or event, or "" if
// capability cannot be one.
func MessageOf(capability string, event bool) string {
	if name, irregular := messagesByCapability()[capability]; irregular {
		return name
	}
	if capability == "" {
		return ""
	}
	name := strings.ToUpper(capability[:1]) + capability[1:]
	if event {
		name += eventSuffix
	}
	if CapabilityName(name) != capability {
		return ""
	}
	return name
}

const eventSuffix = "Event"

// messagesByCapability inverts capabilityNames.
var messagesByCapability = sync.OnceValue(func() map[string]string {
	messages := make(map[string]string, len(capabilityNames))
	for message, name := range capabilityNames {
		messages[name] = message
	}
	delete(messages, "") // those without a capability
	return messages
})

// Intersect returns the features that f and g have in common.
func (f Features) Intersect(g Features) Features {
	keep := func(a, b []string) []string {
		var both []string
		for _, name := range a {
			if slices.Contains(b, name) {
				both = append(both, name)
			}
		}
		return both
	}
	return Features{Services: keep(f.Services, g.Services), Events: keep(f.Events, g.Events)}
}

// Profile is a named set of features (TR/87 clause 8).
type Profile struct {
	Clause       string // of TR/87
	NameEdition3 string
	NameEdition6 string // the misspelling of the basic profile is the schema's
	Features     Features
}

// Profiles lists the profiles of TR/87 with all features that each requires. Only part of this
// assignment is published; these sets are the project's.
var Profiles = func() []Profile {
	minimal := Features{
		Services: []string{NameMonitorStart, NameMonitorStop, NameAnswerCall, NameClearConnection, NameMakeCall},
		Events:   []string{NameConnectionClearedEvent, NameDeliveredEvent, NameEstablishedEvent, NameFailedEvent, NameOriginatedEvent},
	}
	basic := minimal.plus(
		[]string{NameSnapshotDevice, NameDeflectCall, NameHoldCall, NameRetrieveCall, NameSingleStepTransferCall},
		[]string{NameDivertedEvent, NameHeldEvent, NameRetrievedEvent, NameTransferedEvent},
	)
	advanced := basic.plus(
		[]string{NameAlternateCall, NameConsultationCall, NameReconnectCall, NameTransferCall},
		[]string{NameNetworkReachedEvent, NameServiceInitiatedEvent, NameQueuedEvent},
	)
	return []Profile{
		{"8.1", "minimalEndpointCallControlProfile", "minimalUACSTACallControlProfile", minimal},
		{"8.2", "basicEndpointCallControlProfile", "basicUACSTAtCallControlProfile", basic},
		{"8.3", "advancedEndpointCallControlProfile", "advancedUACSTACallControlProfile", advanced},
		{
			"8.4", "conferencingEndpointCallControlProfile", "conferencingUACSTACallControlProfile",
			Features{Services: []string{NameConferenceCall, NameSingleStepConferenceCall}, Events: []string{NameConferencedEvent}},
		},
		{
			"8.5", "basicEndpointDeviceProfile", "basicUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					NameGenerateDigits, NameGetMessageWaitingIndicator, NameSetMessageWaitingIndicator,
					NameGetDoNotDisturb, NameGetForwarding, NameSetDoNotDisturb, NameSetForwarding,
				},
				Events: []string{NameMessageWaitingEvent, NameDoNotDisturbEvent, NameForwardingEvent},
			},
		},
		{
			"8.6", "advancedEndpointDeviceProfile", "speakerUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					NameGetMicrophoneGain, NameGetMicrophoneMute, NameGetRingerStatus, NameGetSpeakerMute, NameGetSpeakerVolume,
					NameSetMicrophoneGain, NameSetMicrophoneMute, NameSetRingerStatus, NameSetSpeakerMute, NameSetSpeakerVolume,
				},
				Events: []string{NameMicrophoneGainEvent, NameMicrophoneMuteEvent, NameRingerStatusEvent, NameSpeakerMuteEvent, NameSpeakerVolumeEvent},
			},
		},
	}
}()

func (f Features) plus(services, events []string) Features {
	return Features{Services: slices.Concat(f.Services, services), Events: slices.Concat(f.Events, events)}
}

// Profiles returns the profiles whose features f includes.
func (f Features) Profiles() []Profile {
	var fulfilled []Profile
	for _, p := range Profiles {
		common := p.Features.Intersect(f)
		if len(common.Services) == len(p.Features.Services) && len(common.Events) == len(p.Features.Events) {
			fulfilled = append(fulfilled, p)
		}
	}
	return fulfilled
}
