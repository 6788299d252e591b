package phones

import (
	"errors"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// A telephone names the destination of its forwarding as clients may, whichever way it says so.
func TestForwardingDestinations(t *testing.T) {
	w := aWorld(t, "", func(cfg *Config) {
		cfg.Numbers = func() *policy.Numbers { return &policy.Numbers{Main: "+4930555", Extensions: cfg.Switch.Has} }
	})
	up := upcalls{w.Server}
	const request = `<SetForwarding xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device>sip:anybody</device><forwardingType>forwardNoAns</forwardingType>` +
		`<activateForward>true</activateForward><forwardDN>TO</forwardDN><ringCount/></SetForwarding>`
	const event = `<ForwardingEvent xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><monitorCrossRefID>7</monitorCrossRefID><device><deviceIdentifier>100;line=1</deviceIdentifier></device>` +
		`<forwardingType>forwardNoAns</forwardingType><forwardStatus>true</forwardStatus><forwardTo>TO</forwardTo><ringCount></ringCount></ForwardingEvent>`
	message := func(text, to string) *uacsta.Message {
		t.Helper()
		m, err := uacsta.Parse([]byte(strings.Replace(text, "TO", to, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	ways := map[string]func(to string) error{
		"feature key": func(to string) error {
			if name := w.changeFeature("100", featureType, []byte(strings.Replace(request, "TO", to, 1))); name != "Forwarding forwardNoAns" {
				t.Error(name)
			}
			return nil
		},
		"request": func(to string) error { _, err := up.Ask("100", nil, message(request, to)); return err },
		"event":   func(to string) error { up.Event("100", message(event, to)); return nil },
	}
	destination := func() string {
		f, _ := w.sw.FeaturesOf("100")
		for _, set := range f.Forwardings {
			if set.Type == uacsta.ForwardNoAns {
				return set.To
			}
		}
		return ""
	}
	for way, set := range ways {
		for to, want := range map[string]string{
			"101": "101", "sip:102@127.0.0.1": "102", "sip:103@127.0.0.1;user=phone": "103", "tel:101": "101", "1-02": "102", "+49 30 555-103": "103", "sip:+4930555101@pbx": "101",
		} {
			if err := set(to); err != nil || destination() != want {
				t.Errorf("%s to %s: %q %v, want %s", way, to, destination(), err, want)
			}
		}
		set("103")
		for _, to := range []string{"", "sip:10%31@pbx", "104", "sip:alice@pbx", "tel:"} {
			err := set(to)
			var refusal *uacsta.Error
			if way == "request" && to != "" && (!errors.As(err, &refusal) || refusal.Value != uacsta.InvalidForwardingDestination) {
				t.Errorf("%s to %q: %v", way, to, err)
			}
			if destination() != "103" {
				t.Errorf("%s to %q: it is forwarded to %q", way, to, destination())
			}
		}
		w.must(uacsta.SetForwarding{Device: uacsta.Dev("100"), ForwardingType: uacsta.ForwardNoAns})
	}
}

// Monitors get Forwarding for every type, whichever way a telephone sets it.
func TestForwardingIsTold(t *testing.T) {
	w := aWorld(t, "", nil)
	up := upcalls{w.Server}
	const ns = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3">`
	message := func(text string) *uacsta.Message {
		t.Helper()
		m, err := uacsta.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	request := func(kind uacsta.ForwardingType, on string) string {
		return "<SetForwarding" + ns + "<device>100</device><forwardingType>" + string(kind) + "</forwardingType><activateForward>" + on + "</activateForward><forwardDN>101</forwardDN></SetForwarding>"
	}
	ways := map[string]func(kind uacsta.ForwardingType, on string){
		"feature key": func(kind uacsta.ForwardingType, on string) {
			w.changeFeature("100", featureType, []byte(request(kind, on)))
		},
		"request": func(kind uacsta.ForwardingType, on string) {
			if _, err := up.Ask("100", nil, message(request(kind, on))); err != nil {
				t.Error(err)
			}
		},
		"event": func(kind uacsta.ForwardingType, on string) {
			up.Event("100", message("<ForwardingEvent"+ns+"<monitorCrossRefID>7</monitorCrossRefID><device><deviceIdentifier>100</deviceIdentifier></device><forwardingType>"+string(kind)+
				"</forwardingType><forwardStatus>"+on+"</forwardStatus><forwardTo>101</forwardTo></ForwardingEvent>"))
		},
	}
	f, _ := w.sw.FeaturesOf("100")
	if len(f.Forwardings) != 12 {
		t.Fatalf("%d types", len(f.Forwardings))
	}
	for way, set := range ways {
		for _, was := range f.Forwardings {
			for _, on := range []string{"true", "false"} {
				set(was.Type, on)
				ev := w.event("100", "Forwarding")
				if kind, status, to := ev.Text("forwardingType"), ev.Text("forwardStatus"), ev.Text("forwardTo"); kind != string(was.Type) || status != on || to != "101" {
					t.Errorf("%s, %s %s: %s", way, was.Type, on, ev)
				}
			}
		}
	}
}
