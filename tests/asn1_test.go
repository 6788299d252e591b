package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// asn1Switch starts a proxy whose built-in switch is a switching function in ASN.1.
func asn1Switch(t *testing.T, dialect, more string) (back *running, port int) {
	t.Helper()
	port = freePort(t)
	back = serve(t, everyKind+fmt.Sprintf("asn1:\n  listen:\n  - {transport: tcp, address: \"127.0.0.1:%d\", dialect: %s%s}\n", port, dialect, more))
	return back, port
}

// beforeASN1 starts a proxy whose devices are all on a link in ASN.1.
func beforeASN1(t *testing.T, dialect string, port int, more string) *running {
	t.Helper()
	front := serve(t, fmt.Sprintf(`links:
- {name: back, type: csta-asn1, dialect: %s, addresses: ["127.0.0.1:%d"], devices: ["*"], heartbeat: 1s, timeout: 2s%s}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, dialect, port, more))
	waitFor(t, "the link", func() bool { return strings.Contains(front.get("/metrics"), `tr87proxy_link_up{link="back"} 1`) })
	return front
}

// inASN1 is what both phases can say.
const inASN1 = `monitor 1000 1001 1002
call 1000 1001
answer 1001
hold 1000
retrieve 1000
consult 1000 1002
answer 1002
alternate 1000
alternate 1000
reconnect 1000
consult 1000 1002
answer 1002
conference 1000
clear 1002
clear 1000
call 1000 1001
answer 1001
consult 1000 1002
answer 1002
transfer 1000
clear 1001
forward 1001 always 1002
forward 1001
forward 1001 always off
dnd 1001 on
dnd 1001
dnd 1001 off
mwi 1001 on
mwi 1001 off
call 1000 1001
deflect 1001 1003
answer 1003
clear 1000
call 1000 05550199
clear 1000
wait 100ms
`

// inPhase3 is what Phase III can say besides.
const inPhase3 = `call 1000 1001
answer 1001
transfer 1001 1002
clear 1000
agent 1001 login --id 7001 --agent-password-file PIN
agent 1001 ready
call 1000 300
answer 1001
clear 1001
agent 1001 logout
wait 100ms
`

// gist is what an event tells, but for its references and what not every phase has.
func gist(c *xmlClient, watched map[string]string, dialect string) []string {
	phase1 := dialect == "phase1"
	c.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1000")})
	var all []string
	for _, m := range c.news {
		cause := m.Text("cause")
		if phase1 {
			cause = ""
		}
		line := fmt.Sprintf("%s %s %s %s %s", m.Name(), watched[m.CrossRef()], m.Text("localConnectionInfo"), cause, m.Text("forwardingType")+m.Text("forwardStatus")+m.Text("doNotDisturbOn"))
		for _, d := range m.Devices() {
			if path := d.Path(); !strings.Contains(path, "network") && !strings.Contains(path, "ssociated") && !(phase1 && deviceNotIn1.MatchString(path)) && !(dialect != "phase3" && deviceNotInHiPath.MatchString(path)) {
				line += " " + path + "=" + d.ID()
			}
		}
		all = append(all, line)
	}
	return all
}

// deviceNotIn1 are devices that events of Phase I do not tell of.
var deviceNotIn1 = regexp.MustCompile(`^(callingDevice|lastRedirectionDevice|calledDevice|transferredConnections|conferenceConnections|initiatingDevice)`)

// deviceNotInHiPath are devices that the shortest form of events does not tell of.
var deviceNotInHiPath = regexp.MustCompile(`^(deviceHistory|lastRedirectionDevice)`)

// Through a link in ASN.1, every service works that the protocol can carry, and a client sees
// the same events as one at the switch itself, in so far as the protocol can tell them.
func TestASN1Chain(t *testing.T) {
	for _, dialect := range []string{"phase3", "hipath", "phase1"} {
		t.Run(dialect, func(t *testing.T) {
			back, port := asn1Switch(t, dialect, "")
			front := beforeASN1(t, dialect, port, "")
			direct, through := back.xml(), front.xml()
			watched := map[string]string{}
			for _, c := range []*xmlClient{direct, through} {
				for _, device := range []string{"1000", "1001", "1002", "1003"} {
					ref := c.monitor(device)
					if ref == "" {
						t.Fatal("no monitor")
					}
					watched[ref] = device
				}
			}
			text := inASN1
			if dialect != "phase1" {
				pin := filepath.Join(t.TempDir(), "pin")
				if err := os.WriteFile(pin, []byte("secret"), 0o600); err != nil {
					t.Fatal(err)
				}
				text += strings.ReplaceAll(inPhase3, "PIN", pin)
			}
			file := filepath.Join(t.TempDir(), "scenario")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port))
			if status != 0 {
				t.Fatalf("status %d\n%s", status, out)
			}
			a, b := gist(direct, watched, dialect), gist(through, watched, dialect)
			if dialect == "phase1" { // which has no event for this
				a = slices.DeleteFunc(a, func(line string) bool { return strings.HasPrefix(line, "MessageWaiting") })
			}
			if len(a) < 80 {
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
