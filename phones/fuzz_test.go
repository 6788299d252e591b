package phones

import (
	"testing"
)

func TestNumber(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:101@x": "101", "sip:%23100@x": "#100", "sip:*21@x": "*21", "sip:+49-30.1234(5)@x;user=phone": "+493012345", "sip:101;phone-context=a@x": "101",
		"sip:alice@x": "", "sip:@x": "", "sip:x": "", "tel:101": "101", "": "", "sip:1%00@x": "", "sip:123456789012345678901234567890123@x": "", "sip:1%zz@x": "",
	} {
		if got := number(uri); got != want {
			t.Errorf("%q: %q, want %q", uri, got, want)
		}
	}
	for uri, want := range map[string]string{
		"sip:1@x?Replaces=a%40b%3Bto-tag%3D1": "a@b", "sip:1@x?A=b&replaces=c%3Bx": "c", "sip:1@x": "", "sip:1@x?Replaces=%zz": "",
	} {
		if got, ok := replaced(uri); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", uri, got, ok, want)
		}
	}
}

func FuzzURIs(f *testing.F) {
	f.Add("sip:%23100;x=1@h?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2")
	f.Fuzz(func(t *testing.T, uri string) {
		if n := number(uri); n != "" && !dialable.MatchString(n) {
			t.Errorf("%q: %q", uri, n)
		}
		replaced(uri)
	})
}

func FuzzFeatureRequest(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?><SetForwarding xmlns="http://www.ecmainternational.org/standards/ecma-323/csta/ed3"><device/><forwardingType>forwardNoAns</forwardingType><activateForward>true</activateForward><forwardDN>102</forwardDN><ringCount>3</ringCount></SetForwarding>`))
	f.Add([]byte(`<SetAgentState xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device/><requestedAgentState>ready</requestedAgentState></SetAgentState>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		asked, service, err := featureRequest(body, "100")
		if err == nil && (asked == "" || service == nil) {
			t.Errorf("%q: %q %v", body, asked, service)
		}
	})
}
