package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// What is accepted as a request over a WebSocket is the request that its path says, to this proxy and nothing else.
func FuzzSocketRequest(f *testing.F) {
	for _, seed := range []string{
		`{"id":"1","method":"GET","path":"/v1/devices?filter=1*"}`, `{"id":"1","method":"POST","path":"/v1/csta","headers":{"content-type":"application/xml"},"body":"<a/>"}`,
		`{"id":"1","method":"GET","path":"//other/v1"}`, `{"id":"1","id":"2","method":"GET","path":"/"}`, `{"ack":"12"}`, `{"ack":"-1"}`, `[]`, `{"id":"1","method":"GET","path":"/a b"}`,
		`{"id":"1","method":"GET","path":"/v1/../x#y"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := requestIn(data)
		if err != nil || q.ack != nil {
			return
		}
		if q.ID == "" || len(q.ID) > 128 {
			t.Fatalf("id %q", q.ID)
		}
		r, err := http.NewRequest(q.Method, q.Path, nil)
		if err != nil {
			return
		}
		over, err := url.ParseRequestURI(q.Path) // as a server reads it
		if err != nil || r.URL.Host != "" || r.URL.User != nil || r.URL.Scheme != "" || r.URL.Path != over.Path || !strings.HasPrefix(r.URL.Path, "/") {
			t.Fatalf("%q: %+v, over HTTP %+v (%v)", q.Path, r.URL, over, err)
		}
	})
}

// The parameters of a stream are read as they would be from a body.
func FuzzSubscription(f *testing.F) {
	for _, seed := range []string{"devices=101,102&types=delivered", "devices=", "devices=10*&devices=200-299&after=5&snapshot=true", "link=a&link=b", "x=1", "after=%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		in, err := subscriptionOf(query, "")
		if err != nil {
			return
		}
		again, err := subscriptionIn(encoded(in))
		if err != nil || !slices.Equal(in.Devices, again.Devices) || !slices.Equal(in.Types, again.Types) || in.Snapshot != again.Snapshot {
			t.Fatalf("%q: %+v, in a body %+v (%v)", text, in, again, err)
		}
	})
}
