package tests

import (
	"bufio"
	octets "encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// foreignPBX is a switch of another make: it speaks first, writes no namespace or a
// prefix of its own, answers what it knows from a table, and refuses the rest.
type foreignPBX struct {
	t       *testing.T
	l       net.Listener
	answers map[string]string // by the name of the request

	mu   sync.Mutex
	conn net.Conn
	got  []string
}

func newForeignPBX(t *testing.T, answers map[string]string) *foreignPBX {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &foreignPBX{t: t, l: l, answers: answers}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conn = conn
			p.mu.Unlock()
			p.serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		if p.conn != nil {
			_ = p.conn.Close()
		}
		p.mu.Unlock()
		<-done
	})
	return p
}

var rootName = regexp.MustCompile(`<(?:\w+:)?(\w+)[ />]`)

func (p *foreignPBX) serve(conn net.Conn) {
	p.say("0000", `<?xml version='1.0' encoding='ISO-8859-1'?><SystemStatus><systemStatus>normal</systemStatus></SystemStatus>`)
	r := bufio.NewReader(conn)
	for header := make([]byte, 8); ; {
		if _, err := io.ReadFull(r, header); err != nil {
			return
		}
		document := make([]byte, octets.BigEndian.Uint16(header[2:])-8)
		if _, err := io.ReadFull(r, document); err != nil {
			return
		}
		_, body, _ := strings.Cut(string(document), "?>")
		name := rootName.FindStringSubmatch(body)[1]
		p.mu.Lock()
		p.got = append(p.got, body)
		p.mu.Unlock()
		switch answer, known := p.answers[name]; {
		case known:
			p.say(string(header[4:]), answer)
		case strings.HasSuffix(name, "Response"):
		default:
			p.say(string(header[4:]), `<CSTAErrorCode><operation>serviceNotSupported</operation></CSTAErrorCode>`)
		}
	}
}

// say writes a frame, torn in the middle.
func (p *foreignPBX) say(id, document string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := append(octets.BigEndian.AppendUint16([]byte{0, 0}, uint16(8+len(document))), id+document...)
	_, _ = p.conn.Write(frame[:5])
	_, _ = p.conn.Write(frame[5:])
}

func (p *foreignPBX) heard(what string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(strings.Join(p.got, "\n"), what)
}

// In front of a foreign switch clients see its numbers, and everything else as it was
// written: private data both ways, elements that nobody knows, services of media and voice.
func TestForeignPBX(t *testing.T) {
	t.Parallel()
	long(t)
	const vendor = `<extensions><privateData><private><sie:extendedServicesPermitted xmlns:sie="http://www.siemens.com/schema/csta" a="1"><!-- kept --><sie:x><![CDATA[<&>]]></sie:x></sie:extendedServicesPermitted></private></privateData></extensions>`
	const shop = `<extensions xmlns:s="urn:shop"><privateData><private><s:order s:n="7">änderung &amp; <s:deep/></s:order></private></privateData></extensions>`
	p := newForeignPBX(t, map[string]string{
		"RequestSystemStatus": `<RequestSystemStatusResponse><systemStatus>normal</systemStatus></RequestSystemStatusResponse>`,
		"SystemRegister":      `<SystemRegisterResponse><sysStatRegisterID>27ss</sysStatRegisterID></SystemRegisterResponse>`,
		"MonitorStart":        `<p:MonitorStartResponse xmlns:p="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><p:monitorCrossRefID>99fda87c</p:monitorCrossRefID></p:MonitorStartResponse>`,
		"PlayMessage":         `<PlayMessageResponse><resource>res1</resource>` + vendor + `</PlayMessageResponse>`,
		"MakeCall":            `<MakeCallResponse><callingDevice><callID>FF00AA</callID><deviceID>302118840101</deviceID></callingDevice><globallyUniqueCallLinkageID>?</globallyUniqueCallLinkageID></MakeCallResponse>`,
	})
	front := serve(t, fmt.Sprintf(`links:
- {name: pbx, addresses: ["%s"], devices: ["3021188401??"], dialect: openscape, heartbeat: 1s}
trusted: [{address: 127.0.0.1}]
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, p.l.Addr()))
	front.linked("pbx")
	c := front.xml()

	// a monitor with private data, and one without: two at the switch
	c.write(100, `<MonitorStart xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4" xmlns:sie="http://www.siemens.com/schema/csta"><monitorObject><deviceObject>302118840101</deviceObject></monitorObject><extensions><privateData><private><sie:staticOndDN>true</sie:staticOndDN></private></privateData></extensions></MonitorStart>`)
	_, m, err := c.read()
	if err != nil || m.Name() != "MonitorStartResponse" {
		t.Fatal(m, err)
	}
	ref := m.CrossRef()
	if !p.heard(`<sie:staticOndDN xmlns:sie="http://www.siemens.com/schema/csta">true</sie:staticOndDN>`) {
		t.Errorf("the switch does not get the client's private data:\n%s", strings.Join(p.got, "\n"))
	}
	// an event, as such a switch writes it
	p.say("9999", `<p:DeliveredEvent xmlns:p="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><p:monitorCrossRefID>99fda87c</p:monitorCrossRefID><p:connection><p:callID>FF00AA</p:callID><p:deviceID>302118840101</p:deviceID></p:connection><p:alertingDevice><p:deviceIdentifier>N&lt;302118840101&gt;;displayNumber=302118840101;noa=nk</p:deviceIdentifier></p:alertingDevice><p:callingDevice><p:deviceIdentifier typeOfNumber="other">N&lt;49891234&gt;</p:deviceIdentifier></p:callingDevice><p:calledDevice><p:notKnown/></p:calledDevice><p:lastRedirectionDevice><p:notKnown/></p:lastRedirectionDevice><p:localConnectionInfo>alerting</p:localConnectionInfo><p:cause>newCall</p:cause><p:servicesPermitted><p:answerCall>true</p:answerCall></p:servicesPermitted>`+strings.ReplaceAll(strings.ReplaceAll(vendor, "<extensions>", "<p:extensions>"), "</extensions>", "</p:extensions>")+`</p:DeliveredEvent>`)
	_, ev, err := c.read()
	if err != nil || ev.CrossRef() != ref || ev.Text("alertingDevice/deviceIdentifier") != "302118840101" || ev.Text("callingDevice/deviceIdentifier") != "49891234" {
		t.Errorf("%v %v", ev, err)
	}
	for _, want := range []string{`typeOfNumber="other"`, `<!-- kept -->`, `<![CDATA[<&>]]>`, `a="1"`, `<answerCall>true</answerCall>`} {
		if !strings.Contains(ev.String(), want) {
			t.Errorf("the event has lost %s:\n%s", want, ev)
		}
	}
	// voice services, and what nobody knows
	id := ev.Text("connection/callID")
	c.write(101, `<PlayMessage xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><messageToBePlayed>welcome</messageToBePlayed><overConnection><callID>`+id+`</callID><deviceID>302118840101</deviceID></overConnection><newInEdition99>1</newInEdition99>`+shop+`</PlayMessage>`)
	if _, m, err = c.read(); err != nil || m.Text("resource") != "res1" || !strings.Contains(m.String(), `<![CDATA[<&>]]>`) {
		t.Errorf("%v %v", m, err)
	}
	for _, want := range []string{`<newInEdition99>1</newInEdition99>`, `<s:order s:n="7" xmlns:s="urn:shop">&#228;nderung &amp; <s:deep/></s:order>`} {
		if !p.heard(want) {
			t.Errorf("the switch has not got %s", want)
		}
	}
	// TR/87 in front of it: the client's own way of writing its number comes back
	out, status := command(t, "call", "tel:302118840101", "101", "--json", "--server", fmt.Sprintf("sip:x@127.0.0.1:%d;transport=tcp", front.port))
	if status != 0 || !strings.Contains(out, "tel:302118840101") || !strings.Contains(out, "globallyUniqueCallLinkageID") {
		t.Errorf("%d %s", status, out)
	}
	if m := c.ask(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "302118840101")}); m.Err() == nil || m.Err().Value != uacsta.ServiceNotSupported {
		t.Errorf("%s", m)
	}
	front.stop()
}
