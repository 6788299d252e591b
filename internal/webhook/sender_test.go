package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// The body is a CloudEvent, and each secret signs it, as somebody else computes it who follows the standard.
func TestDelivered(t *testing.T) {
	requests := make(chan got, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- read(r) }))
	defer server.Close()
	keys := [][]byte{bytes.Repeat([]byte{1}, 24), bytes.Repeat([]byte{2}, 64)}
	file := filepath.Join(t.TempDir(), "secrets")
	text := "whsec_" + base64.StdEncoding.EncodeToString(keys[0]) + "\nwhsec_" + base64.StdEncoding.EncodeToString(keys[1]) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := sender(t, "", Hook{Name: "crm", URL: server.URL + "/hook?x=1", SecretsFile: file, Private: true})
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	b.clients[true].Transport.(*http.Transport).TLSClientConfig = &cryptotls.Config{RootCAs: roots} //nolint:forcetypeassert // it is
	seq := b.add("100")
	g := wait.Next(t, requests, "the request")
	var v struct {
		Version string `json:"specversion"`
		ID, Source, Type, Subject,
		Time, DataContentType string
		Data map[string]any
	}
	if err := json.Unmarshal(g.body, &v); err != nil {
		t.Fatal(err)
	}
	id := strconv.FormatUint(seq, 10)
	if v.Version != "1.0" || v.ID != id || v.Source != "urn:tr87proxy:"+b.instance || v.Type != "tr87proxy.delivered" || v.Subject != "100" || v.DataContentType != "application/json" || v.Data["id"] != id || v.Data["n"] != 1.0 {
		t.Errorf("%s", g.body)
	}
	if _, err := time.Parse(time.RFC3339, v.Time); err != nil || !strings.HasSuffix(v.Time, "Z") {
		t.Error(v.Time, err)
	}
	if g.header.Get("Content-Type") != "application/cloudevents+json" || g.path != "/hook" || g.header.Get("webhook-id") != b.instance+"-"+id || strings.Contains(g.header.Get("webhook-id"), ".") {
		t.Error(g.header, g.path)
	}
	at, err := strconv.ParseInt(g.header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)) > wait.Limit {
		t.Error(at, err)
	}
	var want []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%d.%s", g.header.Get("webhook-id"), at, g.body)
		want = append(want, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if signed := g.header.Get("webhook-signature"); signed != strings.Join(want, " ") {
		t.Errorf("signed %q, want %q", signed, want)
	}
}

// The signature of the example in the documents of Standard Webhooks' libraries.
func TestSignature(t *testing.T) {
	h := Hook{Name: "n", URL: "https://a.example", Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	keys, err := h.keys()
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	(&target{keys: keys}).sign(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := header.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
}

// A device whose event fails gets it again, in order; other devices do not wait.
func TestOrder(t *testing.T) {
	var mu sync.Mutex
	failed, free := 0, false
	url, requests := receiver(t, func(g got) int {
		mu.Lock()
		defer mu.Unlock()
		if g.device == "100" && !free {
			failed++
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	b := sender(t, "", Hook{Name: "crm", URL: url, Private: true})
	seen := map[string][]int{}
	b.add("100")
	for range 50 {
		for _, device := range []string{"100", "101", "102"} {
			b.add(device)
		}
	}
	for len(seen["101"]) < 50 || len(seen["102"]) < 50 {
		if g := wait.Next(t, requests, "events of other devices"); g.device != "100" {
			seen[g.device] = append(seen[g.device], g.n)
		} else if g.n != 1 {
			t.Fatalf("event %d comes before event 1", g.n)
		}
	}
	mu.Lock()
	free = true
	mu.Unlock()
	for len(seen["100"]) < 51 {
		if g := wait.Next(t, requests, "events of the device"); len(seen["100"]) > 0 || g.n == 1 {
			seen["100"] = append(seen["100"], g.n)
		}
	}
	for device, numbers := range seen {
		if numbers = slices.Compact(numbers); !slices.IsSorted(numbers) || numbers[0] != 1 || numbers[len(numbers)-1] != len(numbers) {
			t.Errorf("%s: %v", device, numbers)
		}
	}
	wait.For(t, "the counts", func() bool { return b.status("crm").Delivered == 151 })
	if s := b.status("crm"); s.Failed != int64(failed) || s.Retried != s.Failed || s.Dead+s.Lost+s.Waiting > 0 || s.Failure != "" {
		t.Errorf("%+v, %d failures", s, failed)
	}
	for _, text := range []string{"could not deliver to webhook: trying again", "webhook delivers again"} {
		if !strings.Contains(b.said.String(), text) {
			t.Error(b.said.String())
		}
	}
}

// After a restart a hook goes on with what waits, and sends nothing again.
func TestResume(t *testing.T) {
	var mu sync.Mutex
	free := false
	seen := map[string][]int{}
	url, _ := receiver(t, func(g got) int {
		mu.Lock()
		defer mu.Unlock()
		if g.device == "100" && !free {
			return http.StatusInternalServerError
		}
		seen[g.device] = append(seen[g.device], g.n)
		return http.StatusOK
	})
	path := filepath.Join(t.TempDir(), "events.db")
	hook := Hook{Name: "crm", URL: url, Private: true}
	b := sender(t, path, hook)
	for range 20 {
		b.add("100")
		b.add("101")
	}
	wait.For(t, "the other device", func() bool { return b.status("crm").Delivered == 20 })
	b.stop()
	b.add("101")
	b.run(hook)
	b.add("100")
	wait.For(t, "the other device", func() bool { return b.status("crm").Delivered == 1 })
	mu.Lock()
	free = true
	mu.Unlock()
	wait.For(t, "the rest", func() bool { return b.status("crm").Delivered == 22 })
	mu.Lock()
	defer mu.Unlock()
	for _, numbers := range seen {
		if len(numbers) != 21 || !slices.IsSorted(numbers) || len(slices.Compact(numbers)) != 21 {
			t.Error(seen)
		}
	}
}

// A hook gets the devices and types that it wants, and its owner may observe.
func TestWanted(t *testing.T) {
	url, requests := receiver(t, always(http.StatusOK))
	b := sender(t, "",
		Hook{Name: "some", URL: url + "/some", Private: true, Devices: []string{"10?", "200-299"}, Types: []string{"held", "delivered"}},
		Hook{Name: "all", URL: url + "/all", Private: true})
	for _, e := range []struct{ device, kind string }{{"101", "held"}, {"1000", "held"}, {"200", "delivered"}, {"102", "retrieved"}, {"103", "held"}} {
		b.append(e.device, e.kind, fmt.Sprintf(`{"device":%q}`, e.device))
	}
	seen := map[string][]string{}
	for range 8 {
		g := wait.Next(t, requests, "the requests")
		seen[g.path] = append(seen[g.path], g.device)
	}
	slices.Sort(seen["/some"])
	if len(seen["/all"]) != 5 || !slices.Equal(seen["/some"], []string{"101", "103", "200"}) {
		t.Error(seen)
	}
}

// Redirects are failures, and nobody follows them. A response of any length is a success by its status.
func TestRedirect(t *testing.T) {
	elsewhere, strays := receiver(t, always(http.StatusOK))
	var mu sync.Mutex
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries == 1 {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
			return
		}
		w.WriteHeader(http.StatusOK)
		for range 1000 {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	b := sender(t, "", Hook{Name: "crm", URL: server.URL, Private: true})
	b.add("100")
	wait.For(t, "the redirect", func() bool { return strings.HasPrefix(b.status("crm").Failure, "307 Temporary Redirect") })
	wait.For(t, "the success", func() bool { return b.status("crm").Delivered == 1 })
	if len(strays) > 0 {
		t.Error("somebody follows")
	}
}

// A receiver that does not respond fails in time, and a token in its URL does not appear in the log.
func TestSilent(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	b := sender(t, "")
	b.clients[true].Timeout = 50 * time.Millisecond
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	password := strings.Replace(closed.URL, "://", "://user:secret-password@", 1)
	if err := b.Set([]Hook{{Name: "silent", URL: server.URL + "/secret-token", Private: true}, {Name: "closed", URL: password + "/secret-token?secret-query", Private: true}, {Name: "nowhere", URL: "http://host.invalid/secret-token", Private: true}}); err != nil {
		t.Fatal(err)
	}
	b.add("100")
	for name, reason := range map[string]string{"silent": "no response in time", "closed": "connection refused", "nowhere": "the host of the URL cannot be resolved"} {
		wait.For(t, "the failure of "+name, func() bool {
			return strings.Contains(b.status(name).Failure, reason) || name == "nowhere" && b.status(name).Failure == "no response in time"
		})
		if reason := b.status(name).Failure; strings.Contains(reason, "secret") {
			t.Error(reason)
		}
	}
	if strings.Contains(b.said.String(), "secret") {
		t.Error(b.said.String())
	}
}

// 410 disables a hook, also after a restart, until somebody enables it or the URL is another one. Nothing is lost.
func TestGone(t *testing.T) {
	var mu sync.Mutex
	gone := true
	url, requests := receiver(t, func(got) int {
		mu.Lock()
		defer mu.Unlock()
		if gone {
			return http.StatusGone
		}
		return http.StatusOK
	})
	path := filepath.Join(t.TempDir(), "events.db")
	hook := Hook{Name: "crm", URL: url, Private: true}
	b := sender(t, path, hook)
	b.add("100")
	wait.Next(t, requests, "the request")
	wait.For(t, "the end", func() bool { return b.status("crm").Disabled })
	b.add("100")
	b.stop()
	b.run(hook)
	if !b.status("crm").Disabled || !strings.Contains(b.said.String(), "webhook disabled: its receiver says 410 Gone") {
		t.Error(b.said.String())
	}
	mu.Lock()
	gone = false
	mu.Unlock()
	if len(requests) > 0 {
		t.Error("a disabled hook sends")
	}
	if err := b.Enable("", "crm", nil); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		if g := wait.Next(t, requests, "the events"); g.n != n {
			t.Errorf("event %d instead of %d", g.n, n)
		}
	}
	if err := b.Enable("", "other", nil); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// Without private: true a hook reaches no private address, whatever name its URL has.
func TestPrivate(t *testing.T) {
	requests := make(chan struct{}, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests <- struct{}{} }))
	defer server.Close()
	b := sender(t, "")
	hook := Hook{Name: "crm", URL: strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}
	if hook.Usable() == nil {
		t.Error("a name of this machine is taken")
	}
	err := b.put(&hook) // as a name is that resolves to a private address
	if err != nil {
		t.Fatal(err)
	}
	b.add("100")
	wait.For(t, "the failure", func() bool { return b.status("crm").Failure == ErrAddress.Error() })
	if len(requests) > 0 {
		t.Error("the request has arrived")
	}
}
