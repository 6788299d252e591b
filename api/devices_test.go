package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/uacsta"
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

// A list says which links' devices are in it: one whose switch does not list any, or whose list does not come, is named.
func TestListNamesLinks(t *testing.T) {
	o := newOffice(t)
	s := o.slowly()
	for _, path := range []string{"/v1/devices", "/v1/devices?filter=1*&limit=1", "/v1/calls?limit=1"} {
		type answer struct {
			status int
			text   string
			list   DeviceList
		}
		got := make(chan answer, 1)
		go func() {
			var a answer
			a.status, a.text = o.get(path, &a.list)
			got <- a
		}()
		wait.Next(t, s.seen, "the request")
		wait.Next(t, s.requests, "the request")(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		a := wait.Next(t, got, "the response")
		if want := []Link{{"switch", "up", true}, {"slow", "up", false}}; a.status != http.StatusOK || !slices.Equal(a.list.Links, want) {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
}

// Kinds and pages that there are not are refused with what there is; a page begins after the last device of the one before.
func TestListParameters(t *testing.T) {
	o := newOffice(t)
	for path, want := range map[string]string{
		"/v1/devices?kind=foo": "groupHunt", "/v1/devices?page=zzz": "next of the page before", "/v1/devices?page=after:": "next of the page before", "/v1/calls?page=100": "next of the page before",
		"/v1/devices?limit=0": "limit", "/v1/devices?filter=/x/": "pattern",
	} {
		if status, text := o.get(path, nil); status != http.StatusUnprocessableEntity || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	o.rules("100", "101", "102", "400")
	var all []string
	for page := ""; ; {
		var list DeviceList
		if status, text := o.get("/v1/devices?limit=2&page="+url.QueryEscape(page), &list); status != http.StatusOK {
			t.Fatal(text)
		}
		for _, d := range list.Devices {
			all = append(all, d.Device)
		}
		if page = list.Next; page == "" {
			break
		}
	}
	if !slices.Equal(all, []string{"100", "101", "102", "400"}) {
		t.Error(all)
	}
	for kind, want := range map[string]int{"station": 3, "park": 1, "group": 0, "groupHunt": 0, "conference": 0} {
		var list DeviceList
		if status, text := o.get("/v1/devices?kind="+kind, &list); status != http.StatusOK || len(list.Devices) != want {
			t.Errorf("%s: %d %s", kind, status, text)
		}
	}
}
