package phones

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// headers is an INVITE: lines of headers after the Request-URI.
type headers []string

func (h headers) URI() string { return h[0] }

func (h headers) Values(name string) (values []string) {
	for _, line := range h[1:] {
		if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

const account, number = "sip:acme@192.0.2.5:5060;transport=udp", "sip:+49305550100@192.0.2.5"

func TestCalled(t *testing.T) {
	for _, tt := range []struct {
		from string
		h    headers
		want string // number or error
	}{
		{"", headers{number, "To: <sip:1@x>", "P-Called-Party-ID: <sip:2@x>"}, "+49305550100"},
		{"", headers{"tel:+49-30-555-0100", "To: <sip:1@x>"}, "+49305550100"},
		{"", headers{account, "To: <sip:5550100@isp.example>;tag=1"}, "5550100"},
		{"", headers{account, `To: Doe, Jane <sip:5550100@isp.example>`}, "5550100"},
		{"", headers{"sip:192.0.2.5", "To: <sip:5550100@isp.example;user=phone>"}, "5550100"},
		{"", headers{account, "To: <sip:acme@isp.example>", "P-Called-Party-ID: <tel:+49(30)555.0101>"}, "+49305550101"},
		{"", headers{account, "To: <sip:5550100@isp.example>", `P-Called-Party-ID: "x, y" <sip:5550101@x>;cpc=y`}, "5550101"},
		{"", headers{account, "To: <sip:5550100@x>", "P-Called-Party-ID: <sip:5550101@x>", "P-Called-Party-ID: <sip:5550102@x>"}, errUnclear.Error()},
		{"", headers{account, "To: <sip:5550100@x>", "P-Called-Party-ID: <sip:5550101@x>, <sip:5550101@x>"}, errUnclear.Error()},
		{"", headers{account, "To: <sip:acme@isp.example>"}, errNoNumber.Error()},
		{"", headers{"sip:sales@192.0.2.5", "To: <sip:5550100@x>"}, errNoNumber.Error()},
		{"", headers{"sip:4711@192.0.2.5", "To: <sip:5550100@x>"}, "4711"},
		{"request-uri", headers{account, "To: <sip:5550100@x>"}, errNoNumber.Error()},
		{"to", headers{number, "To: <sip:5550100@x>"}, "5550100"},
		{"to", headers{number, "To: <sip:jane@x>"}, errNoNumber.Error()},
		{"p-called-party-id", headers{number, "P-Called-Party-ID: <sip:5550101@x>"}, "5550101"},
		{"p-called-party-id", headers{number, "To: <sip:5550100@x>"}, errNoNumber.Error()},
		{"x-did", headers{number, "X-DID: +49 30", "To: <sip:5550100@x>"}, errNoNumber.Error()},
		{"x-did", headers{number, "X-DID: +49-30-5550103"}, "+49305550103"},
		{"x-did", headers{number, "X-DID: <sip:5550103@x>"}, "5550103"},
		{"x-did", headers{number, "X-DID: 5550103", "x-did: 5550104"}, errUnclear.Error()},
		{"x-did", headers{number, "X-DID: <mailto:5550103>"}, errNoNumber.Error()},
	} {
		peer := &trunk{Trunk: Trunk{Number: "900", Peer: "sip:isp.example", Name: "acme", CalledFrom: tt.from}}
		a, err := peer.arrival(tt.h)
		if got := a.Called; err == nil && got != tt.want || err != nil && (err.Error() != tt.want || got != "") {
			t.Errorf("%s %q: %s %v, want %s", tt.from, tt.h, got, err, tt.want)
		}
	}
	// The account may be a number itself, and the address of record may differ from the user.
	single := &trunk{Trunk: Trunk{Number: "900", Peer: "sip:isp.example", Name: "u77", From: "sip:5550100@isp.example"}}
	for _, tt := range []struct {
		h    headers
		want string
	}{
		{headers{"sip:5550100@192.0.2.5", "To: <sip:5550101@isp.example>"}, "5550101"},
		{headers{"sip:5550100@192.0.2.5", "To: <sip:u77@isp.example>"}, "5550100"},
		{headers{"sip:u77@192.0.2.5", "To: <sip:5550101@isp.example>"}, "5550101"},
	} {
		if a, err := single.arrival(tt.h); err != nil || a.Called != tt.want {
			t.Errorf("%q: %s %v, want %s", tt.h, a.Called, err, tt.want)
		}
	}
}

func TestCaller(t *testing.T) {
	const from, pai, rpid = "From: <sip:030111@x>;tag=1", "P-Asserted-Identity: <sip:030222@x>", "Remote-Party-ID: <sip:030333@x>;party=calling"
	const anonymousFrom, withheld = `From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1`, "restricted"
	asserted := func(values ...string) headers {
		return headers{number, from, "P-Asserted-Identity: " + strings.Join(values, ", ")}
	}
	for _, tt := range []struct {
		order []string
		h     headers
		want  string // number, restricted, or "" for notKnown
	}{
		{nil, headers{number, from, rpid, pai}, "030222"},
		{nil, headers{number, from, rpid}, "030333"},
		{nil, headers{number, from}, "030111"},
		{nil, headers{number, "From: <sip:jane@x>", "P-Asserted-Identity: <sip:jane@x>"}, ""},
		{nil, headers{number, from, "P-Asserted-Identity: <sip:jane@x>"}, "030111"},
		{nil, headers{number, from, "Remote-Party-ID: <sip:5550100@x>;party=called;privacy=full"}, "030111"},
		{nil, headers{number, from, "P-Preferred-Identity: <sip:030999@x>"}, "030111"},
		{[]string{"from"}, headers{number, from, rpid, pai}, "030111"},
		{[]string{"remote-party-id", "from"}, headers{number, from, pai}, "030111"},
		{[]string{"p-asserted-identity"}, headers{number, from}, ""},
		{[]string{}, headers{number, from, pai}, ""},
		// URIs
		{nil, asserted("<tel:+49-30-222>"), "+4930222"},
		{nil, asserted("<tel:222-333;phone-context=+49-30>"), "222333"},
		{nil, asserted("<sip:222;phone-context=example.com@x;user=phone>"), "222"},
		{nil, asserted("<sip:%2B4930222@x>"), "+4930222"},
		{nil, asserted("<urn:service:110>"), "030111"},
		{nil, asserted("<mailto:030222>"), "030111"},
		{nil, asserted(`"030999" <sip:030222@x>`), "030222"},
		// a sip and a tel URI (RFC 3325 9.1), and what contradicts itself
		{nil, asserted("<sip:4711@x>", "<tel:+4930222>"), "+4930222"},
		{nil, asserted("<sip:jane@x>", "<tel:+4930222>"), "+4930222"},
		{nil, asserted("<sip:+4930222@x;user=phone>", "<sip:4711@x>"), "+4930222"},
		{nil, asserted("<sip:+4930222@x;user=phone>", "<tel:+49-30-222>"), "+4930222"},
		{nil, append(asserted("<tel:+4930222>"), "P-Asserted-Identity: <tel:+4930333>"), ""},
		{nil, asserted("<sip:030222@x>", "<sip:030333@x>"), ""},
		{nil, asserted(strings.Repeat("<sip:jane@x>, ", 30) + "<sip:030222@x>"), ""},
		// anonymous
		{nil, headers{number, from, pai, "Privacy: id"}, withheld},
		{nil, headers{number, from, pai, "Privacy: none;ID"}, withheld},
		{nil, headers{number, from, pai, "Privacy: none", "Privacy: user;critical"}, withheld},
		{nil, headers{number, from, pai, "Privacy: header"}, withheld},
		{nil, headers{number, from, pai, "Privacy: something"}, withheld},
		{nil, headers{number, from, pai, "Privacy: none"}, "030222"},
		{nil, headers{number, from, pai, "Privacy: history;session;critical"}, "030222"},
		{nil, headers{number, anonymousFrom}, withheld},
		{nil, headers{number, anonymousFrom, pai}, withheld},
		{[]string{"p-asserted-identity"}, headers{number, anonymousFrom, pai}, withheld},
		{nil, headers{number, "From: <sip:Anonymous@isp.example>", pai}, withheld},
		{nil, headers{number, from, "Remote-Party-ID: <sip:030333@x>;privacy=full;screen=yes"}, withheld},
		{[]string{"from"}, headers{number, from, "Remote-Party-ID: <sip:030333@x>;privacy=uri-network"}, withheld},
		{nil, headers{number, from, "Remote-Party-ID: <sip:030333@x>;privacy=name"}, "030333"},
		{nil, headers{number, from, "Remote-Party-ID: <sip:030333@x>;privacy=off"}, "030333"},
		{nil, headers{number, `From: "Unavailable" <sip:unavailable@unknown.invalid>;tag=1`}, ""},
	} {
		a, err := (&trunk{Trunk: Trunk{CallerFrom: tt.order}}).arrival(tt.h)
		got := a.Caller.Device.ID
		if a.Caller.Restricted {
			got += withheld
		}
		if err != nil || got != tt.want {
			t.Errorf("%v %q: %q %v, want %q", tt.order, tt.h, got, err, tt.want)
		}
	}
}

func TestRedirectedBy(t *testing.T) {
	const pressed = "History-Info: <sip:030444@x?Privacy=none>;index=1, <sip:5550100@x;cause=302>;index=1.1;mp=1"
	for _, tt := range []struct {
		lines []string
		want  string // number, notKnown, or "" for notRequired
		cause uacsta.EventCause
	}{
		{nil, "", ""},
		{[]string{"Diversion: <sip:030333@x>;reason=user-busy;counter=1"}, "030333", uacsta.CauseCallForwardBusy},
		{[]string{"Diversion: <tel:+4930333>;reason=\"no-answer\", <sip:030222@x>;reason=unconditional"}, "+4930333", uacsta.CauseCallForwardNoAnswer},
		{[]string{"Diversion: <sip:030333@x>;reason=unconditional", "Diversion: <sip:030222@x>;reason=user-busy"}, "030333", uacsta.CauseCallForwardImmediate},
		{[]string{"Diversion: <sip:030333@x>;reason=time-of-day;privacy=off"}, "030333", uacsta.CauseCallForward},
		{[]string{"Diversion: <sip:030333@x>;reason=deflection;privacy=full"}, "notKnown", uacsta.CauseRedirected},
		{[]string{"Diversion: <sip:anonymous@anonymous.invalid>"}, "notKnown", uacsta.CauseCallForward},
		{[]string{"Diversion: <sip:unknown@unknown.invalid>"}, "notKnown", uacsta.CauseCallForward},
		{[]string{"Diversion: ,"}, "", ""},
		{[]string{"Diversion: " + strings.Repeat("<sip:030333@x>,", 30)}, "notKnown", uacsta.CauseCallForward},
		// History-Info
		{[]string{pressed}, "030444", uacsta.CauseCallForwardImmediate},
		{[]string{"History-Info: <sip:030444@x>;index=1", "History-Info: <sip:5550100@x;cause=486>;index=1.1"}, "030444", uacsta.CauseCallForwardBusy},
		{[]string{"History-Info: <sip:030444@x>;index=1, <sip:030555@x;cause=408>;index=1.1;mp=1, <sip:030556@x>;index=1.1.1;rc=1.1, <sip:5550100@x;cause=487>;index=1.1.2;mp=1.1"}, "030555", uacsta.CauseRedirected},
		{[]string{"History-Info: <sip:030444@x>;index=1, <sip:5550100@x>;index=1.1;rc=1"}, "", ""},
		{[]string{"History-Info: <sip:030444@x>;index=1, <sip:5550100@x>;index=1.1;mp=1"}, "030444", uacsta.CauseCallForward},
		{[]string{"History-Info: <sip:030444@x?Privacy=history>;index=1, <sip:5550100@x;cause=302>;index=1.1;mp=1"}, "notKnown", uacsta.CauseCallForwardImmediate},
		{[]string{"History-Info: <sip:030444@x?Privac%79=histor%79>;index=1, <sip:5550100@x;cause=302>;index=1.1;mp=1"}, "notKnown", uacsta.CauseCallForwardImmediate},
		{[]string{pressed, "Privacy: history"}, "notKnown", uacsta.CauseCallForwardImmediate},
		{[]string{pressed, "Privacy: id"}, "030444", uacsta.CauseCallForwardImmediate},
		{[]string{"History-Info: <sip:5550100@x;cause=302>;index=1"}, "notKnown", uacsta.CauseCallForwardImmediate},
		{[]string{"History-Info: <sip:030444@x>;index=1, <sip:030445@x>;index=1, <sip:5550100@x;cause=302>;index=1.1"}, "notKnown", ""},
		{[]string{"History-Info: <sip:030444@x>, <sip:5550100@x;cause=302>"}, "notKnown", ""},
		// both
		{[]string{pressed, "Diversion: <sip:030444@x>;reason=no-answer"}, "030444", uacsta.CauseCallForwardNoAnswer},
		{[]string{pressed, "Diversion: <sip:030333@x>;reason=no-answer"}, "notKnown", ""},
		{[]string{pressed, "Diversion: <sip:030444@x>;privacy=full"}, "notKnown", ""},
		{[]string{"History-Info: <sip:5550100@x>;index=1", "Diversion: <sip:030333@x>;reason=no-answer"}, "030333", uacsta.CauseCallForwardNoAnswer},
	} {
		a, err := (&trunk{}).arrival(append(headers{number}, tt.lines...))
		if got := a.Redirected.NumberDialed.ID + a.Redirected.Other; err != nil || got != tt.want || a.Cause != tt.cause {
			t.Errorf("%q: %q %s %v, want %q %s", tt.lines, got, a.Cause, err, tt.want, tt.cause)
		}
	}
}

// FuzzArrival: whatever the headers say, a number can be dialled, and what is withheld is not there.
func FuzzArrival(f *testing.F) {
	f.Add(number, "From: <sip:030111@x>;tag=1\nP-Asserted-Identity: <sip:jane@x>, <tel:+49-30-222;phone-context=x>\nPrivacy: id;user")
	f.Add(account, "To: \"a\\\"b\" <sip:5550100@x>\nP-Called-Party-ID: <sip:%2B49@x;user=phone>\nX-DID: 1")
	f.Add("sip:", "Remote-Party-ID: <sip:030333@x>;party=calling;privacy=full-network\nDiversion: <sip:1@x>;reason=\"x;y\";privacy=off, <tel:2>")
	f.Add("tel:1", "History-Info: <sip:1@x?Privacy=history&Reason=SIP%3Bcause%3D302>;index=1, <sip:2@x;cause=302>;index=1.1;mp=1")
	f.Add("sip:a@[::1", "History-Info: <sip:1@x>;index=..,;index=\nDiversion: <>\nFrom: <")
	f.Fuzz(func(t *testing.T, uri, lines string) {
		h := append(headers{uri}, strings.Split(lines, "\n")...)
		for _, from := range []string{"", "to", "x-did"} {
			a, err := (&trunk{Trunk: Trunk{Number: "900", Peer: "sip:isp.example", Name: "acme", CalledFrom: from}}).arrival(h)
			if (err == nil) != (a.Called != "") || a.Called != "" && !registrar.Dialable(a.Called) {
				t.Errorf("%q was called, %v", a.Called, err)
			}
			caller, by := a.Caller.Device.ID, a.Redirected.NumberDialed.ID
			if caller != "" && (a.Caller.Restricted || !registrar.Dialable(caller)) || by != "" && (a.Redirected.Other != "" || !registrar.Dialable(by)) {
				t.Errorf("%+v", a)
			}
		}
		hidden, err := (&trunk{}).arrival(append(h, "Privacy: id"))
		if err == nil && !hidden.Caller.Restricted {
			t.Errorf("the caller is shown: %+v", hidden)
		}
	})
}
