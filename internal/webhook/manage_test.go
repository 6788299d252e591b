package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/internal/wait"
)

// A reload keeps the position of hooks that stay, and forgets those that do not.
func TestSet(t *testing.T) {
	url, requests := receiver(t, always(http.StatusOK))
	hook := func(name, path string) Hook { return Hook{Name: name, URL: url + path, Private: true} }
	b := sender(t, "", hook("a", "/1"), hook("b", "/1"))
	expect := func(want ...string) {
		t.Helper()
		var paths []string
		for range want {
			g := wait.Next(t, requests, "the request")
			paths = append(paths, fmt.Sprint(g.path, g.n))
		}
		if slices.Sort(paths); !slices.Equal(paths, want) || len(requests) > 0 {
			t.Errorf("%v instead of %v", paths, want)
		}
	}
	b.add("100")
	expect("/11", "/11")
	for name, bad := range map[string][]Hook{"twice": {hook("a", ""), hook("a", "")}, "wrong": {hook("c", "/3"), {Name: "d", URL: "ftp://x"}}, "owned": {{Name: "a", URL: "https://a.example", Owner: "alice"}}} {
		if err := b.Set(bad); err == nil || len(b.All()) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Set([]Hook{hook("a", "/2"), hook("c", "/3")}); err != nil {
		t.Fatal(err)
	}
	b.add("100")
	expect("/22", "/32")
	if s := b.status("a"); len(b.All()) != 2 {
		t.Errorf("%+v", s)
	}
	if data, err := b.events.Get(positions, id("", "b")); data != nil || err != nil {
		t.Errorf("%s %v", data, err)
	}
	wait.For(t, "the counts", func() bool { return b.status("a").Delivered == 2 && b.status("c").Delivered == 1 })
}

// Hooks that are added at run time survive a restart, count for their owner only, and never show their secrets.
func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	b := sender(t, path)
	var arrived sync.Map
	client := &http.Client{Transport: transport(func(r *http.Request) int {
		arrived.Store(read(r).device+r.URL.Host, r.Header.Get("webhook-signature"))
		return http.StatusOK
	})}
	b.clients[false] = client
	hook := Hook{Name: "crm", URL: "https://one.example/", Owner: "alice", Devices: []string{"1*", "2*"}}
	added, err := b.Add(hook)
	if err != nil || len(added.Secrets) != 1 {
		t.Fatal(added, err)
	}
	if _, err := b.Add(hook); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	for _, bad := range []Hook{{Name: "x", URL: "https://a.example", Owner: "alice", Private: true}, {Name: "x", URL: "https://a.example", Owner: "alice", SecretsFile: "/etc/passwd"}, {Name: "x", URL: "https://a.example"}} {
		var faults Faults
		if _, err := b.Add(bad); !errors.As(err, &faults) || strings.Contains(err.Error(), "root") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	other := hook
	other.Owner, other.URL = "bob", "https://two.example/"
	if _, err := b.Add(other); err != nil {
		t.Error(err)
	}
	b.add("100")
	b.add("200")
	b.add("101")
	signed := func(at string) bool { _, ok := arrived.Load(at); return ok }
	wait.For(t, "the event", func() bool { return signed("101one.example") && signed("100one.example") })
	if signed("200one.example") || signed("100two.example") {
		t.Error("an owner gets what she may not observe")
	}
	b.stop()
	b.run()
	b.clients[false].Transport = client.Transport
	if list := b.List("alice"); len(list) != 1 || list[0].Name != "crm" || list[0].Secrets != nil || list[0].Delivered != 0 {
		t.Errorf("%+v", list)
	}
	if text, err := json.Marshal(b.All()); err != nil || bytes.Contains(text, []byte("whsec")) {
		t.Error(string(text), err)
	}
	b.add("102")
	wait.For(t, "the event", func() bool { return signed("102one.example") })
	if text, _ := arrived.Load("102one.example"); text == "" {
		t.Error("the secret is gone")
	}
	for n := 1; n < mostOfOne; n++ {
		hook.Name = fmt.Sprint(n)
		if _, err := b.Add(hook); err != nil {
			t.Fatal(err)
		}
	}
	hook.Name = "more"
	if _, err := b.Add(hook); !errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	for _, name := range [][2]string{{"bob", "none"}, {"", "crm"}, {"carol", "crm"}} {
		if err := b.Remove(name[0], name[1]); !errors.Is(err, ErrNone) {
			t.Error(name, err)
		}
	}
	if err := b.Remove("bob", "crm"); err != nil || len(b.List("bob")) > 0 || len(b.List("alice")) != mostOfOne {
		t.Error(err, len(b.List("bob")))
	}
	b.stop()
	b.run()
	if len(b.All()) != mostOfOne {
		t.Errorf("%d hooks", len(b.All()))
	}
}
