package tests

import (
	"fmt"
	"net/http"
	"testing"
)

// A switch whose connection breaks between a request and its response may have carried the request out: 504, and a repetition
// with the key does not send it again. While there is no connection, nothing is sent: 503, and the key stays free.
func TestAPIRequestCut(t *testing.T) {
	h := newHostilePBX(t)
	h.cuts = "MakeCall"
	port := freePort(t)
	r := serve(t, fmt.Sprintf(`links: [{name: pbx, addresses: ["%s"], devices: ["9???"], edition: 3}]
api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
`, h.address, port)+diallers)
	r.linked("pbx")
	web := &webClient{t: t, client: checking(t, "127.0.0.1"), server: fmt.Sprintf("http://127.0.0.1:%d", port)}
	place := func(key string) said {
		return web.ask("POST", "/v1/devices/9001/calls", `{"to": "9002"}`, "Idempotency-Key", key)
	}
	if w := place("one"); w.status != http.StatusGatewayTimeout || w.problem().Type != "/problems/timeout" || w.header.Get("Retry-After") != "" {
		t.Errorf("cut: %s", w)
	}
	r.linked("pbx")
	if w := place("one"); w.status != http.StatusGatewayTimeout || w.header.Get("Idempotency-Replayed") == "" {
		t.Errorf("again: %s", w)
	}
	if asked, _ := h.got("MakeCall"); asked != 1 {
		t.Errorf("%d calls were placed", asked)
	}
	h.stop()
	waitFor(t, "the end of the link", func() bool {
		return web.ask("GET", "/v1/devices/9001", "").status == http.StatusOK && place("two").status == http.StatusServiceUnavailable
	})
	w := place("two")
	if w.status != http.StatusServiceUnavailable || w.header.Get("Retry-After") == "" || w.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("down: %s", w)
	}
	if asked, _ := h.got("MakeCall"); asked != 1 {
		t.Errorf("%d calls were placed", asked)
	}
}
