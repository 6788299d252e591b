package uacsta

import "slices"

// Features is what a switching function can do for a line: names of services and
// of events as the capability lists spell them, such as "makeCall" and
// "delivered" (ECMA-323 GetCSTAFeaturesResponse).
type Features struct {
	Services []string
	Events   []string
}

// Message makes the GetCSTAFeaturesResponse, lists and members in schema order.
// Names that the edition does not know are left out.
func (f Features) Message(edition Edition) *Message {
	return Encode(GetCSTAFeaturesResponse{
		SupportedServices: Named("supportedServices", f.Services), SupportedEvents: Named("supportedEvents", f.Events),
	}, edition)
}

// Features reads a GetCSTAFeaturesResponse.
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
			names = append(names, item.Tag)
		}
	}
	return names
}

// Intersect returns what both can do.
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

// Profiles lists TR/87's profiles, each with everything it asks for. Which
// services belong to which profile is known only in part; these are the sets that
// this project answers for.
var Profiles = func() []Profile {
	minimal := Features{
		Services: []string{"monitorStart", "monitorStop", "answerCall", "clearConnection", "makeCall"},
		Events:   []string{"connectionCleared", "delivered", "established", "failed", "originated"},
	}
	basic := minimal.plus(
		[]string{"snapshotDevice", "deflectCall", "holdCall", "retrieveCall", "singleStepTransfer"},
		[]string{"diverted", "held", "retrieved", "transferred"},
	)
	advanced := basic.plus(
		[]string{"alternateCall", "consultationCall", "reconnectCall", "transferCall"},
		[]string{"netwReached", "serviceInitiated", "queued"},
	)
	return []Profile{
		{"8.1", "minimalEndpointCallControlProfile", "minimalUACSTACallControlProfile", minimal},
		{"8.2", "basicEndpointCallControlProfile", "basicUACSTAtCallControlProfile", basic},
		{"8.3", "advancedEndpointCallControlProfile", "advancedUACSTACallControlProfile", advanced},
		{
			"8.4", "conferencingEndpointCallControlProfile", "conferencingUACSTACallControlProfile",
			Features{Services: []string{"conferenceCall", "singleStepConference"}, Events: []string{"conferenced"}},
		},
		{
			"8.5", "basicEndpointDeviceProfile", "basicUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					"generateDigits", "getMessageWaitingIndicator", "setMessageWaitingIndicator",
					"getDoNotDisturb", "getForwarding", "setDoNotDisturb", "setForwarding",
				},
				Events: []string{"messageWaiting", "doNotDisturb", "forwarding"},
			},
		},
		{
			"8.6", "advancedEndpointDeviceProfile", "speakerUACSTADeviceFeatureProfile",
			Features{
				Services: []string{
					"getMicrophoneGain", "getMicrophoneMute", "getRingerStatus", "getSpeakerMute", "getSpeakerVolume",
					"setMicrophoneGain", "setMicrophoneMute", "setRingerStatus", "setSpeakerMute", "setSpeakerVolume",
				},
				Events: []string{"microphoneGain", "microphoneMute", "ringerStatus", "speakerMute", "speakerVolume"},
			},
		},
	}
}()

func (f Features) plus(services, events []string) Features {
	return Features{Services: slices.Concat(f.Services, services), Events: slices.Concat(f.Events, events)}
}

// Profiles returns the profiles that these features fulfil.
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
