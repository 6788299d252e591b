package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// problemOf reads a problem of a status.
func problemOf(t *testing.T, status int, text []byte) (p Problem) {
	t.Helper()
	if err := json.Unmarshal(text, &p); err != nil || p.Status != status {
		t.Errorf("want %d: %s", status, text)
	}
	return p
}

// without adds a link for a device that its switch does not have.
func (o *office) without(device string) {
	o.Helper()
	sw, err := softswitch.New(softswitch.Config{Extensions: []softswitch.Extension{{Number: "300"}}})
	if err != nil {
		o.Fatal(err)
	}
	o.core.AddLink("empty", sw, func(n string) bool { return n == device })
	if err := o.core.Await(o.Context(), "empty"); err != nil {
		o.Fatal(err)
	}
	o.rules("100", "101", "102", "199888", device)
}

// A refusal says in words of the request what is wrong, the same whether it is tried before or not.
func TestRefusalsInWords(t *testing.T) {
	o := newOffice(t)
	o.without("198")
	for _, tt := range []struct {
		method, path, body string
		status             int
		detail             string
	}{
		{http.MethodPost, placing, `{"to":"089/4711"}`, 422, "invalid called device id: to (calledDirectoryNumber) cannot be read as a number: a number cannot have '/'"},
		{http.MethodPost, placing, `{"to":"abc def"}`, 422, "invalid called device id: to (calledDirectoryNumber) cannot be read as a number: it has letters, and a name cannot have ' '"},
		{http.MethodPost, placing, `{"to":""}`, 422, "to (calledDirectoryNumber) is empty"},
		{http.MethodPost, placing, `{"to":"+49 (0) 89 4711"}`, 422, "invalid called device id: to (calledDirectoryNumber) cannot be read as a number: (0) after + "},
		{http.MethodPost, placing, `{"to":101}`, 422, "to (calledDirectoryNumber): must be a string"},
		{http.MethodPost, placing, `{"too":"101"}`, 422, `"too": there is no such member; did you mean "to"?`},
		{http.MethodPost, placing, `{}`, 422, "to (calledDirectoryNumber) is missing"},
		{http.MethodPost, cstaPath, `{"GetDoNotDisturbe":{"device":"101"}}`, 422, `not a CSTA message in JSON: GetDoNotDisturbe: there is no such message; did you mean "GetDoNotDisturb"?`},
		{http.MethodPost, cstaPath, `{"MonitorStart":{"monitorObject":{"deviceObject":"101"}}}`, 422, "MonitorStart brings events: GET /v1/events has those of devices"},
		{http.MethodPost, cstaPath, `{"GetSwitchingFunctionDevices":{}}`, 422, "GetSwitchingFunctionDevices brings the list in events: use GET /v1/devices"},
		{http.MethodGet, "/v1/devices/199888", "", 404, "there is no device 199888: no link serves it"},
		{http.MethodGet, "/v1/devices/198", "", 404, "there is no device 198"},
		{http.MethodGet, "/v1/devices/198/calls", "", 404, "there is no device 198"},
		{http.MethodGet, "/v1/devices/198/forwarding", "", 404, "there is no device 198"},
		{http.MethodPost, "/v1/devices/101/calls/7/hangup", "", 404, `there is no path "/v1/devices/101/calls/7/hangup"; what follows a call of a device is one of accept, `},
		{http.MethodDelete, "/v1/devices/101/calls/7", "", 404, `there is no path "/v1/devices/101/calls/7"; what follows a call of a device is one of accept, `},
		{http.MethodGet, "/v1/devices/101/forwardings", "", 404, `there is no path "/v1/devices/101/forwardings"; what follows a device is calls, or one of agent-state, `},
		{http.MethodGet, "/v1/nothing", "", 404, `there is no path "/v1/nothing"; GET /openapi.json lists them`},
		{http.MethodPost, placing, `{"to":"` + strings.Repeat("1", maxBody) + `"}`, 413, "the body is too large: a request has at most 64 KiB"},
	} {
		w := o.send(t.Context(), tt.method, tt.path, typeJSON, tt.body)
		if p := problemOf(t, tt.status, w.Body.Bytes()); !strings.HasPrefix(p.Detail, tt.detail) {
			t.Errorf("%s %s %.60s: %s", tt.method, tt.path, tt.body, w.Body)
		}
		if tt.path != placing || !strings.HasPrefix(tt.detail, "invalid") {
			continue
		}
		var look Outlook
		w = o.post(t.Context(), tt.path+"?dryRun=true", typeJSON, tt.body)
		if err := json.Unmarshal(w.Body.Bytes(), &look); err != nil || look.Allowed || !strings.HasPrefix(look.Detail, tt.detail) {
			t.Errorf("%s: %s", tt.body, w.Body)
		}
	}
}

// A device that has an active call says which, and what to do first, by its own path and as CSTA.
func TestActiveCallInTheWay(t *testing.T) {
	o := newOffice(t)
	o.rules("100", "101")
	w := o.post(t.Context(), placing, typeJSON, `{"to":"999"}`)
	var made Result
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, way := range [][2]string{{placing, `{"to":"101"}`}, {cstaPath, cstaJSON}} {
		w = o.post(t.Context(), way[0], typeJSON, way[1])
		p := problemOf(t, http.StatusConflict, w.Body.Bytes())
		if p.Detail != "connected call exists: device 100 is in call "+made.Call+", state fail; clear that first" || p.Call != made.Call || p.State != "fail" || !slices.Contains(p.Possible, "clear") {
			t.Errorf("%s: %s", way[0], w.Body)
		}
	}
	if w = o.post(t.Context(), "/v1/devices/100/calls/"+made.Call+"/clear", typeJSON, ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w = o.post(t.Context(), placing, typeJSON, `{"to":"101"}`); w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A refusal in CSTA-XML has what the rules say in a comment.
func TestReasonInXML(t *testing.T) {
	o := newOffice(t)
	w := o.post(t.Context(), cstaPath, "application/xml", strings.ReplaceAll(cstaText, "<callingDevice>100", "<callingDevice>199"))
	m, err := uacsta.Parse(w.Body.Bytes())
	if err != nil || m.Err() == nil || w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "\n<!-- no rule allows 127.0.0.1 to use MakeCall on 199; at the proxy, tr87proxy policy explain ") {
		t.Errorf("%d %v %s", w.Code, err, w.Body)
	}
}

// A device that the client names has the client's spelling in the calls that it is in, and a filter finds it by any spelling.
func TestSpellingOfCalls(t *testing.T) {
	o := newOffice(t)
	o.rules("100", "101")
	if w := o.post(t.Context(), placing, typeJSON, `{"to":"101"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var list CallList
	status, text := o.get("/v1/devices/tel:101/calls", &list)
	if status != http.StatusOK || len(list.Calls) != 1 {
		t.Fatalf("%d %s", status, text)
	}
	if c := list.Calls[0]; c.Device != "tel:101" || c.Called != "tel:101" || c.Caller != "100" || !slices.ContainsFunc(c.Parties, func(p Party) bool { return p.Number == "tel:101" }) {
		t.Error(text)
	}
	var devices DeviceList
	if status, text = o.get("/v1/devices?filter=tel:101", &devices); status != http.StatusOK || len(devices.Devices) != 1 || devices.Devices[0].Device != "101" {
		t.Errorf("%d %s", status, text)
	}
}

// The beginning of a stream says why a device is not reported.
func TestRefusedDevice(t *testing.T) {
	o := newOffice(t)
	o.without("198")
	ready := o.dial("?devices=101,198").next()
	if !slices.Equal(ready.Waiting, []string{"198"}) || ready.Refused["198"] != uacsta.InvalidDeviceID || len(ready.Refused) != 1 {
		t.Errorf("%+v", ready)
	}
}
