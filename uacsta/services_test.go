package uacsta

import (
	"slices"
	"strings"
	"testing"
)

// Every request of the table has classes, and nothing else has.
func TestEveryRequestHasClasses(t *testing.T) {
	for _, name := range Names() {
		service, listed := services[name]
		if request := NewMessage("", name).Kind() == Request; request != listed {
			t.Errorf("%s: request %v, listed %v %v", name, request, listed, service.classes)
		}
		if observes := strings.HasPrefix(name, "Get"); observes && listed && !Observes(name) {
			t.Errorf("%s does not observe", name)
		}
	}
	for name, service := range services {
		for _, class := range service.classes {
			if !slices.Contains(Classes(), class) {
				t.Errorf("%s: class %q", name, class)
			}
		}
	}
	if Observes("GetRich") || InClass("MakeMoney", "calls") || Observes("") {
		t.Error("a service that the table does not have is of a class")
	}
}

// Every service that can cost money is in the class new-calls.
func TestNewCalls(t *testing.T) {
	for _, name := range []string{
		"MakeCall", "MakePredictiveCall", "ConsultationCall", "MakeConnection", "SingleStepConferenceCall", "SingleStepTransferCall", "DeflectCall", "SetForwarding",
		"CallBack", "CallBackMessage", "CallBackNonCallRelated", "CallBackMessageNonCallRelated", "RouteSelect", "ParkCall", "DialDigits", "SendMessage", "JoinCall",
		"IntrudeCall", "TransferCall", "ConferenceCall", "DirectedPickupCall", "GroupPickupCall", "ButtonPress", "SetButtonInformation", "SetHookswitchStatus",
	} {
		if !InClass(name, "new-calls") || Observes(name) {
			t.Errorf("%s: %v", name, services[name].classes)
		}
	}
}

// Each element of a request that names devices, by its grammar, has a role, and no other element has
// one.
func TestEveryDeviceHasARole(t *testing.T) {
	for name, service := range services {
		var want, have []string
		for _, m := range grammars()[name].members {
			if m.content.identifies {
				want = append(want, m.name)
			}
		}
		refusals := map[Role]string{}
		for _, o := range service.objects {
			have = append(have, o.element)
			if other, found := refusals[o.role]; found && other != o.refusal {
				t.Errorf("%s: devices of one role are refused with %s and %s", name, other, o.refusal)
			}
			refusals[o.role] = o.refusal
			if o.refusal != "" && !Refuse(Operation, o.refusal).Known() {
				t.Errorf("%s: %s is no error value", name, o.refusal)
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s: roles for %v, devices in %v", name, have, want)
		}
	}
}

// What a request does with the devices that it names, and how policy refuses it.
func TestRoles(t *testing.T) {
	for _, tt := range []struct {
		service, path string
		role          Role
		refusal       string
	}{
		{NameMakeCall, "callingDevice", Subject, PrivilegeViolationCallingDevice},
		{NameMakeCall, "calledDirectoryNumber", Destination, PrivilegeViolationCalledDevice},
		{NameAnswerCall, "callToBeAnswered/deviceID", Subject, PrivilegeViolationSpecifiedDevice},
		{NameDeflectCall, "callToBeDiverted/deviceID", Subject, PrivilegeViolationOnDivertingDevice},
		{NameDeflectCall, "newDestination/device", Destination, PrivilegeViolationDestinationDevice},
		{NameParkCall, "parking/deviceID", Subject, PrivilegeViolationCallToParkDevice},
		{NameParkCall, "parkTo", Destination, PrivilegeViolationOnParkToDevice},
		{NameSetDoNotDisturb, "callingDeviceList/callingDevice", Mentioned, ""},
		{NameSetAgentState, "group", Destination, PrivilegeViolationSpecifiedDevice},
		{NameGetAgentState, "acdGroup", Mentioned, ""},
		{NameRouteSelect, "alternateRoutes/deviceID", Destination, PrivilegeViolationDestinationDevice},
		{NameMakeCall, "calledDirectoryNumberToo", Subject, PrivilegeViolationCallingDevice},
		{"MakeMoney", "destination", Subject, PrivilegeViolationSpecifiedDevice},
	} {
		s := ServiceOf(tt.service)
		if role := s.Role(tt.path); role != tt.role || role != Mentioned && s.Refusal(role) != tt.refusal {
			t.Errorf("%s %s: role %d, refused with %s", tt.service, tt.path, role, s.Refusal(role))
		}
	}
	if got := ServiceOf(NameRouteSelect).Refusal(Subject); got != PrivilegeViolationSpecifiedDevice {
		t.Errorf("without a subject: %s", got)
	}
	if got := ServiceOf(NameHoldCall).Refusal(Destination); got != PrivilegeViolationDestinationDevice {
		t.Errorf("without a destination: %s", got)
	}
}

// A request is one-way if its response is no message of the standard.
func TestOneWay(t *testing.T) {
	for _, name := range []string{
		"RouteRequest", "RouteSelect", "RouteUsed", "RouteEnd", "RouteReject", "ReRoute", "RouteRegisterAbort",
		"SystemRegisterAbort", "EscapeRegisterAbort", "IORegisterAbort", "SnapshotDeviceData", "SnapshotCallData",
		"SwitchingFunctionDevices", "MonitorInfo", "RegistrationInfo", "LocationSessionInfo", "ApplicationSessionTerminated",
	} {
		if !NewMessage("", name).OneWay() {
			t.Errorf("%s has an answer", name)
		}
	}
	if oneWay := named(func(s Service) bool { return s.oneWay }); len(oneWay) != 15 {
		t.Errorf("%d requests of the table have no answer: %v", len(oneWay), oneWay)
	}
	for _, name := range []string{"MakeCall", "SystemStatus", "StartApplicationSession", "DeliveredEvent", "MakeCallResponse", "MakeMoney"} {
		if NewMessage("", name).OneWay() {
			t.Errorf("%s has no answer", name)
		}
	}
}

// Every service and event has a name in the capability lists, or none because it belongs to the
// application session; and every name there leads back to it.
func TestCapabilityNames(t *testing.T) {
	listed := map[bool]map[string]bool{false: {}, true: {}}
	for list, members := range capabilityLists().lists {
		for _, member := range members {
			event := ofEvents(list)
			listed[event][member.name] = true
			message := MessageOf(member.name, event)
			if CapabilityName(message) != member.name {
				t.Errorf("%s is the name of %q, which is called %s", member.name, message, CapabilityName(message))
			}
			if kind := NewMessage("", message).Kind(); (kind == Event) != event {
				t.Errorf("%s in %s is the %s %s", member.name, list, kind, message)
			}
		}
	}
	for _, name := range Names() {
		kind := NewMessage("", name).Kind()
		if kind == Response {
			continue
		}
		switch capability := CapabilityName(name); {
		case isSessionService(name) != (capability == ""):
			t.Errorf("%s is called %q", name, capability)
		case capability == "":
		case !listed[kind == Event][capability]:
			t.Errorf("%s is called %s, which no list has", name, capability)
		case MessageOf(capability, kind == Event) != name:
			t.Errorf("%s leads to %s, not to %s", capability, MessageOf(capability, kind == Event), name)
		}
	}
	for _, no := range []string{"", "MakeCall", "\xff", "éa", "campOnCallEvent"} {
		if got := MessageOf(no, false); got != "" {
			t.Errorf("%q is the name of %s", no, got)
		}
	}
}

// Capabilities that the table does not have are kept.
func TestFeaturesOfOthers(t *testing.T) {
	f := Features{Services: []string{NameMakeCall, NameCallBack, "GetPresenceState"}, Events: []string{NameTransferedEvent, NameStopEvent, "PresenceStateEvent"}}
	again := f.Message(Edition6).Features()
	for _, pair := range [][2][]string{{again.Services, f.Services}, {again.Events, f.Events}} {
		slices.Sort(pair[0])
		slices.Sort(pair[1])
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("got %v, want %v", pair[0], pair[1])
		}
	}
}

// Capabilities are listed where the element has a place for them, and nowhere else.
func TestListed(t *testing.T) {
	f := Features{Services: []string{NameRouteSelect, NameMakeCall, NameCallBack}, Events: []string{NameCallBackEvent, NameHeldEvent}}
	for holder, want := range map[string][]Capability{
		"routeingServList":  {{List: "routeingServList", Name: "routeSelect"}},
		"logDevEvtsList":    {{List: "callControlEvtsList", Name: "held"}, {List: "logicalEvtsList", Name: "callBack"}},
		"supportedServices": {{List: "callControlServList", Name: "callBack"}, {List: "callControlServList", Name: "makeCall"}, {List: "routeingServList", Name: "routeSelect"}},
		"nothing":           nil,
	} {
		got := f.Listed(holder)
		if !slices.EqualFunc(got, want, func(a, b Capability) bool { return a.List == b.List && a.Name == b.Name }) {
			t.Errorf("%s: got %v, want %v", holder, got, want)
		}
	}
}
