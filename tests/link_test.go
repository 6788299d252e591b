package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/links/freeswitch"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
	asn1link "github.com/tr87proxy/tr87proxy/wire/asn1/link"
	cardlink "github.com/tr87proxy/tr87proxy/wire/ctserver/link"
)

// linked waits until a link is up.
func (r *running) linked(name string) {
	r.t.Helper()
	waitFor(r.t, "the link", func() bool { return r.metric(`tr87proxy_link_up{link="`+name+`"}`) == 1 })
}

// cut waits until the proxy has noticed that a link is down.
func (r *running) cut(name string) {
	r.t.Helper()
	waitFor(r.t, "the end of the link", func() bool { return r.metric(`tr87proxy_link_up{link="`+name+`"}`) == 0 })
}

// behind starts a proxy whose devices are all on a link to another one.
func behind(t *testing.T, back *running, tls bool) *running {
	t.Helper()
	link := fmt.Sprintf(`links:
- {name: back, addresses: ["127.0.0.1:1", "127.0.0.1:%d"], devices: ["*"], edition: 6, heartbeat: 1s, timeout: 2s}
`, back.xmlPort)
	if tls {
		link = fmt.Sprintf(`links:
- {name: back, addresses: ["127.0.0.1:%d"], devices: ["*"], edition: 6, tls: true, ca: %[2]s/cert.pem, certificate: %[2]s/cert.pem, key: %[2]s/key.pem}
`, back.xmlTLSPort, back.dir)
	}
	front := serve(t, link+`trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`)
	front.linked("back")
	return front
}

// dayAtTheOffice is a scenario: every kind of event, in a few calls.
const dayAtTheOffice = `monitor 1000 1001 1002
call 1000 1001
answer 1001
hold 1000
retrieve 1000
consult 1000 1002
answer 1002
alternate 1000
conference 1000
clear 1002
associate 1000 --correlator c0ffee
user-info 1001 0102
park 1001 400
pickup 400 1002
clear 1000
forward 1001 always 1002
dnd 1001 on
mwi 1001 on --message-from 300
call 1000 1001
deflect 1002 1003
answer 1003
transfer 1003 1001
clear 1000
dnd 1001 off
forward 1001 always off
agent 1001 login --id 7001 --agent-password-file PIN
agent 1001 ready
call 1000 300
answer 1001
clear 1001
agent 1001 logout
call 1000 05550199
clear 1000
wait 100ms
`

// Through two proxies, CSTA-XML between them and TR/87 in front, every service works, and
// a client sees the same events as directly, apart from identifiers; over TCP and over TLS.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		t.Run(map[bool]string{false: "tcp", true: "tls"}[tls], func(t *testing.T) {
			t.Parallel()
			back := serve(t, everyKind)
			front := behind(t, back, tls)
			pin := filepath.Join(t.TempDir(), "pin")
			if err := os.WriteFile(pin, []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "scenario")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(dayAtTheOffice, "PIN", pin)), 0o600); err != nil {
				t.Fatal(err)
			}
			direct, through := back.xml(), front.xml()
			for _, c := range []*xmlClient{direct, through} {
				for _, device := range []string{"1000", "1001", "1002", "1003", "1004", "1005", "1007", "1008", "300", "400", "600", "900"} {
					if c.monitor(device) == "" {
						t.Fatal("no monitor")
					}
				}
			}
			out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port))
			if status != 0 {
				t.Fatalf("status %d\n%s", status, out)
			}
			front.everyService()
			a, b := direct.all(), through.all()
			if len(a) < 190 {
				t.Errorf("only %d events", len(a))
			}
			if !slices.Equal(a, b) {
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Errorf("event %d of %d, %d:\n%s\n%s", i, len(a), len(b), a[i], b[i])
						break
					}
				}
			}
			front.stop()
			back.stop()
		})
	}
}

var reference = regexp.MustCompile(`<monitorCrossRefID>[^<]*`)

// all returns the events that came, without their cross references. An answer comes
// behind them all.
func (c *xmlClient) all() []string {
	c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")})
	events := make([]string, 0, len(c.news))
	names := renamer{}
	for _, m := range c.news {
		events = append(events, names.rename(reference.ReplaceAllString(m.String(), "<monitorCrossRefID>")))
	}
	return events
}

// renamer gives calls names in the order in which they appear: callIDs are random, and others at
// each proxy.
type renamer map[string]string

func (r renamer) rename(document string) string {
	return callIDs.ReplaceAllStringFunc(document, func(element string) string {
		if r[element] == "" {
			r[element] = fmt.Sprintf("<callID>call %d</callID>", len(r))
		}
		return r[element]
	})
}

// When the switching function is killed, clients are told, requests fail at once, and
// everything goes on when it is back: under the same cross references, and without the
// call that was lost.
func TestLinkKilled(t *testing.T) {
	t.Parallel()
	back := serve(t, everyKind)
	front := behind(t, back, false)
	c := front.xml()
	ref := c.monitor("1001")
	c.ask(call("1000", "1001"))
	if ev := c.hear(); ev.Name() != "DeliveredEvent" || ev.CrossRef() != ref {
		t.Errorf("%s", ev)
	}
	_ = back.cmd.Process.Kill()
	if m := c.hear(); m.Name() != "SystemStatus" || m.Text("systemStatus") != "disabled" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1002", "1001")); m.Err() == nil || m.Err().Value != "resourceOutOfService" {
		t.Errorf("%s", m)
	}
	again := running{process: start(t, program(t), "serve", "-c", filepath.Join(back.dir, "config.yaml"))}
	// the call is gone with the process that had it; the order of the two is open
	told := []string{c.hear().Name(), c.hear().Name()}
	slices.Sort(told)
	if strings.Join(told, " ") != "ConnectionClearedEvent SystemStatus" {
		t.Error(told)
	}
	if m := c.ask(call("1002", "1001")); m.Name() != "MakeCallResponse" {
		t.Errorf("%s", m)
	}
	if ev := c.hear(); ev.Name() != "DeliveredEvent" || ev.CrossRef() != ref {
		t.Errorf("%s", ev)
	}
	front.stop()
	again.stop()
}

// Routeing, monitors of calls and lists of devices go through a chain too.
func TestChainAsks(t *testing.T) {
	t.Parallel()
	back := serve(t, everyKind)
	front := behind(t, back, false)
	c := front.xml()
	device := uacsta.Dev("600")
	ref := c.ask(uacsta.RouteRegister{RouteingDevice: &device}).Text("routeRegisterReqID")
	id := c.ask(call("1000", "600")).Text("callingDevice/callID")
	asked := c.hear()
	if asked.Name() != "RouteRequest" || asked.Text("routeRegisterReqID") != ref || ref == "" {
		t.Fatalf("%s", asked)
	}
	c.write(700, string(uacsta.Encode(uacsta.RouteSelect{CrossRefIdentifier: asked.Text("crossRefIdentifier"), RouteSelected: uacsta.Dev("1005")}, uacsta.Edition6).Bytes()))
	if m := c.hear(); m.Name() != "RouteEnd" {
		t.Errorf("%s", m)
	}
	conn := uacsta.Conn(id, "1000")
	watched := c.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{CallObject: &conn}}).CrossRef()
	c.ask(uacsta.ClearConnection{ConnectionToBeCleared: conn})
	var names []string
	for range 4 {
		m := c.hear()
		names = append(names, m.Name())
		if m.CrossRef() != watched {
			t.Errorf("%s", m)
		}
	}
	if got := strings.Join(names, " "); got != "ConnectionClearedEvent ConnectionClearedEvent CallClearedEvent MonitorStop" {
		t.Error(got)
	}
	c.ask(uacsta.GetSwitchingFunctionDevices{RequestedDeviceCategory: uacsta.ReqDeviceCategory(uacsta.CategoryAcd)})
	if m := c.hear(); m.Name() != "SwitchingFunctionDevices" || m.Text("deviceList/device/deviceID") != "300" {
		t.Errorf("%s", m)
	}
	front.stop()
	back.stop()
}

// Everything that a link lists of itself has a place in the capability lists: the rest would be left
// out. What every link must serve is listed.
func TestFeatureNames(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]proxy.FeatureLister{
		"freeswitch": &freeswitch.Link{}, "ctserver": &cardlink.Link{},
		"phase3": asn1link.New(asn1link.Config{Flavour: asn1.Phase3}), "phase1": asn1link.New(asn1link.Config{Flavour: asn1.Phase1}),
	} {
		listed := link.Features("")
		told := listed.Message(uacsta.Edition6).Features()
		for _, pair := range [][2][]string{{listed.Services, told.Services}, {listed.Events, told.Events}} {
			for _, word := range pair[0] {
				if !slices.Contains(pair[1], word) {
					t.Errorf("%s: %q is in no capability list", name, word)
				}
			}
		}
		for _, service := range uacsta.Mandatory() {
			if !slices.Contains(listed.Services, service) {
				t.Errorf("%s does not serve %s", name, service)
			}
		}
	}
}
