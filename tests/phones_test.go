package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// exchange is a tr87proxy whose switch has real telephones.
type exchange struct {
	*running
	sip int // port of the telephones
}

// serveTelephones starts one with the extensions 100 to 103; more is YAML of the key
// switch, and telephones of that key.
func serveTelephones(t *testing.T, more, telephones string) *exchange {
	t.Helper()
	x := &exchange{sip: freePort(t)}
	dir := t.TempDir()
	writeTone(t, filepath.Join(dir, "music.wav"), tones["music"])
	if err := os.Mkdir(filepath.Join(dir, "messages"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(dir, "messages", "hello.wav"), tones["message"])
	var b strings.Builder
	for n := 100; n < 104; n++ {
		fmt.Fprintf(&b, "  - {number: \"%d\", sip: {password: secret%d}, outside: [\"0\"]}\n", n, n)
	}
	first := 40000 + 200*phoneCount()%20000
	fmt.Fprintf(&b, `%s
telephones:
  listen:
  - {transport: udp, address: "127.0.0.1:%[2]d"}
  - {transport: tcp, address: "127.0.0.1:%[2]d"}
  state: %[3]s/state.db
  music: %[3]s/music.wav
  messages: %[3]s/messages
  media: {ports: "%[4]d-%[5]d", timeout: 3s}
%[6]s
%[7]s`, more, x.sip, dir, first, first+190, telephones, everybody)
	x.running = serve(t, b.String())
	return x
}

func (x *exchange) phone(number, mode string) *softphone {
	x.t.Helper()
	p := baresip(x.t, x.sip, number, "secret"+number, mode)
	waitFor(x.t, "the registration of "+number, func() bool {
		return strings.Contains(x.out.String(), "device="+number+" reachable=true")
	})
	return p
}

// overseer is a CSTA client that watches telephones.
type overseer struct {
	*xmlClient
	refs map[string]string // cross reference -> device
}

func (x *exchange) watch(devices ...string) *overseer {
	o := &overseer{xmlClient: x.xml(), refs: map[string]string{}}
	for _, d := range devices {
		o.refs[o.monitor(d)] = d
	}
	return o
}

// until waits for an event at a device, and returns it.
func (o *overseer) until(device, event string) *uacsta.Message {
	o.t.Helper()
	var seen []string
	for {
		m := o.hear()
		name := o.refs[m.CrossRef()] + " " + m.Name()
		seen = append(seen, name)
		if name == device+" "+event+"Event" {
			return m
		}
		if len(seen) > 200 {
			o.t.Fatalf("%s %s did not come: %v", device, event, seen)
		}
	}
}

// calls returns the connections of a device.
func (o *overseer) calls(device string) []uacsta.ConnectionID {
	var list []uacsta.ConnectionID
	res := o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)})
	var snapshot uacsta.SnapshotDeviceResponse
	if err := res.Decode(&snapshot); err != nil {
		o.t.Fatal(err)
	}
	if data := snapshot.CrossRefIDorSnapshotData.SnapshotData; data != nil {
		for _, c := range data.SnapshotDeviceResponseInfo {
			list = append(list, c.ConnectionIdentifier)
		}
	}
	return list
}

// A telephone calls another by hand; each one's monitor sees it, and they hear each other,
// but not on hold.
func TestTelephones(t *testing.T) {
	x := serveTelephones(t, "", "")
	a, b := x.phone("100", "manual"), x.phone("101", "manual")
	o := x.watch("100", "101")
	a.do("dial", "101")
	o.until("100", "Originated")
	o.until("101", "Delivered")
	b.sees("CALL_INCOMING", 1)
	a.sees("CALL_RINGING", 1)
	b.do("accept", "")
	o.until("100", "Established")
	a.hears("101")
	b.hears("100")
	a.do("hold", "")
	o.until("101", "Held")
	b.hears("music")
	a.do("resume", "")
	o.until("101", "Retrieved")
	b.hears("100")
	b.do("hangup", "")
	o.until("100", "ConnectionCleared")
	a.sees("CALL_CLOSED", 1)
	x.stop()
}
