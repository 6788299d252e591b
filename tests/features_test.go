package tests

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	featureType  = "Content-Type: application/x-as-feature-event+xml"
	featureEvent = "Event: as-feature-event"
)

func featureRequest(root, content string) string {
	return `<?xml version="1.0" encoding="ISO-8859-1"?>` + "\n" +
		`<` + root + ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><device></device>` + content + `</` + root + `>`
}

// notified waits for a NOTIFY and answers it.
func (h *handset) notified(event string) *sipText {
	h.t.Helper()
	for {
		m := h.expect("NOTIFY")
		h.answer(m, 200, nil, "")
		if name, _, _ := strings.Cut(m.header("Event"), ";"); name == event {
			return m
		}
	}
}

// told waits for a NOTIFY that says something.
func (h *handset) told(text string) *sipText {
	h.t.Helper()
	for {
		if m := h.notified("as-feature-event"); strings.Contains(m.body, text) {
			return m
		}
	}
}

// Do not disturb and forwarding are one state, whether the telephone, a CSTA client or
// another telephone of the user sets them (as-feature-event).
func TestFeatureKeys(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, `  queues: [{number: "300", agents: [{id: "7001", password: "1234"}]}]`+"\n", "")
	h, second := newHandset(t, "udp", x.sip, "100", "secret100"), newHandset(t, "tcp", x.sip, "100", "secret100")
	o := x.watch("100")
	h.register(600)
	o.until("100", "BackInService")
	d := h.dialog("100")
	m := d.ask("SUBSCRIBE", []string{featureEvent, "Accept: application/x-as-feature-event+xml", "Expires: 600"}, "")
	if m.code() != 200 || m.header("Expires") != "600" {
		t.Fatalf("%s %v", m.start, m.headers)
	}
	d.follow(m)
	first := h.notified("as-feature-event")
	parts := strings.Split(first.body, "--fks")
	if len(parts) != 6 || !strings.HasPrefix(parts[5], "--") || strings.Count(first.body, "<ForwardingEvent") != 3 || strings.Count(first.body, "<DoNotDisturbEvent") != 1 ||
		!strings.HasPrefix(first.header("Subscription-State"), "active;expires=") || first.header("Content-Type") != "multipart/mixed;boundary=fks" {
		t.Errorf("%v\n%s", first.headers, first.body)
	}
	other := second.dialog("100")
	other.follow(other.ask("SUBSCRIBE", []string{featureEvent}, ""))
	second.notified("as-feature-event")

	// the telephone
	dnd := featureRequest("SetDoNotDisturb", "<doNotDisturbOn>true</doNotDisturbOn>")
	if m := d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, dnd); m.code() != 200 {
		t.Fatalf("%s", m.start)
	}
	for _, at := range []*handset{h, second} {
		if m := at.told("<device>100</device><doNotDisturbOn>true</doNotDisturbOn>"); strings.Contains(m.body, "Forwarding") {
			t.Errorf("%s", m.body)
		}
	}
	if m := o.until("100", "DoNotDisturb"); m.Text("doNotDisturbOn") != "true" {
		t.Errorf("%s", m)
	}
	// a CSTA client
	to, rings := uacsta.Dev("102"), 5
	o.must(uacsta.SetForwarding{Device: uacsta.Dev("100"), ForwardingType: uacsta.ForwardNoAns, ActivateForward: true, ForwardDN: &to, RingCount: &rings})
	for _, at := range []*handset{h, second} {
		at.told("<forwardingType>forwardNoAns</forwardingType><forwardStatus>true</forwardStatus><forwardTo>102</forwardTo><ringCount>5</ringCount>")
	}
	// off, without a target: the old one is kept; a namespace as older servers wrote it
	off := strings.Replace(featureRequest("SetForwarding", "<forwardingType>forwardNoAns</forwardingType><activateForward>false</activateForward><forwardDN></forwardDN>"), "ecma-international", "ecmainternational", 1)
	d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, off)
	h.told("<forwardStatus>false</forwardStatus><forwardTo>102</forwardTo>")
	// refused: the old value comes
	nowhere := featureRequest("SetForwarding", "<forwardingType>forwardImmediate</forwardingType><activateForward>true</activateForward><forwardDN>999</forwardDN>")
	d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, nowhere)
	h.told("<forwardingType>forwardImmediate</forwardingType><forwardStatus>false</forwardStatus>")
	// nonsense is answered, and changes nothing
	for _, body := range []string{"<", "hello", featureRequest("MakeCall", "<calledDirectoryNumber>0900</calledDirectoryNumber>")} {
		if m := d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, body); m.code() != 200 {
			t.Errorf("%s: %s", body, m.start)
		}
		for h.notified("as-feature-event").body != "" {
		}
	}
	// agents
	logOn := featureRequest("SetAgentState", "<requestedAgentState>loggedOn</requestedAgentState><agentID>7001</agentID><password>1234</password>")
	d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, logOn)
	h.told("<AgentNotReadyEvent")
	reason := featureRequest("SetAgentState", `<requestedAgentState>notReady</requestedAgentState><extensions><privateData><private><AgentNotReadyReasonValue xmlns="http://schema.broadsoft.com/CSTAPrivateData">42</AgentNotReadyReasonValue></private></privateData></extensions><agentID>7001</agentID>`)
	ready := featureRequest("SetAgentState", "<requestedAgentState>ready</requestedAgentState><agentID>7001</agentID>")
	d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, ready)
	o.until("100", "AgentReady")
	d.ask("SUBSCRIBE", []string{featureEvent, featureType, "Expires: 600"}, reason)
	h.told(">42</AgentNotReadyReasonValue>")
	if m := o.until("100", "AgentNotReady"); m.PrivateText("AgentNotReadyReasonValue") != "42" {
		t.Errorf("%s", m)
	}
	// the end
	if m := d.ask("SUBSCRIBE", []string{featureEvent, "Expires: 0"}, ""); m.code() != 200 {
		t.Errorf("%s", m.start)
	}
	for {
		if m := h.notified("as-feature-event"); strings.HasPrefix(m.header("Subscription-State"), "terminated") {
			break
		}
	}
	if m := d.ask("SUBSCRIBE", []string{featureEvent, "Expires: 60"}, ""); m.code() != 481 {
		t.Errorf("after the end: %s", m.start)
	}
	x.stop()
}

// What is refused: other packages, another's features, no password.
func TestSubscriptionsRefused(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "", "")
	h := newHandset(t, "udp", x.sip, "100", "secret100")
	if m := h.dialog("100").ask("SUBSCRIBE", []string{"Event: conference"}, ""); m.code() != 489 || !strings.Contains(m.header("Allow-Events"), "as-feature-event") {
		t.Errorf("%s %v", m.start, m.headers)
	}
	foreign := h.dialog("100")
	foreign.local = strings.Replace(foreign.local, "sip:100@", "sip:101@", 1)
	if m := foreign.ask("SUBSCRIBE", []string{featureEvent}, ""); m.code() != 403 {
		t.Errorf("for another: %s", m.start)
	}
	guess := newHandset(t, "udp", x.sip, "100", "x")
	if m := guess.dialog("100").ask("SUBSCRIBE", []string{featureEvent}, ""); m.code() != 401 {
		t.Errorf("a wrong password: %s", m.start)
	}
	if m := h.dialog("999").ask("SUBSCRIBE", []string{"Event: dialog"}, ""); m.code() != 404 {
		t.Errorf("the lamp of nobody: %s", m.start)
	}
	for range 60 {
		if m := h.dialog("100").ask("SUBSCRIBE", []string{featureEvent}, ""); m.code() == 403 {
			x.stop()
			return
		}
	}
	t.Error("one telephone may subscribe without end")
}

// A lamp shows a colleague's calls, and whether a message waits; the call that rings there
// can be taken by whoever shares a pickup group (Replaces).
func TestLamps(t *testing.T) {
	t.Parallel()
	x := serveTelephones(t, "  pickup-groups: [{number: \"500\", members: [\"101\", \"102\"]}]\n", "")
	a, b, c := newHandset(t, "udp", x.sip, "100", "secret100"), newHandset(t, "udp", x.sip, "101", "secret101"), newHandset(t, "tcp", x.sip, "102", "secret102")
	for _, h := range []*handset{a, b, c} {
		h.register(600)
	}
	o := x.watch("101", "102")
	lamp := c.dialog("101")
	lamp.follow(lamp.ask("SUBSCRIBE", []string{"Event: dialog", "Expires: 600"}, ""))
	if m := c.notified("dialog"); !strings.Contains(m.body, `version="0" state="full" entity="sip:101@`) || strings.Contains(m.body, "<dialog ") {
		t.Errorf("%s", m.body)
	}
	waiting := b.dialog("101")
	waiting.follow(waiting.ask("SUBSCRIBE", []string{"Event: message-summary"}, ""))
	if m := b.notified("message-summary"); !strings.Contains(m.body, "Messages-Waiting: no\r\n") {
		t.Errorf("%s", m.body)
	}
	o.must(uacsta.SetMessageWaitingIndicator{Device: uacsta.Dev("101"), MessageWaitingOn: true})
	if m := b.notified("message-summary"); !strings.Contains(m.body, "Messages-Waiting: yes\r\n") {
		t.Errorf("%s", m.body)
	}
	calling := a.dialog("101")
	ringing := calling.challenged([]string{sdpHeader}, description(4000, "sendrecv"))
	invite := b.expect("INVITE")
	b.reply(invite, 180, "b", "")
	for {
		if m := ringing.next(); m.code() == 180 {
			break
		}
	}
	var early string
	for early == "" {
		m := c.notified("dialog")
		if strings.Contains(m.body, "<state>early</state>") && strings.Contains(m.body, `direction="recipient"`) && strings.Contains(m.body, "sip:100@") && strings.Contains(m.body, "call-id=") {
			early = m.body
		}
	}
	found := regexp.MustCompile(`call-id="([^"]+)" local-tag="([^"]+)" remote-tag="([^"]+)"`).FindStringSubmatch(early)
	// c takes it
	taking := c.dialog("101")
	took := taking.challenged([]string{sdpHeader, fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=%s;early-only", found[1], found[2], found[3])}, description(4010, "sendrecv"))
	if m := took.final(); m.code() != 200 {
		t.Fatalf("%s", m.start)
	} else {
		taking.follow(m)
		taking.ack(m)
	}
	if m := o.until("102", "Established"); m.Text("cause") != "callPickup" {
		t.Errorf("%s", m)
	}
	if m := ringing.final(); m.code() != 200 {
		t.Errorf("%s", m.start)
	} else {
		calling.follow(m)
		calling.ack(m)
	}
	cancel := b.expect("CANCEL")
	if !strings.Contains(cancel.header("Reason"), "cause=200") {
		t.Errorf("%v", cancel.headers)
	}
	b.answer(cancel, 200, nil, "")
	b.reply(invite, 487, "b", "")
	taking.ask("BYE", nil, "")
	a.answer(a.expect("BYE"), 200, nil, "")
	x.stop()
}
