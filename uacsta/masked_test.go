package uacsta

import (
	"bytes"
	"strings"
	"testing"
)

func masked(m *Message) string {
	var b bytes.Buffer
	m.WriteMasked(&b)
	return b.String()
}

// Whatever holds a password is masked, wherever it stands; what does not is as it was.
func TestMasked(t *testing.T) {
	for _, document := range []string{
		`<StartApplicationSession xmlns="` + NamespaceApplSession + `"><applicationInfo><applicationID>x</applicationID><applicationSpecificInfo><user>crm</user><password>HIDDEN</password></applicationSpecificInfo></applicationInfo></StartApplicationSession>`,
		`<StartApplicationSession xmlns="` + NamespaceApplSession + `"><applicationInfo><applicationSpecificInfo><ns1:SessionLoginInfo xmlns:ns1="http://www.avaya.com/csta"><ns1:userName>crm</ns1:userName><ns1:password>HIDDEN<b>HIDDEN</b></ns1:password></ns1:SessionLoginInfo></applicationSpecificInfo></applicationInfo></StartApplicationSession>`,
		`<SetAgentState xmlns="` + NamespaceED3 + `"><device>100</device><agentID>7</agentID><agentPassword>HIDDEN</agentPassword></SetAgentState>`,
		`<MakeCall xmlns="` + NamespaceED3 + `"><callingDevice>crm</callingDevice><extensions><privateData><private><login userPasswd="HIDDEN"/><Credentials>HIDDEN</Credentials></private></privateData></extensions></MakeCall>`,
	} {
		m, err := Parse([]byte(document))
		if err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		before := m.String()
		shown := masked(m)
		if strings.Contains(shown, "HIDDEN") || !strings.Contains(shown, mask) || !strings.Contains(shown, "crm") && !strings.Contains(shown, "100") {
			t.Errorf("masked: %s", shown)
		}
		if m.String() != before {
			t.Errorf("WriteMasked has changed the message: %s", m)
		}
		if _, err := Parse([]byte(shown)); err != nil {
			t.Errorf("%s cannot be read: %v", shown, err)
		}
	}
	m, err := Parse([]byte(`<MakeCall xmlns="` + NamespaceED3 + `"><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>`))
	if err != nil || masked(m) != m.String() {
		t.Errorf("without a secret: %s, %v", masked(m), err)
	}
}

// The cause travels with copies and is no part of the message.
func TestCause(t *testing.T) {
	m := Encode(RequestSystemStatus{}, Edition3)
	before := m.String()
	m.SetCause(7)
	if m.Cause() != 7 || m.Clone().Cause() != 7 || m.String() != before {
		t.Errorf("cause %d, of the copy %d: %s", m.Cause(), m.Clone().Cause(), m)
	}
}
