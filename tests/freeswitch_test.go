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

// toFreeSWITCH is the configuration of a proxy with a FreeSWITCH behind it.
func toFreeSWITCH(address string) string {
	return fmt.Sprintf(`links:
- name: fs
  type: freeswitch
  addresses: ["%s"]
  devices: ["10??", "029???", "501"]
  domain: pbx.test
  queues: {prefix: "02", numbers: ["9500"]}
  park-lot: lot1
  session: {password: %s}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, address, recordings.Password)
}

// beforeFreeSWITCH starts a proxy with a FreeSWITCH behind it.
func beforeFreeSWITCH(t *testing.T, address string) *running {
	t.Helper()
	return serve(t, toFreeSWITCH(address))
}

// Programs for Phase III and Phase I watch a telephone of a FreeSWITCH.
func TestFreeSWITCHPrograms(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "callee-hangs-up", false)
	r, p1, p3 := forPrograms(t, toFreeSWITCH(played.Listen()))
	r.linked("fs")
	hipath := perlClient(t, "phase3.pl", fmt.Sprint(p3), "1002", "cleared", "AMHOST", "77777")
	old := perlClient(t, "phase1.pl", fmt.Sprint(p1), "1002", "Cleared")
	whileTheyWatch(t, played.Begin, old, hipath)
	if want := `monitoring
Delivered 1002 state=2 alerting=1002 calling=1001 called=1002
Established 1002 state=3 answering=1002 calling=1001 called=1002
Cleared 1002 state=0 releasing=1002
stopped
`; old.out.String() != want {
		t.Errorf("the program for Phase I says\n%s", old.out)
	}
	if want := `status 2
monitoring
delivered 1002 state=2 cause=22 subject=1002 calling=1001 called=1002
established 1002 state=3 cause=22 subject=1002 calling=1001 called=1002
cleared 1002 state=0 cause=48 subject=1002
stopped
`; hipath.out.String() != want {
		t.Errorf("the program for Phase III says\n%s", hipath.out)
	}
	r.stop()
}

// talkTo is a program before a FreeSWITCH, which watches devices.
func talkTo(r *running, devices ...string) *cardTalk {
	r.t.Helper()
	r.linked("fs")
	c := &cardTalk{xmlClient: r.xml(), watched: map[string]string{}}
	for _, device := range devices {
		c.watched[c.monitor(device)] = device
	}
	return c
}

// A call waits in a queue of mod_callcenter until an agent has it.
func TestFreeSWITCHQueue(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "queue-callcenter", true)
	r := beforeFreeSWITCH(t, played.Listen())
	c := talkTo(r, "1001", "1002", "029700")
	played.Begin()
	if waits := c.await("029700", "Queued"); waits.DeviceID.ID != "029700" {
		t.Errorf("%v waits", waits)
	}
	c.await("029700", "Diverted")
	c.await("1002", "Delivered")
	c.await("1002", "Established")
	c.await("1001", "ConnectionCleared")
	c.await("1002", "ConnectionCleared")
	r.stop()
}

// Feature keys of a telephone and a program change the same settings.
func TestFreeSWITCHFeatures(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "feature-keys", false)
	played.Database["csta_forward_immediate/1004"] = "1003"
	r := beforeFreeSWITCH(t, played.Listen())
	c := talkTo(r, "1004")
	device, to, rings := uacsta.Dev("1004"), uacsta.Dev("1002"), 4
	played.Begin()
	<-played.Step // the telephone is told what there is
	c.await("1004", "BackInService")
	<-played.Step // and that its key has done something
	c.await("1004", "DoNotDisturb")
	if got := c.must(uacsta.GetDoNotDisturb{Device: device}).Text("doNotDisturbOn"); got != "true" {
		t.Errorf("do not disturb is %s", got)
	}
	<-played.Step
	c.must(uacsta.SetForwarding{Device: device, ForwardingType: uacsta.ForwardNoAns, ActivateForward: true, ForwardDN: &to, RingCount: &rings})
	c.await("1004", "Forwarding")
	<-played.Step
	c.must(uacsta.SetMessageWaitingIndicator{Device: device, MessageWaitingOn: true})
	c.await("1004", "MessageWaiting")
	if got := c.must(uacsta.GetForwarding{Device: device}); !strings.Contains(got.String(), "1003") || !strings.Contains(got.String(), "1002") {
		t.Errorf("forwarding is %s", got)
	}
	r.stop()
}

// 500 calls, ten at a time: a program is told all of them, and no queue grows.
func TestFreeSWITCHLoad(t *testing.T) {
	long(t)
	played := recordings.PlayOften(t, "basic-call")
	r := beforeFreeSWITCH(t, played.Listen())
	c := talkTo(r, "1001")
	played.Begin()
	for range 50 {
		played.Again(10)
		for range 10 {
			c.await("1001", "ServiceInitiated")
			c.await("1001", "ConnectionCleared")
		}
	}
	if calls := c.must(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev("1001")}); strings.Contains(calls.String(), "callID") {
		t.Errorf("calls are left: %s", calls)
	}
	r.stop()
}

// A program makes a call between telephones of a FreeSWITCH, as it was recorded, and ends it.
func TestFreeSWITCH(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "make-call", false)
	makeCall(t, beforeFreeSWITCH(t, played.Listen()), played)
}

// The same inside TLS, which socat puts around the event socket.
func TestFreeSWITCHInTLS(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "make-call", false)
	dir, port := t.TempDir(), freePort(t)
	certificates(t, dir)
	start(t, tool(t, "socat"), fmt.Sprintf("OPENSSL-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork,verify=0,cert=%s/cert.pem,key=%[2]s/key.pem", port, dir), "TCP:"+played.Listen())
	waitFor(t, "socat", func() bool { return listening(port) })
	secure := fmt.Sprintf("  tls: true\n  ca: %s/cert.pem\n  domain:", dir)
	makeCall(t, serve(t, strings.Replace(toFreeSWITCH(fmt.Sprintf("127.0.0.1:%d", port)), "  domain:", secure, 1)), played)
}

func makeCall(t *testing.T, front *running, played *recordings.Player) {
	t.Helper()
	c := talkTo(front, "1001", "1002")
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
	t.Parallel()
	played := recordings.Play(t, "consult-alternate-transfer", false)
	front := beforeFreeSWITCH(t, played.Listen())
	played.Begin()
	go func() {
		for range played.Step { // each command when it is due
			continue
		}
	}()
	converse(t, front, `monitor 1001 1002 1003
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
`)
	front.stop()
}

// converse has a client for TR/87 do what a script says.
func converse(t *testing.T, r *running, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conversation.calls")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := command(t, "script", file, fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)); status != 0 {
		t.Errorf("status %d\n%s", status, out)
	}
}

// The wrong password is told as such, and nowhere itself.
func TestFreeSWITCHRefuses(t *testing.T) {
	t.Parallel()
	played := recordings.Play(t, "make-call", false)
	file := filepath.Join(t.TempDir(), "config.yaml")
	config := fmt.Sprintf(`sip: {listen: [{transport: udp, address: "127.0.0.1:%d"}]}
links: [{name: fs, type: freeswitch, addresses: ["%s"], devices: ["10??"], domain: pbx.test, session: {password: NotTheOne}}]
grants: [{who: "sip:alice@contoso.com", control: ["1001"]}]
`, freePort(t), played.Listen())
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, program(t), "serve", "-c", file)
	waitFor(t, "the refusal", func() bool { return strings.Contains(p.out.String(), "FreeSWITCH refuses the password") })
	if strings.Contains(p.out.String(), "NotTheOne") {
		t.Error("the password is in the log")
	}
}
