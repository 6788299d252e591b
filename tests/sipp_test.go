package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// scenario writes a sipp scenario: a Lync-style client by the reference, not by
// our own code. Field 0 is its line, field 1 the number it calls.
type scenario struct {
	strings.Builder
	cseq    int
	answers bool   // events are answered; over TCP sipp cannot, they come too fast
	via     string // parameters of a front end's Via
	sent    int    // requests, each of which is a transaction of sipp's
	invites bool   // the last of them is an INVITE
	again   string // what takes the 200 to an INVITE that comes once more
}

// lyncVia is what Lync front ends put into their Via; Kamailio cannot read it.
const lyncVia = `;branched=FALSE;ms-internal-info="caA;b=1,cQAA"`

const (
	csta     = `xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"`
	sippLine = "tel:[field0];phone-context=dialstring"
	inLine   = `<extensions><privateData><private><lcs:line xmlns:lcs="http://schemas.microsoft.com/Lcs/2005/04/RCCExtension">` + sippLine + `</lcs:line></private></privateData></extensions>`
	sippOpen = `<?xml version="1.0"?><RequestSystemStatus ` + csta + `>` + inLine + `</RequestSystemStatus>`
	sippOwn  = `<callID>[$call]</callID><deviceID>` + sippLine + `</deviceID>`
	sippOK   = `
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>`
	sippTrail = "\n]]></send>\n"
)

func (s *scenario) request(method, body string) {
	if method != "ACK" {
		s.cseq++
	}
	target, to, routes := "[next_url]", "[peer_tag_param]", "[routes]\n"
	if method == "INVITE" && s.cseq == 1 {
		target, to, routes = "sip:rcc@[remote_ip]:[remote_port];transport=[transport]", "", ""
	}
	s.sent++
	s.invites = method == "INVITE"
	fmt.Fprintf(s, `<send retrans="500" start_txn="t%d"><![CDATA[
%s %s SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]%s
%sFrom: <sip:user[field0]@contoso.com>;tag=[pid]x[call_number];epid=abb2cb12b77f
To: <sip:rcc@gw.contoso.com>%s
Call-ID: [call_id]
CSeq: %d %s
Contact: <sip:user[field0]@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Supported: timer
Content-Disposition: signal;handling=required
Content-Type: application/csta+xml
Content-Length: [len]

%s`+sippTrail, s.sent, method, target, s.via, routes, to, s.cseq, method, body)
}

// ack acknowledges the 200 to an INVITE, which comes once more when the ACK is late.
func (s *scenario) ack() {
	fmt.Fprintf(s, `<send ack_txn="t%d"><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:user[field0]@contoso.com>;tag=[pid]x[call_number];epid=abb2cb12b77f
To: <sip:rcc@gw.contoso.com>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0
`+sippTrail, s.sent)
	s.again = fmt.Sprintf("<recv response=\"200\" response_txn=\"t%d\" optional=\"global\"/>\n", s.sent)
}

// response takes the 200 to the last request.
func (s *scenario) response(assign string, match ...string) {
	what := fmt.Sprintf(`response="200" response_txn="t%d"`, s.sent)
	if s.invites { // a busy proxy says 100 after 200 ms (RFC 3261 17.2.1)
		fmt.Fprintf(s, `<recv response="100" response_txn="t%d" optional="true"/>`+"\n", s.sent)
		what += ` rrs="true"`
	}
	s.recv(what, assign, match...)
}

// recv waits for a message whose body must match the expressions; the first group
// of assign goes into a variable.
func (s *scenario) recv(what string, assign string, match ...string) {
	s.WriteString(s.again)
	s.again = ""
	fmt.Fprintf(s, "<recv %s timeout=\"%d\"><action>\n", what, patience.Milliseconds())
	for i, m := range match {
		fmt.Fprintf(s, `<ereg regexp="%s" search_in="body" check_it="true" assign_to="m%d"/>`+"\n", xmlEscape(m), i)
	}
	if assign != "" {
		name, expression, _ := strings.Cut(assign, "=")
		fmt.Fprintf(s, `<ereg regexp="%s" search_in="body" check_it="true" assign_to="all,%s"/>`+"\n", xmlEscape(expression), name)
	}
	s.WriteString("</action></recv>\n")
}

func xmlEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}

// event takes an event, and answers it where events are answered.
func (s *scenario) event(match ...string) {
	s.recv(`request="INFO"`, "", append(match, `<monitorCrossRefID>[0-9a-f]+</monitorCrossRefID>`)...)
	if !s.answers {
		return
	}
	s.WriteString(sippOK + "\n")
}

// tr87Client is the whole life of a session: opening, features and monitor back
// to back, a call with its events, a refresh after which CSeq starts over, the
// end.
func tr87Client(answers bool, via string) string {
	s := &scenario{answers: answers, via: via}
	s.WriteString("<?xml version=\"1.0\"?><scenario name=\"tr87\">\n")
	s.request("INVITE", sippOpen)
	s.response("", "<systemStatus>normal</systemStatus>")
	s.ack()
	s.request("INFO", `<?xml version="1.0"?><GetCSTAFeatures `+csta+`>`+inLine+`</GetCSTAFeatures>`)
	s.response("", "<makeCall/>", "<delivered/>")
	s.request("INFO", `<?xml version="1.0"?><MonitorStart `+csta+`><monitorObject><deviceObject>`+sippLine+`</deviceObject></monitorObject></MonitorStart>`)
	s.response("ref=<monitorCrossRefID>([^<]*)</monitorCrossRefID>")
	s.event("DoNotDisturbEvent") // comes when all have their monitor
	s.request("INFO", `<?xml version="1.0"?><MakeCall `+csta+`><callingDevice>`+sippLine+`</callingDevice><calledDirectoryNumber>tel:[field1]</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`)
	s.response("call=<callID>([^<]*)</callID>", "<deviceID>tel:[0-9]+;phone-context=dialstring</deviceID>")
	s.event("ServiceInitiatedEvent", "<localConnectionInfo>initiated<")
	s.event("OriginatedEvent", "<localConnectionInfo>connected<")
	s.event("DeliveredEvent", "<notRequired/>")
	s.event("EstablishedEvent", "<cause>newCall<")
	s.request("INFO", `<?xml version="1.0"?><HoldCall `+csta+`><callToBeHeld>`+sippOwn+`</callToBeHeld></HoldCall>`)
	s.response("", "<HoldCallResponse")
	s.event("HeldEvent", "<localConnectionInfo>hold<")
	s.request("INFO", `<?xml version="1.0"?><AnswerCall `+csta+`><callToBeAnswered>`+sippOwn+`</callToBeAnswered></AnswerCall>`)
	s.response("", "<stateIncompatibility>noCallToAnswer</stateIncompatibility>")
	s.request("INVITE", sippOpen)
	s.response("", "<systemStatus>normal</systemStatus>")
	s.ack()
	s.cseq = 1 // as real clients do
	s.request("INFO", `<?xml version="1.0"?><ClearConnection `+csta+`><connectionToBeCleared><callID>[$call]</callID></connectionToBeCleared></ClearConnection>`)
	s.response("", "<ClearConnectionResponse")
	s.event("ConnectionClearedEvent", "<localConnectionInfo>null<")
	s.request("INFO", `<?xml version="1.0"?><MonitorStop `+csta+`><monitorCrossRefID>[$ref]</monitorCrossRefID></MonitorStop>`)
	s.response("", "<MonitorStopResponse")
	s.request("BYE", "")
	s.response("")
	s.WriteString("<Reference variables=\"all,m0,m1,m2\"/></scenario>\n")
	return s.String()
}

// sipp runs a scenario and fails the test unless every call of it succeeds.
func sipp(t *testing.T, xml, target, mode string, calls, rate int) {
	t.Helper()
	startSipp(t, xml, target, mode, calls, rate).succeeds()
}

// sippRun is a sipp that runs a scenario.
type sippRun struct {
	*process
	errors string // its file of errors
}

func startSipp(t *testing.T, xml, target, mode string, calls, rate int) *sippRun {
	t.Helper()
	dir := t.TempDir()
	var users strings.Builder
	users.WriteString("SEQUENTIAL\n")
	for i := range calls {
		fmt.Fprintf(&users, "%d;%d\n", 1000+i, 2000+i)
	}
	for name, content := range map[string]string{"scenario.xml": xml, "users.csv": users.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	errors := filepath.Join(dir, "errors")
	return &sippRun{start(t, tool(t, "sipp"), "-sf", filepath.Join(dir, "scenario.xml"), "-inf", filepath.Join(dir, "users.csv"), target,
		"-i", "127.0.0.1", "-t", mode, "-m", strconv.Itoa(calls), "-l", strconv.Itoa(calls), "-r", strconv.Itoa(rate), "-nostdin",
		"-trace_err", "-error_file", errors), errors}
}

// succeeds waits for the end of the run, and fails the test unless every call succeeded.
func (p *sippRun) succeeds() {
	p.t.Helper()
	if err := p.wait(2 * patience); err != nil {
		faults, _ := os.ReadFile(p.errors)
		out := p.out.String()
		p.t.Fatalf("sipp: %v\n%s\n%s", err, faults[:min(len(faults), 3000)], out[max(0, len(out)-2500):])
	}
}

// together waits until every client of tr87Client has its session and its monitor, and releases them by a
// session of its own, from an address that may control their lines.
func (p *sippRun) together(r *running, calls int, from string) {
	p.t.Helper()
	waitFor(p.t, fmt.Sprint(calls, " sessions with a monitor each"), func() bool {
		if p.ended() {
			p.succeeds()
			p.t.Fatal("sipp ended too early")
		}
		return r.metric("tr87proxy_sessions") == float64(calls) && r.metric("tr87proxy_link_monitors") == float64(calls)
	})
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlPort))
	c := dialXML(p.t, conn, err)
	for i := range calls {
		if m := c.ask(uacsta.SetDoNotDisturb{Device: uacsta.Dev(strconv.Itoa(1000 + i)), DoNotDisturbOn: true}); m.Err() != nil {
			p.t.Fatal(m)
		}
	}
	_ = c.conn.Close()
}

// A foreign TR/87 client, 200 sessions at once, over each transport.
func TestSippClients(t *testing.T) {
	long(t)
	const calls = 200
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			r := serveSlow(t, everybody)
			target, mode := fmt.Sprintf("127.0.0.1:%d", r.port), "u1"
			switch transport {
			case "tcp":
				mode = "t1"
			case "tls":
				// Debian's sipp knows no TLS: socat puts it around each connection.
				port := freePort(t)
				start(t, tool(t, "socat"), fmt.Sprintf("TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork", port),
					fmt.Sprintf("OPENSSL:127.0.0.1:%d,cafile=%s/cert.pem,commonname=localhost", r.tlsPort, r.dir))
				waitFor(t, "socat", func() bool { return listening(port) })
				target, mode = fmt.Sprintf("127.0.0.1:%d", port), "t1"
			}
			clients := startSipp(t, tr87Client(transport == "udp", lyncVia), target, mode, calls, 100)
			clients.together(r, calls, "127.0.0.1")
			clients.succeeds()
			if n := r.metric("tr87proxy_sessions_total"); n != calls+1 { // that of together is one
				t.Errorf("%v sessions were opened, want %d", n, calls+1)
			}
			waitFor(t, "the end of every session", func() bool { return r.metric("tr87proxy_sessions") == 0 })
			r.stop()
		})
	}
}

// A client with two monitors that never answers an event.
func TestSippClientThatNeverAnswers(t *testing.T) {
	long(t)
	r := serveSlow(t, everybody)
	s := &scenario{}
	s.WriteString("<?xml version=\"1.0\"?><scenario name=\"mute\">\n")
	s.request("INVITE", sippOpen)
	s.response("", "<systemStatus>normal</systemStatus>")
	s.ack()
	for range 2 {
		s.request("INFO", `<?xml version="1.0"?><MonitorStart `+csta+`><monitorObject><deviceObject>`+sippLine+`</deviceObject></monitorObject></MonitorStart>`)
		s.response("", "<monitorCrossRefID>")
	}
	s.request("INFO", `<?xml version="1.0"?><MakeCall `+csta+`><callingDevice>`+sippLine+`</callingDevice><calledDirectoryNumber>tel:[field1]</calledDirectoryNumber><autoOriginate>doNotPrompt</autoOriginate></MakeCall>`)
	s.response("", "<MakeCallResponse")
	for _, event := range []string{"ServiceInitiated", "Originated", "Delivered", "Established"} {
		for range 2 { // two monitors
			s.recv(`request="INFO"`, "", event+"Event")
		}
	}
	s.WriteString("<Reference variables=\"m0\"/></scenario>\n")
	sipp(t, s.String(), fmt.Sprintf("127.0.0.1:%d", r.port), "t1", 20, 20)
	r.stop()
}

func listening(port int) bool {
	data, _ := os.ReadFile("/proc/net/tcp")
	return strings.Contains(string(data), fmt.Sprintf(":%04X 00000000:0000 0A", port))
}
