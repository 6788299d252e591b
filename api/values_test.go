package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A wrong value is refused with those that there are, however it is written, and nothing is sent to the switch; an unknown
// member with those that the body takes, the short ones first.
func TestWrongValues(t *testing.T) {
	o := newOffice(t)
	const detail = "SetForwarding.forwardingType: immediate is none of forwardImmediate, forwardBusy, "
	xml := `<SetForwarding xmlns="` + uacsta.Edition6.Namespace() + `"><device>101</device><forwardingType>immediate</forwardingType><activateForward>true</activateForward></SetForwarding>`
	for _, tt := range []struct{ method, path, kind, body, detail string }{
		{http.MethodPut, "/v1/devices/101/forwarding", typeJSON, `{"forwardingType":"immediate","activateForward":true}`, detail[len("SetForwarding."):]},
		{http.MethodPut, "/v1/devices/101/forwarding?dryRun=true", typeJSON, `{"forwardingType":"immediate","activateForward":true}`, detail[len("SetForwarding."):]},
		{http.MethodPost, cstaPath, typeJSON, `{"SetForwarding":{"device":"101","forwardingType":"immediate","activateForward":true}}`, detail},
		{http.MethodPost, cstaPath, "application/xml", xml, detail},
		{http.MethodPost, cstaPath + "?dryRun=true", "application/xml", xml, detail},
		{http.MethodPost, placing, typeJSON, `{"nummer":"101"}`, "there is no such member; known here: correlator, prompt, to, "},
		{http.MethodPost, "/v1/devices/101/calls/7/transfer", typeJSON, `{"wit":"8"}`, "there is no such member; did you mean \\\"with\\\"?"},
		{http.MethodPost, "/v1/devices/101/calls/7/pickup", typeJSON, `{"bye":"8"}`, "there is no such member; did you mean \\\"by\\\"?"},
	} {
		w := o.send(t.Context(), tt.method, tt.path, tt.kind, tt.body)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), tt.detail) || !strings.Contains(w.Body.String(), uacsta.InvalidParameterValue) {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, w.Code, w.Body)
		}
		if tt.kind == "application/xml" && !strings.Contains(tt.path, "dryRun") {
			if m, err := uacsta.Parse(w.Body.Bytes()); err != nil || m.Err() == nil {
				t.Errorf("%v %s", err, w.Body)
			}
		}
	}
	p := o.dial("?devices=101")
	p.write(`{"id":"1","method":"POST","path":"/v1/csta","body":{"SetForwarding":{"device":"101","forwardingType":"immediate","activateForward":true}}}`)
	inJSON := p.answer("1")
	p.write(`{"id":"2","method":"POST","path":"/v1/csta","headers":{"Content-Type":"application/xml"},"body":"` + strings.ReplaceAll(xml, `"`, `'`) + `"}`)
	for _, h := range []heard{inJSON, p.answer("2")} {
		if h.Status != http.StatusUnprocessableEntity || !strings.Contains(string(h.Body), detail) {
			t.Errorf("%d %s", h.Status, h.Body)
		}
	}
}

// A comment cannot end before its end.
func TestComment(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"a--b", "--->", "-", "a\x00b\xff", "<!--"} {
		if c := comment(text); strings.Count(c, "--") != 2 || !strings.HasSuffix(c, " -->\n") {
			t.Errorf("%q", c)
		}
	}
}
