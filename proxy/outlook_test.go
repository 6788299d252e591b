package proxy_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Outlook says what a request would do and what refuses it, and the link hears nothing.
func TestOutlook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, policy.FromGrants(threeDigits.Extensions, policy.Grant{Who: "a", Control: []string{"100"}, Observe: []string{"101"}, Dial: []string{"internal"}}), nil)
		s, _ := open(t, p, "a")
		f.said()
		for _, tt := range []struct {
			req   any
			want  string // the refusal
			rules int    // that decided
		}{
			{uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")}, "", 1},
			{uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("+4420123456")}, uacsta.PrivilegeViolationCalledDevice, 1},
			{uacsta.MakeCall{CallingDevice: uacsta.Dev("101"), CalledDirectoryNumber: uacsta.Dev("100")}, uacsta.PrivilegeViolationCallingDevice, 1},
			{uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("101")}, "", 1},
			{uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1x1<")}, uacsta.InvalidDeviceID, 0},
			{uacsta.MonitorStartResponse{MonitorCrossRefID: "1"}, uacsta.ServiceNotSupported, 0},
		} {
			look := s.Outlook(uacsta.Encode(tt.req, uacsta.Edition3))
			got := ""
			var refusal *uacsta.Error
			if errors.As(look.Refusal, &refusal) {
				got = refusal.Value
			}
			if got != tt.want || len(look.Devices) != tt.rules || got == "" && look.Link == "" {
				t.Errorf("%+v: %+v, want refusal %q", tt.req, look, tt.want)
			}
		}
		if got := f.said(); got != "" {
			t.Errorf("the link hears %s", got)
		}
	})
}

// A session's reach limits what policy allows; the proxy's own session observes what nobody has a right on.
func TestReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := router()
		p := start(t, f, policy.FromGrants(nil, policy.Grant{Who: "a", Control: []string{"100"}, Dial: []string{"*"}}), nil)
		for _, tt := range []struct {
			reach proxy.Reach
			who   string
			want  [3]string // MonitorStart of 100, of 101, and MakeCall
		}{
			{proxy.ReachPolicy, "a", [3]string{"", uacsta.PrivilegeViolationSpecifiedDevice, ""}},
			{proxy.ReachObserve, "a", [3]string{"", uacsta.PrivilegeViolationSpecifiedDevice, uacsta.PrivilegeViolationCallingDevice}},
			{proxy.ReachOwn, "nobody", [3]string{"", "", uacsta.PrivilegeViolationCallingDevice}},
		} {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: tt.who}, Reach: tt.reach}, &listener{})
			if err != nil {
				t.Fatal(tt.who, err)
			}
			for i, req := range []any{monitorOf("100"), monitorOf("101"), uacsta.MakeCall{CallingDevice: uacsta.Dev("100"), CalledDirectoryNumber: uacsta.Dev("101")}} {
				if got := refusal(request(s, req)); got != tt.want[i] {
					t.Errorf("%v: %+v: %q, want %q", tt.reach, req, got, tt.want[i])
				}
			}
			if v, err := s.View("100"); err != nil || slices.Contains(v.Features.Services, uacsta.NameMakeCall) != (tt.reach == proxy.ReachPolicy) {
				t.Errorf("%v: %+v %v", tt.reach, v, err)
			}
			s.Close(nil)
		}
		for device, want := range map[string]bool{"100": true, "101": false, "1x1<": false} {
			if got := p.MayObserve(policy.Identity{Name: "a"}, "api", device); got != want {
				t.Errorf("a may observe %s: %v", device, got)
			}
		}
		if _, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "nobody"}, Reach: proxy.ReachObserve}, &listener{}); !errors.Is(err, proxy.ErrForbidden) {
			t.Error("an identity without rules:", err)
		}
	})
}
