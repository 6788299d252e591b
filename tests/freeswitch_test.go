package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// beforeFreeSWITCH starts a proxy with a FreeSWITCH behind it.
func beforeFreeSWITCH(t *testing.T, address, password string) *running {
	t.Helper()
	return serve(t, fmt.Sprintf(`links:
- name: fs
  type: freeswitch
  addresses: ["%s"]
  devices: ["10??"]
  domain: pbx.test
  session: {password: %s}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, address, password))
}

// A program makes a call between telephones of a FreeSWITCH, as it was recorded, and ends it.
func TestFreeSWITCH(t *testing.T) {
	played := recordings.Play(t, "make-call", false)
	front := beforeFreeSWITCH(t, played.Address, recordings.Password)
	front.linked("fs")
	c := &cardTalk{xmlClient: front.xml(), watched: map[string]string{}}
	for _, device := range []string{"1001", "1002"} {
		c.watched[c.monitor(device)] = device
	}
	if m := c.ask(call("1001", "10'\n02")); m.Err() == nil {
		t.Error("a number that is no word is called")
	}
	played.Begin()
	<-played.Step
	own := uacsta.Conn(c.must(call("1001", "1002")).Text("callingDevice/callID"), "1001")
	c.await("1001", "ServiceInitiated")
	c.await("1001", "Originated")
	if rings := c.await("1002", "Delivered"); rings.CallID != own.CallID || rings.DeviceID.ID != "1002" {
		t.Errorf("%v rings, in the call of %v", rings, own)
	}
	c.await("1001", "Established")
	c.await("1002", "Established")
	<-played.Step
	c.must(uacsta.ClearConnection{ConnectionToBeCleared: own})
	c.await("1001", "ConnectionCleared")
	c.await("1002", "ConnectionCleared")
	if m := c.ask(uacsta.HoldCall{CallToBeHeld: own}); m.Err() == nil {
		t.Error("a call that is over is held")
	}
	front.stop()
}

// TR/87 in front: a call that is consulted, alternated and transferred in FreeSWITCH.
func TestFreeSWITCHTransfers(t *testing.T) {
	played := recordings.Play(t, "consult-alternate-transfer", false)
	front := beforeFreeSWITCH(t, played.Address, recordings.Password)
	played.Begin()
	go func() {
		for range played.Step { // each command when it is due
			continue
		}
	}()
	file := filepath.Join(t.TempDir(), "transfer.calls")
	if err := os.WriteFile(file, []byte(`monitor 1001 1002 1003
consult 1001 1003
expect 1002 Held cause=consultation
expect 1003 Delivered state=alerting
expect 1001 Established
alternate 1001
expect 1002 Retrieved cause=alternate
alternate 1001
expect 1003 Retrieved cause=alternate
transfer 1001
expect 1001 Transfered state=null
expect 1002 Transfered state=connected
expect 1003 ConnectionCleared state=connected
refused invalidConnectionID hold 1001
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", front.port)); status != 0 {
		t.Errorf("status %d\n%s", status, out)
	}
	front.stop()
}

// The wrong password is told as such, and nowhere itself.
func TestFreeSWITCHRefuses(t *testing.T) {
	played := recordings.Play(t, "make-call", false)
	file := filepath.Join(t.TempDir(), "config.yaml")
	config := fmt.Sprintf(`sip: {listen: [{transport: udp, address: "127.0.0.1:%d"}]}
links: [{name: fs, type: freeswitch, addresses: ["%s"], devices: ["10??"], domain: pbx.test, session: {password: NotTheOne}}]
grants: [{who: "sip:alice@contoso.com", control: ["1001"]}]
`, freePort(t), played.Address)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", file)
	waitFor(t, "the refusal", func() bool { return strings.Contains(p.out.String(), "FreeSWITCH refuses the password") })
	if strings.Contains(p.out.String(), "NotTheOne") {
		t.Error("the password is in the log")
	}
}
