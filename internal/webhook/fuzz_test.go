package webhook

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/eventlog"
)

// Whatever template a stranger writes, what it takes and writes is limited.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{`{"n":{{json .caller}}}`, `{{range $i, $x := .csta.list}}{{$i}}{{.}}{{end}}`, `{{with .csta}}{{printf "%5s|%q" .a .}}{{else}}{{end}}`, `{{if and (eq .state "null") (not .x)}}{{js .}}{{html .id | urlquery}}{{end}}`, `{{range 1000}}{{slice $.id 0 1}}{{break}}{{end}}`} {
		f.Add(text)
	}
	entry := &eventlog.Entry{Seq: 1, Data: []byte(`{"id":"1","seq":1764432000000000,"caller":"100","csta":{"list":["x",{"a":[1,2,[3]]}],"a":1e99}}`)}
	f.Fuzz(func(t *testing.T, text string) {
		h := Hook{Format: Template, Template: text}
		made, err := h.format("")
		if err != nil {
			return
		}
		begun := time.Now()
		if body, _ := made.body(entry); len(body) > mostBody {
			t.Errorf("%d octets", len(body))
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it takes %v", took)
		}
	})
}

// Whatever events come, a call of Zammad begins before it is answered or ends, and each happens once.
func FuzzZammad(f *testing.F) {
	f.Add([]byte{0, 1, 40, 81, 122, 7, 200, 255, 3, 90})
	kinds := []string{"delivered", "originated", "established", "connectionCleared", "transfered", "failed", "diverted", "held"}
	states := []string{"alerting", "connected", "null", "hold"}
	f.Fuzz(func(t *testing.T, steps []byte) {
		c := calls{users: map[string]string{"1": "Emma"}}
		done := map[string][]string{}
		for i := 0; i+1 < len(steps) && i < 2000; i += 2 {
			a, b := steps[i], steps[i+1]
			kind, csta := kinds[a&7], "{}"
			if kind == "transfered" {
				csta = fmt.Sprintf(`{"TransferedEvent":{"primaryOldCall":{"callID":"%d"},"secondaryOldCall":{"callID":"%d"}}}`, b&3, b>>6)
			}
			data := fmt.Sprintf(`{"type":%q,"call":"%d","link":"l","caller":"5","called":"1","state":%q,"csta":%s}`, kind, b&3, states[a>>3&3], csta)
			for _, r := range c.next(&eventlog.Entry{Seq: uint64(i), Device: fmt.Sprint(b >> 2 & 3), Kind: kind, Data: []byte(data)}) {
				var v zammadEvent
				if err := json.Unmarshal(r.body, &v); err != nil || v.CallID != r.call {
					t.Fatalf("%s: %v", r.body, err)
				}
				done[r.call] = append(done[r.call], v.Event)
			}
		}
		open := 0
		for id, events := range done {
			for i, event := range events {
				if (event == newCall) != (i == 0) || event == answer && i != 1 || event == hangup && i != len(events)-1 {
					t.Fatalf("%s: %v", id, events)
				}
			}
			if events[len(events)-1] != hangup {
				open++
			}
		}
		alive := map[*call]bool{}
		for _, of := range c.views {
			alive[of] = true
		}
		if len(alive) != open {
			t.Errorf("%d calls are open, %d are known", open, len(alive))
		}
		for name, of := range c.begun {
			if !alive[of] {
				t.Errorf("call %s stays", name)
			}
		}
	})
}

// No form of an address that is not public is taken for one that is.
func FuzzAllowed(f *testing.F) {
	for _, text := range []string{"10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "fe80::1%eth0", "8.8.8.8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if allowed(addr, false) && (!allowed(addr, true) || !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.Is4In6() || addr.Unmap().IsPrivate()) {
			t.Error(text)
		}
	})
}
