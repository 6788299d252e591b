package phones

import (
	"testing"

	"github.com/tr87proxy/tr87proxy/sip"
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
	for uri, want := range map[string]sip.Replaces{
		"sip:1@x?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2":            {CallID: "a@b", ToTag: "1", FromTag: "2"},
		"sip:1@x?A=b&re%70laces=c%3Bfrom-tag%3D2%3Bto-tag=1;early-only": {CallID: "c", ToTag: "1", FromTag: "2", EarlyOnly: true},
		"sip:1@x": {}, "sip:1@x?A=b": {},
	} {
		if got, has, ok := replacedBy(uri); got != want || has != (want.CallID != "") || !ok {
			t.Errorf("%q: %+v %v %v, want %+v", uri, got, has, ok, want)
		}
	}
	one := "Replaces=c%3Bfrom-tag%3D2%3Bto-tag%3D1"
	for _, uri := range []string{"sip:1@x?Replaces=%zz", "sip:1@x?Replaces=a%40b", "sip:1@x?Replaces=", "sip:1@x?" + one + "&" + one} {
		if got, has, ok := replacedBy(uri); !has || ok {
			t.Errorf("%q is read: %+v", uri, got)
		}
	}
}

func FuzzURIs(f *testing.F) {
	f.Add("sip:%23100;x=1@h?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2")
	f.Fuzz(func(t *testing.T, uri string) {
		if n := number(uri); n != "" && !dialable.MatchString(n) {
			t.Errorf("%q: %q", uri, n)
		}
		if r, has, ok := replacedBy(uri); has && ok && (r.CallID == "" || r.ToTag == "" || r.FromTag == "") {
			t.Errorf("%q: %+v", uri, r)
		}
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
