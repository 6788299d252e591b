package asn1

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Passwords of associations and of agents are overwritten, and nothing else: the PDU says the same but for them. A PDU that can
// have a password and cannot be read is overwritten.
func TestConceal(t *testing.T) {
	one := uacsta.Dev("100")
	messages := map[string]*uacsta.Message{
		"a login of an agent": uacsta.Encode(uacsta.SetAgentState{Device: one, RequestedAgentState: uacsta.RequestLoggedOn, AgentID: "7001", Password: "73656372657421"}, Edition),
		"a call":              uacsta.Encode(uacsta.MakeCall{CallingDevice: one, CalledDirectoryNumber: uacsta.Dev("secret!")}, Edition),
	}
	for _, flavour := range flavours() {
		c := NewCodec(flavour, AnyCallIDs)
		for name, m := range messages {
			pdu, err := c.Request(m)
			if err != nil {
				if flavour.Name != "phase1" {
					t.Errorf("%s: %s: %v", flavour.Name, name, err)
				}
				continue
			}
			pdu.SetInvokeID(5)
			frame, err := c.Frame(pdu)
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(frame)
			want := bytes.ReplaceAll(frame, []byte("secret!"), []byte("*******"))
			if name == "a call" || flavour.Name == "phase1" {
				want = frame
			}
			if got := c.conceal(frame); !bytes.Equal(got, want) {
				t.Errorf("%s: %s becomes %x, want %x", flavour.Name, name, got, want)
			}
			if !bytes.Equal(frame, before) {
				t.Errorf("%s: %s was changed", flavour.Name, name)
			}
		}
	}
	c := NewCodec(Phase3, AnyCallIDs)
	login, err := c.Frame(&PDU{Association: &Association{Kind: AARQ, Credentials: true, Name: "crm", Password: "secret!"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.conceal(login), bytes.Replace(login, []byte("secret!"), []byte("*******"), 1); !bytes.Equal(got, want) || bytes.Equal(got, login) {
		t.Errorf("a login becomes %x, want %x", got, want)
	}
	broken := bytes.Clone(login)
	broken[4] = 0x7F // longer than it is
	if got := c.conceal(broken); string(got[4:]) != strings.Repeat("*", len(broken)-4) {
		t.Errorf("a broken login becomes %x", got)
	}
	for n := range login { // of any length
		if got := c.conceal(login[:n]); bytes.Contains(got, []byte("secret!")) {
			t.Errorf("%d octets of a login become %x", n, got)
		}
	}
}

// Events about agents have passwords, too.
func TestConcealEvents(t *testing.T) {
	for _, flavour := range []Flavour{Phase3, Phase1} {
		c := NewCodec(flavour, AnyCallIDs)
		event := uacsta.Encode(uacsta.AgentLoggedOnEvent{MonitorCrossRefID: "31", AgentDevice: uacsta.Ext("100"), AgentID: "7001", AgentPassword: "73656372657421"}, Edition)
		pdu, err := c.Event(event)
		if err != nil {
			t.Fatal(err)
		}
		pdu.SetInvokeID(5)
		frame, err := c.Frame(pdu)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := c.conceal(frame), bytes.ReplaceAll(frame, []byte("secret!"), []byte("*******")); !bytes.Equal(got, want) || bytes.Equal(got, frame) {
			t.Errorf("%s: %x becomes %x", flavour.Name, frame, got)
		}
	}
}
