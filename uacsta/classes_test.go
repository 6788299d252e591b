package uacsta

import (
	"slices"
	"strings"
	"testing"
)

// Every request of the table says of which classes it is, and nothing else does.
func TestEveryRequestHasClasses(t *testing.T) {
	for _, name := range Names() {
		classes, listed := services[name]
		if request := NewMessage("", name).Kind() == Request; request != listed {
			t.Errorf("%s: request %v, listed %v %v", name, request, listed, classes)
		}
		if observes := strings.HasPrefix(name, "Get"); observes && listed && !Observes(name) {
			t.Errorf("%s does not observe", name)
		}
	}
	for name, classes := range services {
		for _, class := range classes {
			if !slices.Contains(Classes(), class) {
				t.Errorf("%s: class %q", name, class)
			}
		}
	}
	if Observes("GetRich") || InClass("MakeMoney", "calls") || Observes("") {
		t.Error("a service that the table does not have is of a class")
	}
}

// Whatever can cost money is of the class new-calls.
func TestNewCalls(t *testing.T) {
	for _, name := range []string{
		"MakeCall", "MakePredictiveCall", "ConsultationCall", "MakeConnection", "SingleStepConferenceCall", "SingleStepTransferCall", "DeflectCall", "SetForwarding",
		"CallBack", "CallBackMessage", "CallBackNonCallRelated", "CallBackMessageNonCallRelated", "RouteSelect", "ParkCall", "DialDigits", "SendMessage", "JoinCall",
		"IntrudeCall", "TransferCall", "ConferenceCall", "DirectedPickupCall", "GroupPickupCall", "ButtonPress", "SetButtonInformation", "SetHookswitchStatus",
	} {
		if !InClass(name, "new-calls") || Observes(name) {
			t.Errorf("%s: %v", name, services[name])
		}
	}
}
