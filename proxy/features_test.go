package proxy_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// telling is a link that lists its features.
type telling struct {
	flaky
	features uacsta.Features
}

func (l *telling) Features(string) uacsta.Features { return l.features }

// A client gets the services that it may use on its own line.
func TestFeaturesOfALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		able := []string{
			uacsta.NameMakeCall, uacsta.NameMonitorStart, uacsta.NameSetForwarding, uacsta.NameGetForwarding, uacsta.NameRouteRequest,
			uacsta.NameSnapshotDeviceData, uacsta.NameHoldCall,
		}
		link := &telling{flaky: flaky{lose: make(chan error)}, features: uacsta.Features{Services: slices.Clone(able), Events: []string{uacsta.NameHeldEvent}}}
		p := start(t, link, policy.FromGrants(func(n string) bool { return len(n) == 3 },
			policy.Grant{Who: "watcher", Observe: []string{"100"}}, policy.Grant{Who: "owner", Control: []string{"100"}}), nil)
		for _, tt := range []struct {
			who  string
			want []string
		}{
			{"watcher", []string{uacsta.NameMonitorStart, uacsta.NameGetForwarding, uacsta.NameSnapshotDeviceData}},
			{"owner", able},
		} {
			s, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: tt.who}, Line: "100"}, &listener{})
			if err != nil {
				t.Fatal(err)
			}
			f := request(s, uacsta.GetCSTAFeatures{}).Features()
			for _, name := range able {
				if slices.Contains(f.Services, name) != slices.Contains(tt.want, name) {
					t.Errorf("%s hears of %v", tt.who, f.Services)
					break
				}
			}
			if !slices.Contains(f.Services, uacsta.NameSystemRegister) || !slices.Equal(f.Events, []string{uacsta.NameHeldEvent}) {
				t.Errorf("%s hears of %v", tt.who, f)
			}
		}
		if !slices.Equal(link.features.Services, able) {
			t.Errorf("the link's own list is %v", link.features.Services)
		}
	})
}
