package tests

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/tr87"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// lyncClient is a client that signs in through a front end.
type lyncClient struct {
	*tr87.Client
	events chan *uacsta.Message
}

func signIn(ctx context.Context, ua *sip.UA, frontEnd int, line string) (*lyncClient, error) {
	c := &lyncClient{events: make(chan *uacsta.Message, 100)}
	var err error
	c.Client, err = tr87.Open(ctx, ua, tr87.Dial{
		To: "sip:gw@gw.contoso.com", Proxy: fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp;lr", frontEnd), From: "sip:user" + digits.ReplaceAllString(line, "") + "@contoso.com", Line: line, FromParams: "epid=abb2cb12b77f",
		Event: func(m *uacsta.Message) { c.events <- m },
	})
	if err != nil {
		return nil, err
	}
	object := uacsta.Dev(line)
	_, err = c.Request(ctx, uacsta.Encode(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}, uacsta.Edition3))
	return c, err
}

var digits = regexp.MustCompile(`[^0-9]`)

// crowdSignsIn signs in users at the same time, each on a line of its own.
func crowdSignsIn(t *testing.T, ua *sip.UA, frontEnd, users int) []*lyncClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	clients := make([]*lyncClient, users)
	var group sync.WaitGroup
	lines := make(chan int)
	for range 20 {
		group.Go(func() {
			for i := range lines {
				line := fmt.Sprint(1000 + i/2 + 1000*(i%2)) // 1000, 2000, 1001 ...
				c, err := signIn(ctx, ua, frontEnd, line)
				if err != nil {
					t.Errorf("%s: %v", line, err)
					continue
				}
				clients[i] = c
			}
		})
	}
	for i := range users {
		lines <- i
	}
	close(lines)
	group.Wait()
	return clients
}

// A front end dies under a thousand dialogs; its users come back through another one. The
// switch behind is not asked for their monitors anew, and nothing is left of the old ones.
func TestFrontEndDies(t *testing.T) {
	long(t)
	const users = 1000
	back := serve(t, everybody+"limits: {monitors-per-session: 5000}\n")
	front := serve(t, fmt.Sprintf(`monitor-linger: 30s
links:
- {name: back, addresses: ["127.0.0.1:%d"], devices: ["*"], edition: 6}
trusted: [{certificate: "fe1.contoso.com"}]
grants: [{who: "sip:user*@contoso.com", control: ["*"]}]
`, back.xmlPort))
	front.linked("back")
	first, kill := frontEndProcess(t, front, "tls")
	ua := sip.New(sip.Config{})
	defer ua.Close()
	crowdSignsIn(t, ua, first, users)
	if n := front.metric("tr87proxy_sessions"); n != users {
		t.Fatalf("%v sessions", n)
	}
	if n := back.metric("tr87proxy_link_monitors"); n != users {
		t.Fatalf("%v monitors at the switch", n)
	}
	asked := back.metric("tr87proxy_requests_total")
	kill()
	waitFor(t, "the end of the sessions", func() bool { return front.metric("tr87proxy_sessions") == 0 })
	second, _ := frontEndProcess(t, front, "tls")
	again := sip.New(sip.Config{})
	defer again.Close()
	clients := crowdSignsIn(t, again, second, users)
	if n := front.metric("tr87proxy_sessions"); n != users {
		t.Errorf("%v sessions, want %v", n, users)
	}
	// heartbeats only, no monitor
	if n := back.metric("tr87proxy_requests_total") - asked; n > 20 {
		t.Errorf("the switch was asked %v times", n)
	}
	// and they work: user 0's own line, in a call
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := clients[0].Request(ctx, uacsta.Encode(call("1000", "2000"), uacsta.Edition3)); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients[:2] {
		for {
			select {
			case m := <-c.events:
				if m.Name() != "EstablishedEvent" {
					continue
				}
			case <-ctx.Done():
				t.Error("no EstablishedEvent")
			}
			break
		}
	}
	front.stop()
	back.stop()
}

// frontEndProcess is frontEnd, and also returns a function that kills it.
func frontEndProcess(t *testing.T, r *running, kind string) (port int, kill func()) {
	t.Helper()
	port, p := startFrontEnd(t, r, kind)
	return port, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
}

// Two endpoints of one user, one of which signs in twice: each has its own dialog, its own
// cross reference and its own spelling, all see the same call, and the end of one is
// nothing to the others.
func TestEndpointsOfAUser(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody+"numbers: {main: \"+1425555\"}\n")
	port := frontEnd(t, r, "tcp")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	spellings := []string{"tel:+14255551000", "tel:+14255551000", "TEL:+1 (425) 555-1000", "tel:1000;phone-context=dialstring"}
	var clients []*lyncClient
	for range spellings {
		clients = append(clients, nil)
	}
	for i, line := range spellings {
		ua := sip.New(sip.Config{})
		defer ua.Close()
		c, err := signIn(ctx, ua, port, line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		clients[i] = c
	}
	request := uacsta.MakeCall{CallingDevice: uacsta.Dev(spellings[0]), CalledDirectoryNumber: uacsta.Dev("tel:+14255552000"), AutoOriginate: uacsta.DoNotPrompt}
	res, err := clients[0].Request(ctx, uacsta.Encode(request, uacsta.Edition3))
	if err != nil {
		t.Fatal(err)
	}
	id := res.Text("callingDevice/callID")
	next := func(c *lyncClient, event string) *uacsta.Message {
		t.Helper()
		for {
			select {
			case m := <-c.events:
				if m.Name() == event {
					return m
				}
			case <-ctx.Done():
				t.Fatalf("no %s", event)
			}
		}
	}
	for i, c := range clients {
		m := next(c, "OriginatedEvent")
		if m.Text("originatedConnection/callID") != id || m.Text("originatedConnection/deviceID") != spellings[i] || m.Text("callingDevice/deviceIdentifier") != spellings[i] {
			t.Errorf("%s: %s", spellings[i], m)
		}
		if m.Text("calledDevice/deviceIdentifier") != "tel:+14255552000" {
			t.Errorf("the other party: %s", m)
		}
	}
	clients[1].Close()
	if _, err := clients[2].Request(ctx, uacsta.Encode(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, spellings[2])}, uacsta.Edition3)); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2, 3} {
		if m := next(clients[i], "ConnectionClearedEvent"); m.Text("droppedConnection/callID") != id {
			t.Errorf("%s", m)
		}
	}
	r.stop()
}

// A line whose switch is down is refused with 480 to clients of Lync's kind, so that a front
// end does not take the route out of use, and with 503 to others; a listener can say which.
func TestLyncRefusals(t *testing.T) {
	t.Parallel()
	back := serve(t, everybody)
	r := serve(t, fmt.Sprintf("links:\n- {name: away, addresses: [\"127.0.0.1:%d\"], devices: [\"7*\"]}\n%s", back.xmlPort, everybody))
	back.stop()
	waitFor(t, "the loss of the link", func() bool { return strings.Contains(r.get("/metrics"), `tr87proxy_link_up{link="away"} 0`) })
	for arguments, want := range map[string]string{
		"--as lync --line 7000": "480", "--line tel:7000": "480", "--as lync --line 9999": "404",
	} {
		out, _ := command(t, append([]string{"features", "--server", fmt.Sprintf("sip:gw@127.0.0.1:%d;transport=tcp", r.port)}, strings.Fields(arguments)...)...)
		if !strings.Contains(out, "refused: "+want) {
			t.Errorf("%s: %s", arguments, out)
		}
	}
	if out, _ := command(t, "features", "--as", "lync"); !strings.Contains(out, "--as takes lync, and --line") {
		t.Errorf("%s", out)
	}
	r.stop()
}

// heard waits for an event, and returns it.
func (c *lyncClient) heard(t *testing.T, event string) *uacsta.Message {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m := <-c.events:
			if m.Name() == event+"Event" {
				return m
			}
		case <-deadline:
			t.Fatalf("no %s", event)
		}
	}
}

// Everything that a communicator offers, through a front end over mutual TLS, with real
// telephones.
func TestLyncWithTelephones(t *testing.T) {
	long(t)
	x := serveTelephones(t, "", "trusted: [{certificate: \"fe1.contoso.com\"}]\nnumbers: {main: \"+1425555\"}\nrules:\n- {name: own, who: [\"sip:user*@contoso.com\"], devices: [own], may: [control], destinations: [internal]}\n"+
		"lines: {own: [{who: \"sip:user14255550100@contoso.com\", devices: [\"100\"]}]}\n")
	front := frontEnd(t, x.running, "tls")
	a, b, c := x.phone("100", "auto"), x.phone("101", "auto"), x.phone("102", "auto")
	ua := sip.New(sip.Config{})
	defer ua.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	const line = "tel:+1425555100;ext=100"
	open := func() *lyncClient {
		t.Helper()
		l := &lyncClient{events: make(chan *uacsta.Message, 100)}
		var err error
		l.Client, err = tr87.Open(ctx, ua, tr87.Dial{
			To: "sip:gw@gw.contoso.com", Proxy: fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp;lr", front), From: "sip:user14255550100@contoso.com", Line: line,
			Event: func(m *uacsta.Message) { l.events <- m },
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	must := func(req any) *uacsta.Message {
		t.Helper()
		m, err := l.Request(ctx, uacsta.Encode(req, uacsta.Edition3))
		if err != nil {
			t.Fatalf("%T: %v", req, err)
		}
		return m
	}
	own, second, third := uacsta.Dev(line), uacsta.Dev("tel:+1425555101"), uacsta.Dev("tel:+1425555102")
	must(uacsta.GetCSTAFeatures{})
	must(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &own}})
	made := must(uacsta.MakeCall{CallingDevice: own, CalledDirectoryNumber: second, AutoOriginate: uacsta.DoNotPrompt})
	first := uacsta.Conn(made.Text("callingDevice/callID"), line)
	if m := l.heard(t, "Established"); m.Text("answeringDevice/deviceIdentifier") != "tel:+1425555101" {
		t.Errorf("%s", m)
	}
	a.hears("101")
	must(uacsta.GenerateDigits{ConnectionToSendDigits: first, DigitMode: uacsta.DTMF, CharactersToSend: "1#"})
	b.sees("CALL_DTMF_START", 2)
	must(uacsta.HoldCall{CallToBeHeld: first})
	b.hears("music")
	must(uacsta.RetrieveCall{CallToBeRetrieved: first})
	b.hears("100")
	other := must(uacsta.ConsultationCall{ExistingCall: first, ConsultedDevice: third})
	active := uacsta.Conn(other.Text("initiatedCall/callID"), line)
	l.heard(t, "Established")
	must(uacsta.AlternateCall{HeldCall: first, ActiveCall: active})
	b.hears("100")
	// a second program of the user signs in now: the calls are there already
	late := open()
	snapshot, err := late.Request(ctx, uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: own}, uacsta.Edition3))
	if err != nil || strings.Count(snapshot.String(), "<connectionIdentifier>") != 2 || strings.Count(snapshot.String(), "<deviceID>"+line+"</deviceID>") < 2 {
		t.Errorf("%v %s", err, snapshot)
	}
	late.Close()
	conference := must(uacsta.ConferenceCall{HeldCall: active, ActiveCall: first})
	b.hears("100", "102")
	c.hears("100", "101")
	own3 := uacsta.Conn(conference.Text("conferenceCall/callID"), line)
	must(uacsta.ClearConnection{ConnectionToBeCleared: own3})
	a.sees("CALL_CLOSED", 1)
	b.hears("102")
	b.do("hangup", "")
	c.sees("CALL_CLOSED", 1)

	// settings, and what a call meets then
	must(uacsta.SetForwarding{Device: own, ForwardingType: uacsta.ForwardImmediate, ActivateForward: true, ForwardDN: &third})
	if m := l.heard(t, "Forwarding"); m.Text("device/deviceIdentifier") != line || m.Text("forwardTo") != "tel:+1425555102" {
		t.Errorf("%s", m)
	}
	b.do("dial", "100")
	c.sees("CALL_ESTABLISHED", 2)
	b.hears("102")
	b.do("hangup", "")
	must(uacsta.SetForwarding{Device: own, ForwardingType: uacsta.ForwardImmediate, ActivateForward: false})
	must(uacsta.SetDoNotDisturb{Device: own, DoNotDisturbOn: true})
	if m := l.heard(t, "DoNotDisturb"); m.Text("doNotDisturbOn") != "true" {
		t.Errorf("%s", m)
	}
	must(uacsta.SetDoNotDisturb{Device: own, DoNotDisturbOn: false})

	// another's line is not the user's
	if _, err := l.Request(ctx, uacsta.Encode(uacsta.MakeCall{CallingDevice: second, CalledDirectoryNumber: third}, uacsta.Edition3)); err == nil {
		t.Error("another's telephone is controlled")
	}
	// a single step, and hanging up
	made = must(uacsta.MakeCall{CallingDevice: own, CalledDirectoryNumber: second, AutoOriginate: uacsta.DoNotPrompt})
	l.heard(t, "Established")
	must(uacsta.SingleStepTransferCall{ActiveCall: uacsta.Conn(made.Text("callingDevice/callID"), line), TransferredTo: third})
	l.heard(t, "Transfered")
	b.hears("102")
	l.Close()
	x.stop()
}

// A client of Lync's kind, word by word: what a front end adds comes back untouched, and what
// the family has invented is passed over.
func TestLyncOnTheWire(t *testing.T) {
	t.Parallel()
	r := serve(t, everybody)
	h := newHandset(t, "tcp", r.port, "alice", "")
	const line = "tel:1000;phone-context=dialstring;device=SEP0002FD3BB5C5;partition=myPartition"
	space := ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	named := `<extensions><privateData><private><lcs:line xmlns:lcs="http://schemas.microsoft.com/Lcs/2005/04/RCCExtension">` + line + `</lcs:line></private></privateData></extensions>`
	target := "sip:alice@contoso.com:52312;maddr=10.1.2.3;transport=tls"
	route := fmt.Sprintf("<sip:%s;transport=tcp;ms-fe=fe1.contoso.com;opaque=state:F:Ci.R4a5e00;lr>", h.conn.LocalAddr())
	secondVia := `SIP/2.0/tls 10.1.2.3:49221;branched=FALSE;ms-internal-info="caA;b=1,cQAA";ms-received-port=49221;ms-received-cid=1E00`
	d := &sipDialog{h: h, callID: "528AgD575a1169iA18BmD057tC776b63AAx4C59x", local: "<sip:alice@contoso.com>;tag=2833849333;epid=abb2cb12b77f", remote: "<sip:rcc@gw.contoso.com>", target: "sip:rcc@gw.contoso.com"}
	headers := []string{
		"Via: " + secondVia, "Record-Route: " + route, "Contact: <" + target + ">;proxy=replace",
		"User-Agent: UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)", "Supported: timer, gruu-10, histinfo, ms-sender", "ms-user-data: ms-publiccloud=true",
		"History-Info: <sip:rcc@gw.contoso.com>;index=1", "Content-Disposition: signal;handling=required", cstaHeader,
	}
	opening := `<?xml version="1.0"?><RequestSystemStatus` + space + `>` + named + `</RequestSystemStatus>`
	m := d.begin("INVITE", headers, opening).final()
	vias := m.all("Via")
	if m.code() != 200 || len(vias) != 2 || vias[1] != secondVia || m.header("Record-Route") != route || m.header("Session-Expires") != "1800;refresher=uac" ||
		m.header("Require") != "timer" || !strings.Contains(m.body, "<systemStatus>normal</systemStatus>") || !strings.Contains(m.header("From"), ";epid=abb2cb12b77f") {
		t.Fatalf("%s\n%s\n%s", m.start, strings.Join(m.headers, "\n"), m.body)
	}
	d.follow(m)
	d.ack(m)
	// two requests, without waiting for each other
	features := d.begin("INFO", []string{cstaHeader}, `<?xml version="1.0"?><GetCSTAFeatures`+space+`>`+named+`</GetCSTAFeatures>`)
	monitor := d.begin("INFO", []string{cstaHeader}, `<?xml version="1.0"?><MonitorStart`+space+`><monitorObject><deviceObject>`+line+`</deviceObject></monitorObject></MonitorStart>`)
	if m := monitor.final(); m.code() != 200 || !strings.Contains(m.body, "<monitorCrossRefID>") {
		t.Errorf("%s %s", m.start, m.body)
	}
	if m := features.final(); m.code() != 200 || !strings.Contains(m.body, "<makeCall") {
		t.Errorf("%s %s", m.start, m.body)
	}
	made := d.begin("INFO", []string{cstaHeader}, `<?xml version="1.0"?><MakeCall`+space+`><callingDevice>`+line+`</callingDevice><calledDirectoryNumber>tel:2000;phone-context=dialstring</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`)
	if m := made.final(); !strings.Contains(m.body, "<deviceID>"+line+"</deviceID>") {
		t.Errorf("%s", m.body)
	}
	for {
		event := h.expect("INFO")
		if event.start != "INFO "+target+" SIP/2.0" || event.header("Route") != route || event.header("To") != d.local {
			t.Errorf("%s\n%s", event.start, strings.Join(event.headers, "\n"))
		}
		if strings.Contains(event.body, "<EstablishedEvent") { // no event is ever answered
			break
		}
	}
	// the refresh: the whole INVITE again, with a CSeq that starts over, from another program of the front end's route
	d.number = 0
	if m := d.begin("INVITE", headers, opening).final(); m.code() != 200 || m.header("Record-Route") != route || m.header("Contact") == "" || !strings.Contains(m.body, "normal") {
		t.Errorf("refresh: %s\n%s", m.start, strings.Join(m.headers, "\n"))
	} else {
		d.ack(m)
	}
	// sign-out: back to back
	ref := regexp.MustCompile(`<monitorCrossRefID>([^<]+)`).FindStringSubmatch(monitorAnswer(h, d, line))[1]
	stop := d.begin("INFO", []string{cstaHeader}, `<?xml version="1.0"?><MonitorStop`+space+`><monitorCrossRefID>`+ref+`</monitorCrossRefID></MonitorStop>`)
	bye := d.begin("BYE", nil, "")
	if a, b := stop.final(), bye.final(); a.code() != 200 || b.code() != 200 {
		t.Errorf("%s, %s", a.start, b.start)
	}
	if m := d.begin("INFO", []string{cstaHeader}, opening).final(); m.code() != 481 {
		t.Errorf("after the end: %s", m.start)
	}
	r.stop()
}

// monitorAnswer starts one more monitor.
func monitorAnswer(h *handset, d *sipDialog, line string) string {
	h.t.Helper()
	return d.begin("INFO", []string{cstaHeader}, `<?xml version="1.0"?><MonitorStart xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><monitorObject><deviceObject>`+line+`</deviceObject></monitorObject></MonitorStart>`).final().body
}
