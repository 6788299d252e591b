package phones

import (
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

func TestShown(t *testing.T) {
	alice := softswitch.View{Calling: uacsta.Ext("100"), Inside: true, Name: "Alice"}
	with := func(v softswitch.View, change func(*softswitch.View)) softswitch.View { change(&v); return v }
	hidden := with(alice, func(v *softswitch.View) { v.Private = true })
	unlisted := with(alice, func(v *softswitch.View) { v.Calling, v.Name = uacsta.Ext("101"), "" })
	outside := softswitch.View{Calling: uacsta.Ext("0309876"), Redirecting: "100", Cause: uacsta.CauseCallForwardBusy}
	spoofed := softswitch.View{Calling: uacsta.Ext("100"), Redirecting: "101", Cause: uacsta.CauseSingleStepTransfer}
	restricted := softswitch.View{Calling: uacsta.ExtendedDeviceID{Restricted: true}, Redirecting: "100", Cause: uacsta.CauseCallForwardImmediate}
	discreet := with(outside, func(v *softswitch.View) { v.Discreet = true })
	unknown := softswitch.View{Redirecting: "100", Cause: uacsta.CauseCallForwardNoAnswer}
	const acme, site, anonymousFrom = `"" <sip:acme@isp.example>`, `"" <sip:+49305550@isp.example>`, `"Anonymous" <sip:anonymous@anonymous.invalid>`
	everything := []string{"from", "p-asserted-identity", "remote-party-id", "diversion"}
	for _, tt := range []struct {
		name  string
		shows []string
		site  string
		view  softswitch.View
		want  []string // From, then headers
	}{
		{"by default", nil, "", alice, []string{`"Alice" <sip:acme@isp.example>`, "P-Asserted-Identity: <sip:5550100@isp.example>"}},
		{"the site", nil, "+49305550", alice, []string{`"Alice" <sip:+49305550@isp.example>`, "P-Asserted-Identity: <sip:5550100@isp.example>"}},
		{"no number of its own", nil, "", unlisted, []string{acme, "P-Asserted-Identity: <sip:101@isp.example>"}},
		{"no number of its own, a site", nil, "+49305550", unlisted, []string{site, "P-Asserted-Identity: <sip:+49305550@isp.example>"}},
		{"nothing", []string{}, "", alice, []string{`"Alice" <sip:acme@isp.example>`}},
		{"all", everything, "+49305550", alice, []string{
			`"Alice" <sip:5550100@isp.example>`, "P-Asserted-Identity: <sip:5550100@isp.example>",
			"Remote-Party-ID: <sip:5550100@isp.example>;party=calling;privacy=off;screen=yes",
		}},
		{"private", everything, "", hidden, []string{
			anonymousFrom, "P-Asserted-Identity: <sip:5550100@isp.example>",
			"Remote-Party-ID: <sip:5550100@isp.example>;party=calling;privacy=full;screen=yes", "Privacy: id",
		}},
		{"private, nothing", []string{}, "+49305550", hidden, []string{anonymousFrom, "Privacy: id"}},
		{"forwarded", nil, "", outside, []string{acme, "P-Asserted-Identity: <sip:0309876@isp.example>", "Diversion: <sip:5550100@isp.example>;reason=user-busy"}},
		{"forwarded by somebody who withholds the number", nil, "", discreet, []string{
			acme, "P-Asserted-Identity: <sip:0309876@isp.example>", "Diversion: <sip:5550100@isp.example>;reason=user-busy;privacy=full",
		}},
		{"forwarded, without diversion", []string{"from"}, "+49305550", outside, []string{`"" <sip:0309876@isp.example>`}},
		{"an outside caller with an extension's number", nil, "", spoofed, []string{
			acme, "P-Asserted-Identity: <sip:100@isp.example>", "Diversion: <sip:101@isp.example>;reason=unknown",
		}},
		{"forwarded, anonymous", everything, "", restricted, []string{anonymousFrom, "Privacy: id", "Diversion: <sip:5550100@isp.example>;reason=unconditional"}},
		{"forwarded, anonymous, a site", nil, "+49305550", restricted, []string{
			anonymousFrom, "P-Asserted-Identity: <sip:+49305550@isp.example>", "Privacy: id", "Diversion: <sip:5550100@isp.example>;reason=unconditional",
		}},
		{"forwarded, not known", everything, "", unknown, []string{acme, "Diversion: <sip:5550100@isp.example>;reason=no-answer"}},
	} {
		peer := &trunk{Trunk: Trunk{
			Number: "900", Peer: "sip:isp.example:5061;transport=tls", Name: "acme", Shows: tt.shows, SiteNumber: tt.site, Numbers: map[string]string{"100": "5550100"},
		}}
		inv := peer.invite(&tt.view, &softswitch.Party{Number: "0301234"})
		got := []string{sip.Quote(inv.Name) + " <" + inv.From + ">"}
		for _, h := range inv.Headers {
			got = append(got, h.Name+": "+h.Value)
		}
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") || inv.To != "sip:0301234@isp.example:5061;transport=tls" {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// A telephone can withhold its number from the network, and can claim no other.
func TestPrivateCall(t *testing.T) {
	w, peer, _ := withTrunk(t, "0309876", nil)
	a := w.handset("100")
	claims := []sip.Header{
		{Name: "P-Asserted-Identity", Value: "<sip:101@x>"}, {Name: "P-Preferred-Identity", Value: "<sip:101@x>"}, {Name: "Remote-Party-ID", Value: "<sip:101@x>"},
		{Name: "Diversion", Value: "<sip:101@x>"}, {Name: "History-Info", Value: "<sip:101@x>;index=1, <sip:0301234@x;cause=302>;index=1.1"},
	}
	for _, private := range []bool{false, true} {
		headers, privacy, from := claims, "", "sip:900@"
		if private {
			headers, privacy, from = append(headers, sip.Header{Name: "Privacy", Value: "id"}), "id", "sip:anonymous@anonymous.invalid"
		}
		final, _ := a.call(t.Context(), "0301234", headers...)
		in := wait.Next(t, peer.calls, "the call to the network")
		if !strings.HasPrefix(in.From().URI, from) || !strings.HasPrefix(in.Header("P-Asserted-Identity"), "<sip:100@") || in.Header("Privacy") != privacy || in.Header("Diversion")+in.Header("Remote-Party-ID") != "" {
			t.Errorf("%v: From %v, P-Asserted-Identity %s, Privacy %q", private, in.From(), in.Header("P-Asserted-Identity"), in.Header("Privacy"))
		}
		peer.ring(in)
		if m := w.event("100", "NetworkReached"); m.Text("callingDevice/deviceIdentifier") != "100" || !m.Has("lastRedirectionDevice/notRequired") {
			t.Error(m)
		}
		in.Reject(sip.Answer{Code: 486})
		wait.Next(t, final, "the refusal")
		w.leave()
	}
	own := uacsta.Dev("100")
	w.must(uacsta.SetCallerIDStatus{Device: &own, CallerIDProvided: false})
	final, _ := a.call(t.Context(), "0301234")
	in := wait.Next(t, peer.calls, "the call to the network")
	if !strings.HasPrefix(in.From().URI, "sip:anonymous@anonymous.invalid") || in.Header("Privacy") != "id" {
		t.Errorf("From %v, Privacy %q", in.From(), in.Header("Privacy"))
	}
	in.Reject(sip.Answer{Code: 486})
	wait.Next(t, final, "the refusal")
	w.leave()
}
