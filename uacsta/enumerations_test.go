package uacsta_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A value that an enumeration does not have is named with those that it has, in JSON and XML alike; open enumerations, and
// what the standard does not define, take any.
func TestValues(t *testing.T) {
	t.Parallel()
	const forwarding = "forwardImmediate, forwardBusy, forwardNoAns"
	for document, want := range map[string]string{
		`{"SetForwarding":{"device":"101","forwardingType":"immediate","activateForward":true}}`:                   "SetForwarding.forwardingType: immediate is none of " + forwarding,
		`<SetForwarding xmlns="NS"><device>101</device><forwardingType>immediate</forwardingType></SetForwarding>`: "SetForwarding.forwardingType: immediate is none of " + forwarding,
		`{"SetForwarding":{"device":"101","forwardingType":"","activateForward":true}}`:                            `SetForwarding.forwardingType: "" is none of`,
		`{"SetForwarding":{"device":"101","forwardingType":"forwardBusy","activateForward":true}}`:                 "",
		`{"GetRegistrations":{"requestedRegTypes":["routeRegister","telex"]}}`:                                     "GetRegistrations.requestedRegTypes[1]: telex is none of escapeRegister, ",
		`{"ClearConnection":{"connectionToBeCleared":{"callID":"1"},"reason":"ofOurOwn"}}`:                         "",
		`{"GenerateTelephonyTones":{"connectionToSendTone":{"callID":"1"},"toneToSend":"switchSpec7"}}`:            "",
		`<OfSomebody xmlns="urn:x"><forwardingType>x</forwardingType></OfSomebody>`:                                "",
	} {
		var m *uacsta.Message
		var err error
		if document[0] == '<' {
			m, err = uacsta.Parse([]byte(strings.ReplaceAll(document, "NS", uacsta.Edition3.Namespace())))
		} else {
			m, err = uacsta.ParseJSON([]byte(document))
		}
		if err != nil {
			t.Fatal(document, err)
		}
		err = m.Values()
		var unclear *uacsta.Unclear
		switch {
		case want == "" && err != nil, want != "" && !errors.As(err, &unclear):
			t.Errorf("%s: %v", document, err)
		case want != "" && (!strings.HasPrefix(unclear.Refusal.Detail, want) || unclear.Refusal.Value != uacsta.InvalidParameterValue):
			t.Errorf("%s: %+v", document, unclear.Refusal)
		}
	}
}

// Every example has values of the standard, and the schema lists those of closed enumerations, and such as others have.
func TestSchemaHasValues(t *testing.T) {
	t.Parallel()
	for _, name := range uacsta.Names() {
		if m := uacsta.Example(name); m != nil && uacsta.Since(name) != 0 && m.Kind() == uacsta.Request {
			if err := m.Values(); err != nil {
				t.Error(err)
			}
		}
	}
	member := func(message, name string) map[string]any {
		return uacsta.JSONSchema(message)["properties"].(map[string]any)[name].(map[string]any)
	}
	if list, _ := member(uacsta.NameSetAgentState, "requestedAgentState")["enum"].([]string); !slices.Contains(list, "loggedOn") || len(list) != 5 {
		t.Error(list)
	}
	if list, _ := member(uacsta.NameClearConnection, "reason")["examples"].([]string); !slices.Contains(list, "normalClearing") || len(list) < 100 {
		t.Error(list)
	}
	if schema := member(uacsta.NameGetRegistrations, "requestedRegTypes")["items"].(map[string]any); schema["enum"] == nil {
		t.Error(schema)
	}
}
