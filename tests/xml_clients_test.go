package tests

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// Public programs, each with what its parser demands. They talk to the real binary, at a listener of their dialect.

// serveXML starts tr87proxy with one listener of xml with more keys, and returns its address. extra is YAML for the end.
func serveXML(t *testing.T, keys, extra string) string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := fmt.Sprintf(`
sip: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
operations: {address: ""}
xml: {listen: [{transport: tcp, address: %q%s}]}
switch:
  extensions: [{number: "100"}, {number: "101", answer-after: 20ms}, {number: "102"}]
%s`, freePort(t), address, keys, extra)
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, program(t), "serve", "-c", file)
	waitFor(t, "the listener", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return address
}

// scriptedClient is a program at a listener of xml. Unlike the proxy's own client it reads nothing but what it is told to.
type scriptedClient struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialScripted(t *testing.T, address string) *scriptedClient {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &scriptedClient{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// say writes a document after a header of its length in octets.
func (c *scriptedClient) say(id int, document string) {
	c.t.Helper()
	c.sayAs(id, len(document), document)
}

// sayAs writes a document with another length in its header.
func (c *scriptedClient) sayAs(id, length int, document string) {
	c.t.Helper()
	length += 8
	if _, err := io.WriteString(c.conn, "\x00\x00"+string([]byte{byte(length >> 8), byte(length)})+fmt.Sprintf("%04d", id)+document); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the next message and its invoke ID.
func (c *scriptedClient) hear() (int, *uacsta.Message) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	id, document, err := cstaxml.ReadFrame(c.r, cstaxml.MaxFrame, func() {})
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := uacsta.Parse(document)
	if err != nil {
		c.t.Fatal(err)
	}
	return id, m
}

// expect returns the next message, which must have this invoke ID and name.
func (c *scriptedClient) expect(id int, name string) *uacsta.Message {
	c.t.Helper()
	got, m := c.hear()
	if got != id || m.Name() != name {
		c.t.Fatalf("%04d %s, want %04d %s", got, m, id, name)
	}
	return m
}

// ask writes a request and returns its response, which must come next.
func (c *scriptedClient) ask(id int, document, response string) *uacsta.Message {
	c.t.Helper()
	c.say(id, document)
	return c.expect(id, response)
}

// integer fails if a text is not one that programs parse as a signed number of 32 bits.
func (c *scriptedClient) integer(m *uacsta.Message, path string) string {
	c.t.Helper()
	text := m.Text(path)
	if n, err := strconv.ParseInt(text, 10, 32); err != nil || n < 1 {
		c.t.Errorf("%s of %s is no decimal number", path, m)
	}
	return text
}

// Programs for OpenScape, such as pyssimist, say nothing until the switch has sent SystemStatus, and answer it under its
// invoke ID before they register. Their MakeCall says nothing about prompting. They read references and callIDs as numbers,
// and requests of the switch have other invoke IDs than their own.
func TestClientWaitsForGreeting(t *testing.T) {
	c := dialScripted(t, serveXML(t, ", dialect: openscape", diallers))
	id, greeting := c.hear()
	if greeting.Name() != uacsta.NameSystemStatus || greeting.Text("systemStatus") != "normal" || id < 5000 || id >= cstaxml.EventID {
		t.Fatalf("the greeting is %04d %s", id, greeting)
	}
	c.say(id, `<SystemStatusResponse xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"/>`)
	const edition = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"`
	c.integer(c.ask(0, "<SystemRegister"+edition+"><requestTypes><systemStatus>true</systemStatus></requestTypes></SystemRegister>", "SystemRegisterResponse"), "sysStatRegisterID")
	ref := c.integer(c.ask(1, "<MonitorStart"+edition+"><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>", "MonitorStartResponse"), "monitorCrossRefID")
	made := c.ask(2, "<MakeCall"+edition+"><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber></MakeCall>", "MakeCallResponse")
	call := c.integer(made, "callingDevice/callID")
	for {
		_, ev := c.hear()
		if ev.Kind() != uacsta.Event || c.integer(ev, "monitorCrossRefID") != ref {
			t.Fatal(ev)
		}
		for _, x := range ev.Connections() {
			if x.CallID() != call {
				t.Errorf("another callID in %s", ev)
			}
		}
		if ev.Name() == uacsta.NameEstablishedEvent { // nobody has lifted the receiver
			break
		}
	}
}

// A client whose terminal is refused learns why in the words of the standard, and nothing of the rules.
func TestTerminalRefused(t *testing.T) {
	c := dialScripted(t, serveXML(t, ", dialect: dmcc", "trusted: [{address: 127.0.0.1}]\nrules: [{name: secret-rule, devices: [\"101\"], deny: true}]\ngrants: [{who: \"*\", observe: [\"*\"]}]\n"))
	m := c.ask(1, `<RegisterTerminalRequest xmlns="http://www.avaya.com/csta"><device>101</device></RegisterTerminalRequest>`, "RegisterTerminalResponse")
	if m.Text("code") != "2" || m.Text("reason") != "operation/privilegeViolationSpecifiedDevice" {
		t.Error(m)
	}
}

// A listener says what a MakeCall means that leaves autoOriginate out; a client that gives it has its own way.
func TestAutoOriginateOfListener(t *testing.T) {
	for keys, calls := range map[string]bool{"": false, ", auto-originate: doNotPrompt": true, ", dialect: openscape, auto-originate: prompt": false} {
		c := dialScripted(t, serveXML(t, keys, diallers))
		if strings.Contains(keys, "openscape") {
			c.hear()
		}
		c.ask(1, `<MonitorStart><monitorObject><deviceObject>100</deviceObject></monitorObject></MonitorStart>`, "MonitorStartResponse")
		c.ask(2, `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>102</calledDirectoryNumber></MakeCall>`, "MakeCallResponse")
		c.say(3, `<SnapshotDevice><snapshotObject>100</snapshotObject></SnapshotDevice>`)
		var heard []string
		for id := 0; id != 3; {
			var m *uacsta.Message
			id, m = c.hear()
			heard = append(heard, m.Name())
		}
		if slices.Contains(heard, uacsta.NameOriginatedEvent) != calls || heard[0] != uacsta.NameServiceInitiatedEvent {
			t.Errorf("%q: %v", keys, heard)
		}
	}
}

// Programs for Avaya's DMCC ask for the identifiers of devices and name them by these alone, turn filters round, want MakeCall
// to call at once, and find their own device in events by comparing identifiers. Their private namespace comes back.
func TestClientOfDMCC(t *testing.T) {
	const avaya, edition = ` xmlns="http://www.avaya.com/csta"`, ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv7"`
	c := dialScripted(t, serveXML(t, ", dialect: dmcc", diallers))
	opened := c.ask(0, `<StartApplicationSession xmlns="http://www.ecma-international.org/standards/ecma-354/appl_session" xmlns:a="http://www.avaya.com/csta"><applicationInfo><applicationID/><applicationSpecificInfo><a:SessionLoginInfo><a:userName>u</a:userName><a:password>p</a:password><a:sessionCleanupDelay>60</a:sessionCleanupDelay></a:SessionLoginInfo></applicationSpecificInfo></applicationInfo><requestedProtocolVersions><protocolVersion>http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv7</protocolVersion></requestedProtocolVersions><requestedSessionDuration>60</requestedSessionDuration></StartApplicationSession>`, "StartApplicationSessionPosResponse")
	session := c.integer(opened, "sessionID")
	if !strings.HasSuffix(opened.Text("actualProtocolVersion"), "/priv7") {
		t.Error(opened)
	}
	if m := c.ask(1, `<MonitorStart`+edition+`><monitorObject><deviceObject mediaClass="notKnown"/></monitorObject><extensions><privateData><private><AvayaEvents><invertFilter>true</invertFilter><deviceServices><transferMonitorObjects>true</transferMonitorObjects></deviceServices></AvayaEvents></private></privateData></extensions></MonitorStart>`, "MonitorStartResponse"); m.CrossRef() == "" {
		t.Error(m)
	}
	id := c.ask(2, `<GetDeviceId`+avaya+`><switchName>SW1</switchName><switchIPInterface>192.0.2.10</switchIPInterface><extension>100</extension><controllableByOtherSessions>true</controllableByOtherSessions></GetDeviceId>`, "GetDeviceIdResponse").Text("device")
	if id != "100:SW1:192.0.2.10:0" {
		t.Errorf("the identifier is %q", id)
	}
	other := c.ask(3, `<GetThirdPartyDeviceId`+avaya+`><switchName>SW1</switchName><extension>102</extension></GetThirdPartyDeviceId>`, "GetThirdPartyDeviceIdResponse").Text("device")
	const round = `<extensions><privateData><private><AvayaEvents xmlns=""><invertFilter xmlns="http://www.avaya.com/csta">true</invertFilter></AvayaEvents></private></privateData></extensions>`
	ref := c.integer(c.ask(4, `<MonitorStart`+edition+`><monitorObject><deviceObject typeOfNumber="other" mediaClass="notKnown">`+id+`</deviceObject></monitorObject><requestedMonitorFilter><callcontrol><connectionCleared>true</connectionCleared><originated>true</originated><delivered>true</delivered></callcontrol></requestedMonitorFilter>`+round+`</MonitorStart>`, "MonitorStartResponse"), "monitorCrossRefID")
	registered := c.ask(5, `<RegisterTerminalRequest`+avaya+`><device typeOfNumber="other" mediaClass="notKnown">`+id+`</device><loginInfo><forceLogin>true</forceLogin><password>1234</password><mediaMode>NONE</mediaMode></loginInfo></RegisterTerminalRequest>`, "RegisterTerminalResponse")
	if registered.Text("code") != "1" || registered.Text("device") != id || registered.Text("signalingEncryption") == "" {
		t.Error(registered)
	}
	if m := c.ask(6, `<RegisterTerminalRequest`+avaya+`><device>999:SW1:192.0.2.10:0</device></RegisterTerminalRequest>`, "RegisterTerminalResponse"); m.Text("code") == "1" {
		t.Errorf("a device that does not exist: %s", m)
	}
	made := c.ask(7, `<MakeCall`+edition+`><callingDevice>`+id+`</callingDevice><calledDirectoryNumber>`+other+`</calledDirectoryNumber></MakeCall>`, "MakeCallResponse")
	call := c.integer(made, "callingDevice/callID")
	ucid := made.Text("extensions/privateData/private/globallyUniqueCallLinkageID")
	if made.Text("callingDevice/deviceID") != id || !strings.HasSuffix(made.Namespace(), "/priv7") || len(ucid) != 20 {
		t.Error(made)
	}
	for _, name := range []string{"OriginatedEvent", "DeliveredEvent"} { // and nothing else that the filter does not ask for
		ev := c.expect(cstaxml.EventID, name)
		if ev.CrossRef() != ref || ev.Text("callingDevice/deviceIdentifier") != id || ev.Text("calledDevice/deviceIdentifier") != other || !strings.HasSuffix(ev.Namespace(), "/priv7") ||
			ev.Text("callLinkageData/globalCallData/globalCallLinkageID/globallyUniqueCallLinkageID") != ucid {
			t.Error(ev)
		}
	}
	connection := `<deviceID typeOfNumber="other" mediaClass="notKnown">` + id + `</deviceID><callID>` + call + `</callID>`
	if m := c.ask(8, `<GetCallLinkageData`+edition+`><call>`+connection+`</call></GetCallLinkageData>`, "GetCallLinkageDataResponse"); m.Text("globallyUniqueCallLinkageID") != ucid || m.Namespace() != "http://www.avaya.com/csta" {
		t.Errorf("the linkage is %s", m)
	}
	c.ask(9, `<GetCallLinkageData`+edition+`><call><callID>1</callID></call></GetCallLinkageData>`, "CSTAErrorCode")
	c.say(10, `<ClearConnection`+edition+`><connectionToBeCleared>`+connection+`</connectionToBeCleared></ClearConnection>`)
	c.expect(10, "ClearConnectionResponse")
	if ev := c.expect(cstaxml.EventID, "ConnectionClearedEvent"); ev.Text("releasingDevice/deviceIdentifier") != id {
		t.Error(ev)
	}
	c.ask(11, `<TransferMonitorObjects`+edition+`><fromSessionID>1</fromSessionID><toSessionID>`+session+`</toSessionID></TransferMonitorObjects>`, "CSTAErrorCode")
	c.ask(12, `<UnregisterTerminalRequest`+avaya+`><device>`+id+`</device></UnregisterTerminalRequest>`, "UnregisterTerminalResponse")
	c.ask(13, `<ReleaseDeviceId`+avaya+`><device>`+id+`</device></ReleaseDeviceId>`, "ReleaseDeviceIdResponse")
	c.ask(14, `<MonitorStop`+edition+`><monitorCrossRefID>0</monitorCrossRefID></MonitorStop>`, "MonitorStopResponse")
	c.ask(15, `<ResetApplicationSessionTimer xmlns="http://www.ecma-international.org/standards/ecma-354/app_session"><sessionID>`+session+`</sessionID><requestedSessionDuration>60</requestedSessionDuration></ResetApplicationSessionTimer>`, "ResetApplicationSessionTimerPosResponse")
	// Namespaces that are misspelt, and a filter in a namespace of nobody's.
	c.ask(17, `<ResetApplicationSessionTimer xmlns="http://www.ecma-international.org/standards/ecma- 354/appl_session"><sessionID>`+session+`</sessionID><requestedSessionDuration>60</requestedSessionDuration></ResetApplicationSessionTimer>`, "ResetApplicationSessionTimerPosResponse")
	ref = c.ask(18, `<MonitorStart xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><monitorObject><deviceObject typeOfNumber="other" mediaClass="notKnown" bitRate="constant">102:192.0.2.10::0</deviceObject></monitorObject><requestedMonitorFilter><callcontrol><delivered>true</delivered></callcontrol><logicalDeviceFeature /></requestedMonitorFilter><monitorType>call</monitorType><extensions><privateData><private><Events xmlnsxsi="http://www.w3.org/2001/XMLSchema-instance" xmlns=""> <invertFilter xmlns="hhttp://www.example.com/csta">true</invertFilter><callControlPrivate xmlns="hhttp://www.example.com/csta"> <enteredDigits>true</enteredDigits></callControlPrivate></Events></private></privateData></extensions></MonitorStart>`, "MonitorStartResponse").CrossRef()
	c.ask(19, `<MakeCall xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3"><callingDevice>102</callingDevice><calledDirectoryNumber>100:192.0.2.10::0</calledDirectoryNumber></MakeCall>`, "MakeCallResponse")
	for heard := map[string]bool{}; len(heard) < 2; { // the monitor of 100 reports it, too
		_, ev := c.hear()
		if ev.Name() != "DeliveredEvent" || !strings.HasSuffix(ev.Namespace(), "/ed3") {
			t.Fatal(ev)
		}
		heard[ev.CrossRef()] = true
	}
	c.ask(20, `<MonitorStop xmlns="hhttp://www.example.com/csta"><monitorCrossRefID>`+ref+`</monitorCrossRefID></MonitorStop>`, "MonitorStopResponse")
	c.ask(16, `<StopApplicationSession`+edition+`><sessionID>`+session+`</sessionID><sessionEndReason><appEndReason>Application Request</appEndReason></sessionEndReason></StopApplicationSession>`, "StopApplicationSessionPosResponse")
}

// Programs for Zultys' MX log in by loginRequest with the SHA-1 of the password, read the numbers of the response as attributes
// and integers, watch their own extension by an empty deviceObject, and send keepalive under 0, which has no response.
func TestClientOfZultys(t *testing.T) {
	sum := sha1.Sum([]byte("secret"))
	password := base64.StdEncoding.EncodeToString(sum[:])
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "100", password)
	account(t, file, "101", password)
	address := serveXML(t, ", dialect: zultys", "application-sessions: {accounts: "+file+", xml: mandatory}\ngrants: [{who: \"100\", control: [\"100\"], dial: [\"*\"]}, {who: \"101\", control: [\"101\"]}]\n")
	document := func(c *scriptedClient, id int) string {
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		got, data, err := cstaxml.ReadFrame(c.r, cstaxml.MaxFrame, func() {})
		if err != nil || got != id {
			t.Fatal(got, err)
		}
		return string(data)
	}
	login := func(c *scriptedClient, id int, user, password string) string {
		c.say(id, `<?xml version="1.0" encoding="UTF-8"?><loginRequest type="User" platform="iPhone" version="7.0"><userName>`+user+`</userName><pwd>`+password+"&#xA;</pwd></loginRequest>")
		return document(c, id)
	}
	c := dialScripted(t, address)
	c.ask(1, `<AssignDevice><deviceID type="device">x</deviceID></AssignDevice>`, "CSTAErrorCode") // before the login
	if m := login(c, 2, "100", "wrong"); !strings.Contains(m, `<loginFailed `) || !strings.Contains(m, `Code="2"`) {
		t.Error(m)
	}
	if m := login(c, 3, "100", password); !regexp.MustCompile(`<loginResponce [^>]*ext="100"[^>]* userId="[1-9][0-9]*"`).MatchString(m) {
		t.Fatal(m)
	}
	c.say(0, `<keepalive />`)
	ref := c.integer(c.ask(4, `<MonitorStart xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed4"><monitorObject><deviceObject></deviceObject></monitorObject></MonitorStart>`, "MonitorStartResponse"), "monitorCrossRefID")
	if m := c.ask(5, `<AssignDevice><deviceID type="device">my phone</deviceID></AssignDevice>`, "AssignDeviceInfo"); m.Text("deviceID") != "my phone" {
		t.Error(m)
	}
	call := c.integer(c.ask(6, `<MakeCall><callingDevice typeOfNumber="deviceID">100</callingDevice><calledDirectoryNumber>102</calledDirectoryNumber></MakeCall>`, "MakeCallResponse"), "callingDevice/callID")
	for name := ""; name != "DeliveredEvent"; {
		_, ev := c.hear()
		if name = ev.Name(); ev.CrossRef() != ref {
			t.Fatal(ev)
		}
	}
	c.ask(7, `<ClearConnection><connectionToBeCleared><callID>`+call+`</callID><deviceID>100</deviceID></connectionToBeCleared></ClearConnection>`, "ClearConnectionResponse")
	c.expect(cstaxml.EventID, "ConnectionClearedEvent")
	// An incoming call is answered at the telephone, by the name that the client has given it.
	other := dialScripted(t, address)
	if m := login(other, 1, "101", password); !strings.Contains(m, `<loginResponce `) {
		t.Fatal(m)
	}
	call = other.ask(2, `<MakeCall><callingDevice typeOfNumber="deviceID">101</callingDevice><calledDirectoryNumber>100</calledDirectoryNumber></MakeCall>`, "MakeCallResponse").Text("callingDevice/callID")
	c.expect(cstaxml.EventID, "DeliveredEvent")
	answer := func(id int, device, response string) {
		t.Helper()
		c.ask(id, `<AnswerCall><callToBeAnswered><callID>`+call+`</callID><deviceID>`+device+`</deviceID></callToBeAnswered></AnswerCall>`, response)
	}
	answer(8, "another", "CSTAErrorCode")
	answer(9, "my phone", "AnswerCallResponse")
	if ev := c.expect(cstaxml.EventID, "EstablishedEvent"); ev.Text("establishedConnection/deviceID") != "100" {
		t.Error(ev)
	}
	c.say(10, `<logout/>`)
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if data, err := io.ReadAll(c.r); err != nil || len(data) != 0 {
		t.Errorf("after logout: %q, %v", data, err)
	}
}

// Some programs take what one read from a TLS connection returns for a whole message.
func TestXMLMessageIsOneRecord(t *testing.T) {
	t.Parallel()
	r := serve(t, "trusted: [{certificate: \"fe*.contoso.com\"}]\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	conn, err := tlsConn(r)
	if err != nil {
		t.Fatal(err)
	}
	c := dialXML(t, conn, nil)
	c.write(1, `<MonitorStart><monitorObject><deviceObject>1000</deviceObject></monitorObject><requestedMonitorFilter><callcontrol><held>true</held></callcontrol></requestedMonitorFilter></MonitorStart>`)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	frame := make([]byte, cstaxml.MaxFrame)
	n, err := conn.Read(frame)
	if err != nil || n < 8 || n != int(frame[2])<<8|int(frame[3]) {
		t.Errorf("the first read returns %d octets of %q, %v", n, frame[:n], err)
	}
}

// Programs for Avaya's DMCC that lose their connection name their session in the next login. If it is granted, they go on with the
// references of their monitors; if not, they log in anew and let TransferMonitorObjects bring these. Nobody else gets them.
func TestClientOfDMCCComesBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts")
	account(t, file, "crm", "secret")
	account(t, file, "other", "secret")
	address := serveXML(t, ", dialect: dmcc", "application-sessions: {accounts: "+file+", xml: mandatory}\ngrants: [{who: \"*\", control: [\"*\"]}]\n")
	const edition = ` xmlns="http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv6"`
	opening := func(user, session string) string {
		return `<StartApplicationSession xmlns="http://www.ecma-international.org/standards/ecma-354/appl_session" xmlns:acx="http://www.avaya.com/csta" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><applicationInfo><applicationID></applicationID><applicationSpecificInfo><acx:SessionLoginInfo xsi:type="acx:SessionLoginInfo"><acx:userName>` + user + `</acx:userName><acx:password>secret</acx:password><acx:sessionCleanupDelay>60</acx:sessionCleanupDelay><acx:sessionID>` + session + `</acx:sessionID></acx:SessionLoginInfo></applicationSpecificInfo></applicationInfo><requestedProtocolVersions><protocolVersion>http://www.ecma-international.org/standards/ecma-323/csta/ed3/priv6</protocolVersion></requestedProtocolVersions><requestedSessionDuration>60</requestedSessionDuration></StartApplicationSession>`
	}
	start := func(c *scriptedClient, id int, user, session, response string) *uacsta.Message {
		return c.ask(id, opening(user, session), response)
	}
	const granted, refused = "StartApplicationSessionPosResponse", "StartApplicationSessionNegResponse"
	rings := func(c *scriptedClient, id int, ref string) { // the monitor of 102 reports what it did before, under the same reference
		t.Helper()
		made := c.ask(id, `<MakeCall`+edition+`><callingDevice>102:SW1::0</callingDevice><calledDirectoryNumber>100:SW1::0</calledDirectoryNumber></MakeCall>`, "MakeCallResponse")
		for _, name := range []string{"ServiceInitiatedEvent", "OriginatedEvent", "DeliveredEvent"} {
			if ev := c.expect(cstaxml.EventID, name); ev.CrossRef() != ref || !strings.HasSuffix(ev.Namespace(), "/priv6") {
				t.Error(ev)
			}
		}
		c.ask(id+1, `<ClearConnection`+edition+`><connectionToBeCleared><deviceID>102:SW1::0</deviceID><callID>`+made.Text("callingDevice/callID")+`</callID></connectionToBeCleared></ClearConnection>`, "ClearConnectionResponse")
		if ev := c.expect(cstaxml.EventID, "ConnectionClearedEvent"); ev.CrossRef() != ref {
			t.Error(ev)
		}
	}
	monitor := `<MonitorStart` + edition + `><monitorObject><deviceObject typeOfNumber="other" mediaClass="notKnown">102:SW1::0</deviceObject></monitorObject></MonitorStart>`
	c := dialScripted(t, address)
	start(c, 1, "crm", "12345", refused) // never there
	session := start(c, 2, "crm", "", granted).Text("sessionID")
	ref := c.ask(3, monitor, "MonitorStartResponse").CrossRef()
	gone := c.ask(4, monitor, "MonitorStartResponse").CrossRef()
	c.ask(5, `<MonitorStop`+edition+`><monitorCrossRefID>`+gone+`</monitorCrossRefID></MonitorStop>`, "MonitorStopResponse")
	rings(c, 6, ref)
	for i, how := range []string{"reset", "closed", "still there"} {
		old := c
		switch how {
		case "reset":
			_ = c.conn.(*net.TCPConn).SetLinger(0)
			_ = c.conn.Close()
		case "closed":
			_ = c.conn.Close()
		}
		thief := dialScripted(t, address)
		start(thief, 1, "other", session, refused)
		c = dialScripted(t, address)
		next := start(c, 1, "crm", session, granted).Text("sessionID")
		rings(c, 2, ref)
		if how == "still there" { // the proxy has closed it
			_ = old.conn.SetReadDeadline(time.Now().Add(patience))
			if data, err := io.ReadAll(old.r); err != nil || len(data) != 0 {
				t.Errorf("the old connection: %q, %v", data, err)
			}
		}
		start(dialScripted(t, address), 1, "crm", session, refused) // it is there once only
		if session = next; i == 0 {
			c.ask(9, `<ChangeMonitorFilter`+edition+`><monitorCrossRefID>`+gone+`</monitorCrossRefID><requestedFilterList/></ChangeMonitorFilter>`, "CSTAErrorCode")
		}
	}
	// Another session takes its monitors over.
	b := dialScripted(t, address)
	second := start(b, 1, "crm", "", granted).Text("sessionID")
	transfer := func(c *scriptedClient, id int, from, to, response string) {
		t.Helper()
		c.ask(id, `<TransferMonitorObjects`+edition+`><fromSessionID>`+from+`</fromSessionID><toSessionID>`+to+`</toSessionID></TransferMonitorObjects>`, response)
	}
	thief := dialScripted(t, address)
	transfer(thief, 2, session, start(thief, 1, "other", "", granted).Text("sessionID"), "CSTAErrorCode")
	transfer(b, 2, session, session, "CSTAErrorCode")
	transfer(b, 3, session, second, "TransferMonitorObjectsResponse")
	transfer(b, 4, session, second, "CSTAErrorCode")
	rings(b, 5, ref)
	// What cannot be restored as it was ends.
	b.ask(8, `<ChangeMonitorFilter`+edition+`><monitorCrossRefID>`+ref+`</monitorCrossRefID><requestedFilterList><callcontrol><held>true</held></callcontrol></requestedFilterList></ChangeMonitorFilter>`, "ChangeMonitorFilterResponse")
	_ = b.conn.Close()
	c = dialScripted(t, address)
	c.say(1, opening("crm", second))
	id, stop := c.hear()
	if stop.Name() != uacsta.NameMonitorStop || stop.CrossRef() != ref || id < 5000 {
		t.Fatalf("%04d %s", id, stop)
	}
	last := c.expect(1, granted).Text("sessionID")
	c.ask(2, `<StopApplicationSession`+edition+`><sessionID>`+last+`</sessionID><sessionEndReason><appEndReason>Application Request</appEndReason></sessionEndReason></StopApplicationSession>`, "StopApplicationSessionPosResponse")
	start(dialScripted(t, address), 1, "crm", last, refused)
}
