package api

import (
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
