package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// get reads a resource in the name of a client on this machine.
func (o *office) get(path string, into any) (status int, text string) {
	o.Helper()
	w := o.send(o.Context(), http.MethodGet, path, typeJSON, "")
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			o.Fatal(err)
		}
	}
	return w.Code, w.Body.String()
}

// A device that is no telephone offers what its kind has, and a problem says that it has no more.
func TestDeviceOfAnotherKind(t *testing.T) {
	o := newOffice(t)
	o.rules("100", "101", "400")
	var d Device
	if status, text := o.get("/v1/devices/400", &d); status != http.StatusOK || d.Kind != "park" || !slices.Contains(d.Can, "pickup") || slices.Contains(d.Can, "call") || slices.Contains(d.Can, "set-forwarding") || len(d.Can) > 12 {
		t.Errorf("%d %s", status, text)
	}
	for path, method := range map[string]string{"/v1/devices/400/calls": http.MethodPost, "/v1/devices/400/do-not-disturb": http.MethodGet} {
		w := o.send(t.Context(), method, path, typeJSON, `{"to":"101"}`)
		if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "device 400 is of the kind park: it does not support ") || !strings.Contains(w.Body.String(), "requestIncompatibleWith") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}
