package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A dry run says which rules of the client do not apply, and not whom else there are rules for.
func TestDryRunNamesNobodyElse(t *testing.T) {
	o := newOffice(t)
	w := o.post(t.Context(), "/v1/devices/199/calls?dryRun=true", "application/json", `{"to":"101"}`)
	if text := w.Body.String(); w.Code != 200 || !strings.Contains(text, "it names other devices") || strings.Contains(text, "crm") {
		t.Errorf("%d %s", w.Code, text)
	}
}

// A dry run says in which state the connection is, what is possible there, and if the switch would refuse the action.
func TestDryRunForesees(t *testing.T) {
	o := newOffice(t)
	o.rules("100", "101", "400")
	w := o.post(t.Context(), placing, "application/json", `{"to":"101"}`)
	var made Result
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	hold := `{"HoldCall":{"callToBeHeld":{"callID":"` + made.Call + `","deviceID":"101"}}}`
	for _, tt := range []struct{ path, body, detail, state, possible string }{
		{"/v1/devices/101/calls/" + made.Call + "/answer", ``, "", "alerting", "answer"},
		{"/v1/devices/101/calls/" + made.Call + "/hold", ``, "HoldCall is not possible: the connection of device 101 in call " + made.Call + " is in state alerting", "alerting", "answer"},
		{cstaPath, hold, "HoldCall is not possible: the connection of device 101", "alerting", "answer"},
		{"/v1/devices/101/calls/nothing/answer", ``, "device 101 has no call nothing", "", ""},
		{"/v1/devices/400/calls", `{"to":"101"}`, "device 400 is of the kind park: it does not support MakeCall", "", ""},
		{"/v1/devices/100/calls", `{"to":"101"}`, "", "", ""},
	} {
		w := o.post(t.Context(), tt.path+"?dryRun=true", "application/json", tt.body)
		var look Outlook
		if err := json.Unmarshal(w.Body.Bytes(), &look); err != nil || w.Code != http.StatusOK || !look.Allowed {
			t.Fatalf("%s: %d %s", tt.path, w.Code, w.Body)
		}
		if !strings.HasPrefix(look.Detail, tt.detail) || (tt.detail == "") != (look.Detail == "") || look.State != tt.state || tt.possible != "" && !slices.Contains(look.Possible, tt.possible) || tt.possible == "" && look.Possible != nil {
			t.Errorf("%s: %s", tt.path, w.Body)
		}
	}
	if calls := o.callsAt("100"); len(calls) != 1 {
		t.Error(calls)
	}
}

// What rules refuse is refused in the same words whichever way it is asked, with the command that shows why.
func TestForbiddenAlike(t *testing.T) {
	o := newOffice(t)
	const why = "no rule allows 127.0.0.1 to "
	const command = "; at the proxy, tr87proxy policy explain --front api --as 127.0.0.1 "
	for _, tt := range []struct{ method, path, body, service string }{
		{http.MethodGet, "/v1/devices/199", "", "SnapshotDevice"}, {http.MethodGet, "/v1/devices/199/calls", "", "SnapshotDevice"}, {http.MethodGet, "/v1/events?devices=199", "", "SnapshotDevice"},
		{http.MethodGet, "/v1/devices/199/forwarding", "", "GetForwarding"}, {http.MethodPut, "/v1/devices/199/do-not-disturb", `{"doNotDisturbOn":true}`, "SetDoNotDisturb"},
		{http.MethodPost, "/v1/devices/199/calls/7/answer", "", "AnswerCall"},
		{http.MethodPost, cstaPath, `{"GetForwarding":{"device":"199"}}`, "GetForwarding"},
	} {
		w := o.send(t.Context(), tt.method, tt.path, "application/json", tt.body)
		verb := "use " + tt.service + " on"
		if tt.service == "SnapshotDevice" { // which the client did not ask for
			verb = "observe"
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusForbidden || p.Detail != why+verb+" 199"+command+tt.service+" 199 shows how its configuration decides" {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
	w := o.post(t.Context(), placing, "application/json", `{"to":"0123456"}`)
	if !strings.Contains(w.Body.String(), command+"MakeCall 100 0123456 shows") || w.Code != http.StatusForbidden {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for text, want := range map[string]string{"crm": "crm", "sip:a@b.c": "sip:a@b.c", "": "''", "a b": "'a b'", "it's; rm -rf": `'it'\''s; rm -rf'`} {
		if got := shell(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
