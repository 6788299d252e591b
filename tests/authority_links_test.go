package tests

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/recordings"
	"github.com/tr87proxy/tr87proxy/tests/tap"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// stages are the kinds of links.
var stages = map[string]func(t *testing.T) *stage{
	"switch":     onSwitch,
	"xml":        func(t *testing.T) *stage { return beforeSwitch(t, "csta-xml, edition: 6", "", inXML) },
	"phase3":     func(t *testing.T) *stage { return beforeSwitch(t, "csta-asn1, dialect: phase3", "phase3", inBER) },
	"phase1":     func(t *testing.T) *stage { return beforeSwitch(t, "csta-asn1, dialect: phase1", "phase1", inBER) },
	"freeswitch": beforeFake,
	"cards":      beforeCard,
	"desk":       beforeDesks,
}

// newStage starts a proxy with a kind of link.
func newStage(t *testing.T, link, me, partner, alice, bob string, watched ...string) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{
		t: t, audit: filepath.Join(dir, "audit.log"), p1: freePort(t), p3: freePort(t), http: freePort(t), watched: watched,
		words: map[string]string{"me": me, "partner": partner, "alice": alice, "bob": bob},
		wire:  func() error { return nil }, granted: map[string]bool{}, end: func() {},
	}
	accounts := filepath.Join(dir, "accounts")
	account(t, accounts, malloryAccount, "pw")
	var grants strings.Builder
	for _, who := range []string{malloryAccount, malloryURI, malloryAddress, malloryWeb} {
		fmt.Fprintf(&grants, "- {who: %q, control: [%q], dial: [%q, \"1002\"]}\n", who, me, partner)
	}
	level := "error" // a line for every attempt takes more time than the attempt
	if strings.Contains(link, "type: phones") {
		level = "info" // which tells of their sessions
	}
	s.running = serve(t, fmt.Sprintf(`%slog: {level: %s}
audit: {file: %s}
application-sessions: {accounts: %s, xml: optional, asn1: optional}
asn1:
  listen:
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase1}
  - {transport: tcp, address: "127.0.0.1:%d", dialect: phase3}
api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}]}
trusted: [{address: 127.0.0.0/8}]
limits: {requests-per-second: 100000, calls-per-minute: 100000}
grants:
%s- {who: "127.0.0.1", control: ["*"], dial: ["*"]}
`, link, level, s.audit, accounts, s.p1, s.p3, s.http, grants.String()))
	return s
}

// watch has somebody with the right to it watch Alice and Bob, and Mallory's calls.
func (s *stage) watch() {
	s.t.Helper()
	s.overseer = &overseer{xmlClient: s.xml(), refs: map[string]string{}}
	for _, device := range append([]string{s.words["me"]}, s.watched...) {
		ref := s.overseer.monitor(device)
		if ref == "" {
			s.t.Fatal("no monitor of ", device)
		}
		s.overseer.refs[ref] = device
	}
	if s.far == nil {
		s.far = s.overseer
	}
}

// inCall makes sure that Mallory's device holds one call and is active in another one, as they were
// made in the beginning.
func (s *stage) inCall() {
	s.t.Helper()
	me := s.words["me"]
	if s.states == s.overseer.states(me) {
		return
	}
	for _, device := range []string{me, s.words["partner"], "1002"} {
		for _, c := range s.far.calls(device) {
			s.far.ask(uacsta.ClearConnection{ConnectionToBeCleared: c})
		}
	}
	for _, req := range []any{ // where a link has this
		uacsta.SetDoNotDisturb{Device: uacsta.Dev(me)}, uacsta.SetForwarding{Device: uacsta.Dev(me), ForwardingType: uacsta.ForwardImmediate},
	} {
		s.overseer.ask(req)
	}
	s.overseer.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(me)}) // all that came before is read
	s.ownNews()
	m := s.overseer.must(call(me, s.words["partner"]))
	s.words["held"] = m.Text("callingDevice/callID")
	s.answered(s.words["partner"])
	m = s.overseer.must(uacsta.ConsultationCall{ExistingCall: uacsta.Conn(s.words["held"], me), ConsultedDevice: uacsta.Dev("1002")})
	s.words["own"] = m.Text("initiatedCall/callID")
	s.answered("1002")
	s.states = s.overseer.states(me)
}

// states are the calls of a device and how they stand.
func (o *overseer) states(device string) string {
	return o.ask(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(device)}).String()
}

// ownNews leaves out what was told of Mallory's device.
func (s *stage) ownNews() {
	s.overseer.news = slices.DeleteFunc(s.overseer.news, func(m *uacsta.Message) bool { return s.overseer.refs[m.CrossRef()] == s.words["me"] })
}

// answered has a device answer Mallory, and waits until she knows.
func (s *stage) answered(device string) {
	s.t.Helper()
	for _, c := range s.far.calls(device) {
		s.far.must(uacsta.AnswerCall{CallToBeAnswered: c})
	}
	for {
		m := s.overseer.hear()
		switch device := s.overseer.refs[m.CrossRef()]; {
		case device == s.words["me"] && m.Name() == "EstablishedEvent":
			return
		case device != s.words["me"] && device != "":
			s.t.Fatalf("%s hears %s", device, m)
		}
	}
}

// talking has Alice in a call that stands already, or is made, and notes it.
func (s *stage) talking() {
	s.t.Helper()
	s.overseer.must(call(s.words["alice"], s.words["bob"]))
	s.overseer.until(s.words["alice"], "Established")
	s.noteForeign()
}

func (s *stage) noteForeign() {
	s.t.Helper()
	calls := s.overseer.calls(s.words["alice"])
	if len(calls) != 1 {
		s.t.Fatal(calls)
	}
	s.words["foreign"] = calls[0].CallID
	s.overseer.news = nil
}

// onSwitch is the built-in switch.
func onSwitch(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, "", "1000", "1009", "1001", "2001", "1001", "2001")
	s.watch()
	s.talking()
	s.call, s.lines, s.grants = s.inCall, true, carriedOut
	s.call()
	return s
}

// carriedOut are services that the built-in switch carries out for Mallory's own calls: she is
// refused for what she names, and not for how.
var carriedOut = strings.Fields("AlternateCall ClearCall ClearConnection ConferenceCall GenerateDigits HoldCall MonitorStart ReconnectCall SnapshotCall SnapshotDevice TransferCall")

// carriedOutInASN1 are those that both phases can say.
var carriedOutInASN1 = strings.Fields("AlternateCall ClearConnection ConferenceCall HoldCall ReconnectCall SnapshotDevice TransferCall")

// elsewhere is where others than the proxy come from to the switch behind it.
const elsewhere = "127.0.0.9"

// farSwitch starts a proxy with a switch that others reach, and has Alice and Bob talk there. Its
// audit file tells what was asked of it.
func farSwitch(t *testing.T, more string) (back *running, file string, direct *overseer) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "audit.log")
	back = serve(t, more+"log: {level: error}\naudit: {file: "+file+"}\ntrusted: [{address: 127.0.0.0/8}]\ngrants: [{who: \"*\", control: [\"*\"], dial: [\"*\"]}]\n")
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(elsewhere)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", back.xmlPort))
	direct = &overseer{xmlClient: dialXML(t, conn, err), refs: map[string]string{}}
	for _, device := range []string{"1001", "2001"} {
		direct.refs[direct.monitor(device)] = device
	}
	direct.must(call("1001", "2001"))
	direct.until("1001", "Established")
	direct.until("2001", "Established")
	return back, file, direct
}

// farEnd looks at what was asked of a switch behind the proxy, and ends it. A telephone knows best
// what calls it has: it may be asked for a call of others with its own device, and refuses it.
func (s *stage) farEnd(back *running, file string, direct *overseer, telephones bool) {
	s.t.Helper()
	calls := direct.calls("1001")
	if len(calls) != 1 || len(direct.news) > 0 {
		s.t.Errorf("at the switching function Alice is in %v, and hears %v", calls, direct.news)
	}
	back.stop()
	for _, e := range entries(s.t, file) {
		for _, object := range objects(e) {
			callID, device, _ := strings.Cut(object, "@")
			others := slices.ContainsFunc([]string{"1001", "2001"}, func(number string) bool { return number == callID || number == device })
			asked := telephones && !others && (e.Kind == "asked" || e.Outcome != "ok")
			if e.Who != elsewhere && (others || callID == calls[0].CallID && !asked) {
				s.t.Errorf("the switching function was asked for %+v", e)
			}
		}
	}
}

// inXML are identifiers as they stand in a document.
func inXML(id string, _ bool) string { return ">" + id + "<" }

// inBER are identifiers as they stand in a PDU, with their length.
func inBER(id string, callID bool) string {
	if callID {
		id = callOctets(id)
	}
	return string([]byte{byte(len(id))}) + id
}

// beforeSwitch is a link over TCP to another proxy.
func beforeSwitch(t *testing.T, kind, dialect string, written func(id string, callID bool) string) *stage {
	t.Helper()
	port := freePort(t)
	more := ""
	if dialect != "" {
		more = fmt.Sprintf("asn1: {listen: [{transport: tcp, address: \"127.0.0.1:%d\", dialect: %s}]}\n", port, dialect)
	}
	back, file, direct := farSwitch(t, more)
	if dialect == "" {
		port = back.xmlPort
	}
	sent := &tap.Tap{}
	s := newStage(t, fmt.Sprintf(`links:
- {name: back, type: %s, addresses: ["%s"], devices: ["1000", "1001", "1002", "1009", "2001"]}
`, kind, tapped(t, sent, port)), "1000", "1009", "1001", "2001", "1001", "2001")
	s.linked("back")
	s.far = direct
	s.watch()
	s.noteForeign()
	if s.grants = carriedOut; dialect != "" {
		s.grants = carriedOutInASN1
	}
	names := []string{written("1001", false), written("2001", false), written(direct.calls("1001")[0].CallID, true)}
	s.wire = func() error { return heardBy(sent, names...) }
	s.call = s.inCall
	s.call()
	s.end = func() { s.farEnd(back, file, direct, false) }
	return s
}

// tapped keeps what is sent to a port, and returns the address to send it to.
func tapped(t *testing.T, to *tap.Tap, port int) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	t.Cleanup(func() { cancel(); ended.Wait() })
	return to.Before(ctx, t, &ended, fmt.Sprintf("127.0.0.1:%d", port))
}

// heardBy looks in what a tap has for names in what was sent since it has looked last; without names, for anything.
func heardBy(to *tap.Tap, names ...string) error {
	sent := to.Take()
	if len(names) == 0 && len(sent) > 0 {
		return fmt.Errorf("%q", sent)
	}
	for _, name := range names {
		if at := bytes.Index(sent, []byte(name)); at >= 0 {
			return fmt.Errorf("%q in %q", name, sent[max(0, at-300):min(len(sent), at+100)])
		}
	}
	return nil
}

// beforeDesks are desk phones of another switch, with sessions of uaCSTA: Mallory's and Alice's.
func beforeDesks(t *testing.T) *stage {
	t.Helper()
	back, file, direct := farSwitch(t, "")
	s := newStage(t, fmt.Sprintf(`links:
- name: desk
  type: phones
  listen: [{transport: udp, address: "127.0.0.1:0"}]
  accounts:
  - {number: "1000", contact: "sip:1000@127.0.0.1:%[1]d;transport=tcp"}
  - {number: "1001", contact: "sip:1001@127.0.0.1:%[1]d;transport=tcp"}
  devices: ["1000", "1001"]
`, back.port), "1000", "1009", "1001", "2001", "1001")
	waitFor(t, "the sessions with the telephones", func() bool { return strings.Count(s.out.String(), "uaCSTA session open") >= 2 })
	s.far = direct
	s.watch()
	s.noteForeign()
	s.call, s.grants = s.inCall, carriedOut
	s.call()
	s.end = func() { s.farEnd(back, file, direct, true) }
	return s
}

// beforeCard is a simulated card of four ports: Alice and Bob have the first two.
func beforeCard(t *testing.T) *stage {
	t.Helper()
	_, at := simulator(t, "ctserver", 5)
	alice, bob := &tap.Tap{}, &tap.Tap{}
	s := newStage(t, fmt.Sprintf(`links:
- name: cards
  type: ctserver
  addresses: ["127.0.0.1"]
  ports:
  - {number: "201", port: 1, address: "%s"}
  - {number: "202", port: 2, address: "%s"}
  - {number: "203", port: 3, address: "127.0.0.1:%d"}
  - {number: "204", port: 4, address: "127.0.0.1:%d"}
  answer-time: 1h
  caller-id-time: 500ms
  ring-time: 3s
`, tapped(t, alice, at[0]), tapped(t, bob, at[1]), at[2], at[3]), "203", "103", "201", "202", "201", "202")
	s.linked("cards")
	talk := &cardTalk{xmlClient: s.xml(), watched: map[string]string{}}
	for _, device := range []string{"201", "202", "203", "204"} {
		talk.watched[talk.monitor(device)] = device
	}
	own, _ := talk.dialUp("203", "103", "204")
	talk.dialUp("201", "101", "202")
	s.words["own"], s.words["held"] = own.CallID, own.CallID
	s.watch()
	s.noteForeign()
	s.wire = func() error { return errors.Join(heardBy(alice), heardBy(bob)) }
	return s
}

// Channels of the FreeSWITCH that is played: Mallory's and her partner's, Alice's and Bob's.
const (
	malloryChannel = "11111111-0000-4000-8000-000000000001"
	partnerChannel = "11111111-0000-4000-8000-000000000002"
	aliceChannel   = "22222222-0000-4000-8000-000000000001"
	bobChannel     = "22222222-0000-4000-8000-000000000002"
)

// beforeFake is a FreeSWITCH that has two calls and nothing to do: it refuses every command for
// a channel.
func beforeFake(t *testing.T) *stage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	given := &tap.Tap{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = conn.Close() })
			playFake(conn, given)
			stop()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	s := newStage(t, fmt.Sprintf(`links:
- {name: fs, type: freeswitch, addresses: ["%s"], devices: ["1000", "1001", "1009", "2001"], domain: pbx.test, session: {password: %s}}
`, l.Addr(), recordings.Password), "1000", "1009", "1001", "2001", "1001", "2001")
	s.linked("fs")
	s.watch()
	s.noteForeign()
	s.words["own"] = s.overseer.calls("1000")[0].CallID
	s.words["held"] = s.words["own"]
	s.call = func() {} // it stands, for nothing becomes of commands
	s.wire = func() error { return heardBy(given, aliceChannel, bobChannel, "1001", "2001") }
	return s
}

// playFake answers on the event socket.
func playFake(conn net.Conn, given io.Writer) {
	var rows []string
	for _, c := range [][4]string{
		{malloryChannel, "inbound", "1000", malloryChannel}, {partnerChannel, "outbound", "1009", malloryChannel},
		{aliceChannel, "inbound", "1001", aliceChannel}, {bobChannel, "outbound", "2001", aliceChannel},
	} {
		caller, called := "1000", "1009"
		if c[3] == aliceChannel {
			caller, called = "1001", "2001"
		}
		rows = append(rows, fmt.Sprintf(`{"uuid":%q,"direction":%q,"presence_id":"%s@pbx.test","call_uuid":%q,"cid_num":%q,"dest":%q,"callstate":"ACTIVE","application":"bridge"}`,
			c[0], c[1], c[2], c[3], caller, called))
	}
	in := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "Content-Type: auth/request\n\n")
	for {
		command := ""
		for !strings.HasSuffix(command, "\n\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if command += line; command == "\n" {
				command = ""
			}
		}
		_, _ = io.WriteString(given, command)
		reply := "+OK\n"
		switch {
		case strings.HasPrefix(command, "api show channels"):
			reply = fmt.Sprintf(`{"row_count":4,"rows":[%s]}`, strings.Join(rows, ","))
		case strings.HasPrefix(command, "api show"):
			reply = `{"row_count":0}`
		case strings.HasPrefix(command, "api uuid_"):
			reply = "-ERR no such channel\n"
		case strings.HasPrefix(command, "api db"):
			reply = "-ERR no reply\n"
		case !strings.HasPrefix(command, "api "):
			_, _ = io.WriteString(conn, "Content-Type: command/reply\nReply-Text: +OK\n\n")
			continue
		}
		_, _ = fmt.Fprintf(conn, "Content-Type: api/response\nContent-Length: %d\n\n%s", len(reply), reply)
	}
}
