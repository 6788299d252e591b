package tests

import (
	"bytes"
	octets "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Who Mallory is at each front: an account where a front has words for a password, what a trusted
// front end says, and an address.
const (
	malloryAccount = "mallory"
	malloryURI     = "sip:mallory@contoso.com"
	malloryAddress = "127.0.0.66"
)

// atOnce is how many requests wait for their answers side by side.
const atOnce = 32

// fronts lets Mallory in over CSTA-XML, over TR/87, and over HTTP and WebSockets.
func (s *stage) fronts() []mallory {
	c := s.xml()
	if m := c.login(malloryAccount, "pw", uacsta.LoginPlain, 3600); m.Name() != "StartApplicationSessionPosResponse" {
		s.t.Fatal(m)
	}
	list := []mallory{
		{front: "xml", who: malloryAccount, send: c.sendAll},
		{front: "sip", who: malloryURI, send: overSIP(s.t, s.port, "")},
	}
	list = append(list, s.overHTTP())
	list = append(list, s.overWebSocket()...)
	if s.lines {
		list = append(list, mallory{front: "sip with a line", who: malloryURI, line: true, send: overSIP(s.t, s.port, s.words["me"])})
	}
	return list
}

// sendAll sends documents, and a barrier behind them if there is one, and returns the answers in
// their order.
func (c *xmlClient) sendAll(documents []string, barrier string) []*uacsta.Message {
	c.t.Helper()
	all := documents
	if barrier != "" {
		all = append(slices.Clone(documents), barrier)
	}
	answers := make([]*uacsta.Message, len(all))
	sent := map[string]int{} // identifier -> place
	for answered := 0; answered < len(all); {
		for ; len(sent) < len(all) && len(sent)-answered < atOnce; c.next = (c.next + 1) % 9999 {
			c.write(c.next, all[len(sent)])
			sent[fmt.Sprintf("%04d", c.next)] = len(sent)
		}
		id, m, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		n, ours := sent[id]
		switch {
		case !ours || m.Kind() == uacsta.Event || m.Kind() == uacsta.Request:
			continue
		case n == len(documents): // the barrier
			return answers[:n]
		}
		answers[n] = m
		answered++
	}
	return answers
}

// overSIP opens a session of TR/87, for a line if it is named, and returns what sends documents in
// it. There every request has an answer.
func overSIP(t *testing.T, port int, line string) func(documents []string, barrier string) []*uacsta.Message {
	t.Helper()
	h := newHandset(t, "tcp", port, "mallory", "")
	go func() {
		for {
			select {
			case m := <-h.inbox:
				h.answer(m, 200, nil, "")
			case <-t.Context().Done():
				return
			}
		}
	}()
	d := h.dialog("gw")
	d.local = "<" + malloryURI + ">;tag=" + random()
	opening := uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)
	if line != "" {
		opening = opening.WithPrivate("lcs", "http://schemas.microsoft.com/Lcs/2005/04/RCCExtension", "line", line)
	}
	ok := d.ask("INVITE", []string{cstaHeader}, string(opening.Bytes()))
	if ok.code() != 200 {
		t.Fatal(ok.start)
	}
	d.follow(ok)
	d.ack(ok)
	return func(documents []string, _ string) []*uacsta.Message {
		t.Helper()
		answers := make([]*uacsta.Message, len(documents))
		var asked []*asking
		for i := range documents {
			for len(asked) < len(documents) && len(asked)-i < atOnce {
				asked = append(asked, d.begin("INFO", []string{cstaHeader}, documents[len(asked)]))
			}
			res := asked[i].final()
			if res.body == "" { // that there is no answer is one
				continue
			}
			m, err := uacsta.Parse([]byte(res.body))
			if err != nil {
				t.Errorf("%s %s: %v", res.start, res.body, err)
				continue
			}
			answers[i] = m
		}
		return answers
	}
}

// Words of BER, written by hand. Identifiers and lengths are those of ECMA-285 and ECMA-180.

func tlv(tag byte, content ...string) string {
	text := strings.Join(content, "")
	if len(text) > 127 {
		return string([]byte{tag, 0x81, byte(len(text))}) + text
	}
	return string([]byte{tag, byte(len(text))}) + text
}

// words are how one phase says things.
type words struct {
	device     func(number string) string
	connection func(callID, device string) string
	requests   []saying
}

// saying is a request: its argument is made of the words for its subject, for Mallory's connection
// and for whom she may call.
type saying struct {
	service   string
	operation int
	argument  func(subject, own, partner string) string
	device    bool // the subject is a device
}

func bare(subject, _, _ string) string { return subject }

func inSequence(subject, _, _ string) string { return tlv(0x30, subject) }

// ofTwo is a request with two connections, of which the second is Mallory's.
func ofTwo(subject, own, _ string) string { return tlv(0x30, subject, own) }

// ofTwoAfter is one whose first is Mallory's.
func ofTwoAfter(subject, own, _ string) string { return tlv(0x30, own, subject) }

// to is one that sends a call somewhere.
func to(subject, _, partner string) string { return tlv(0x30, subject, partner) }

// and is one with more behind the subject.
func and(more string) func(subject, own, partner string) string {
	return func(subject, _, _ string) string { return tlv(0x30, subject, more) }
}

var phase3Words = words{
	device: func(number string) string { return tlv(0x30, tlv(0x80, number)) },
	connection: func(callID, device string) string {
		parts := ""
		if callID != "" {
			parts = tlv(0x80, callID)
		}
		if device != "" {
			parts += tlv(0xA1, tlv(0x30, tlv(0x80, device)))
		}
		return tlv(0x6B, tlv(0x30, parts))
	},
	requests: []saying{
		{"AlternateCall", 1, ofTwo, false}, {"AlternateCall", 1, ofTwoAfter, false}, {"AnswerCall", 2, inSequence, false}, {"ClearCall", 4, inSequence, false},
		{"ClearConnection", 5, inSequence, false}, {"ConferenceCall", 6, ofTwo, false}, {"ConferenceCall", 6, ofTwoAfter, false}, {"HoldCall", 9, inSequence, false},
		{"ReconnectCall", 13, ofTwo, false}, {"ReconnectCall", 13, ofTwoAfter, false}, {"RetrieveCall", 14, inSequence, false}, {"TransferCall", 16, ofTwo, false},
		{"TransferCall", 16, ofTwoAfter, false}, {"SingleStepTransferCall", 50, to, false}, {"SnapshotCall", 75, inSequence, false},
		{"DeflectCall", 218, to, false}, {"GenerateDigits", 232, and(tlv(0x16, "1")), false},
		{"MakeCall", 10, to, true}, {"SnapshotDevice", 74, inSequence, true}, {"GetMessageWaitingIndicator", 267, inSequence, true},
		{"SetMessageWaitingIndicator", 277, and(tlv(0x01, "\xff")), true}, {"GetDoNotDisturb", 308, inSequence, true}, {"GetForwarding", 309, inSequence, true},
		{"SetDoNotDisturb", 316, and(tlv(0x01, "\xff")), true},
	},
}

var phase1Words = words{
	device: func(number string) string { return tlv(0x80, number) },
	connection: func(callID, device string) string {
		parts := ""
		if callID != "" {
			parts = tlv(0x82, callID)
		}
		if device != "" {
			parts += tlv(0x80, device)
		}
		return tlv(0x6B, parts)
	},
	requests: []saying{
		{"AnswerCall", 2, bare, false}, {"ClearConnection", 5, bare, false}, {"HoldCall", 9, inSequence, false}, {"RetrieveCall", 14, bare, false},
		{"SnapshotDevice", 74, bare, true}, {"MonitorStart", 71, inSequence, true}, {"SetMessageWaitingIndicator", 15, and(tlv(0x80, "\xff")), true},
		{"SetDoNotDisturb", 15, and(tlv(0x81, "\xff")), true},
	},
}

// callOctets are those of a callID as a client in ASN.1 has it: the number of the call in four octets.
func callOctets(id string) string {
	number, err := strconv.ParseUint(id, 10, 31)
	if err != nil {
		return "\xff" + id
	}
	return string(octets.BigEndian.AppendUint32(nil, uint32(number)))
}

// tryASN1 tries services in the words of Phase III and Phase I.
func (s *stage) tryASN1() (all []attempt, count int) {
	s.t.Helper()
	if s.call != nil {
		s.call()
	}
	old := s.dialPhase1()
	hipath := dialASN1(s.t, s.p3)
	name, password := tlv(0x04, malloryAccount), tlv(0x04, "pw")
	hipath.writeFramed(1, tlv(0x60, tlv(0xA1, tlv(0x06, "\x2b\x0c\x00\x81\x5a")), tlv(0x8A, "\x06\x80"), tlv(0xAC, tlv(0xA2, tlv(0xA0, tlv(0xA0, name, password)))),
		tlv(0xBE, tlv(0x28, tlv(0xA0, tlv(0xA0, tlv(0x03, "\x00\x10\x00")))))))
	if aare := hipath.read(1); !bytes.Contains(aare, []byte("\xa2\x03\x02\x01\x00")) {
		s.t.Fatalf("AARE %x", aare)
	}
	for _, front := range []struct {
		who, name string
		header    int
		c         *rawASN1
		w         words
	}{{malloryAccount, "phase3", 1, hipath, phase3Words}, {malloryAddress, "phase1", 0, old, phase1Words}} {
		for _, say := range front.w.requests {
			for _, way := range s.waysInASN1(&front.w, say) {
				count++
				own := front.w.connection(callOctets(s.words["own"]), s.words["me"])
				argument := say.argument(way.subject, own, front.w.device(s.words["partner"]))
				invoke := count%100 + 1
				operation := string(octets.BigEndian.AppendUint16(nil, uint16(say.operation)))
				if say.operation < 128 {
					operation = operation[1:]
				}
				_ = s.wire()
				front.c.writeFramed(front.header, tlv(0xA1, tlv(0x02, string([]byte{byte(invoke)})), tlv(0x02, operation), argument))
				answer := front.c.answerTo(front.header, byte(invoke))
				if answer != 0xA3 {
					s.t.Errorf("%s in %s, %s: the answer is %02X", say.service, front.name, way.name, answer)
				}
				if err := s.wire(); err != nil {
					s.t.Errorf("%s in %s, %s: the switching function got %v", say.service, front.name, way.name, err)
				}
				all = append(all, attempt{front.who, say.service, way.about, front.name + ", " + way.name})
			}
		}
	}
	return all, count
}

type wayInASN1 struct{ name, subject, about string }

// waysInASN1 are the ways to name somebody.
func (s *stage) waysInASN1(w *words, say saying) []wayInASN1 {
	me, alice, own, foreign := s.words["me"], s.words["alice"], s.words["own"], s.words["foreign"]
	if say.device {
		return []wayInASN1{{"foreign device", w.device(alice), alice}}
	}
	list := []wayInASN1{{"foreign deviceID alone", w.connection("", alice), alice}}
	for _, c := range [][3]string{
		{"foreign call, own device", foreign, me}, {"own call, foreign device", own, alice}, {"foreign call, foreign device", foreign, alice},
		{"foreign callID alone", foreign, ""},
	} {
		list = append(list, wayInASN1{c[0], w.connection(callOctets(c[1]), c[2]), c[1] + "@" + c[2]})
	}
	return list
}

// dialPhase1 connects from the address that Mallory is known by.
func (s *stage) dialPhase1() *rawASN1 {
	s.t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(malloryAddress)}}).Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.p1))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &rawASN1{s.t, conn}
}

// writeFramed writes a PDU in its frame, of Phase III where there is a header.
func (c *rawASN1) writeFramed(header int, pdu string) {
	c.t.Helper()
	head := octets.BigEndian.AppendUint16(nil, uint16(len(pdu)))
	if header == 1 {
		head = octets.BigEndian.AppendUint16([]byte{0x26}, uint16(0x8000|len(pdu)))
	}
	c.write(append(head, pdu...))
}

// answerTo reads up to the answer to an invocation, and returns its tag: A2 for a result, A3 for
// an error, A4 for a rejection.
func (c *rawASN1) answerTo(header int, invoke byte) byte {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		p, err := ber.ReadPacket(bytes.NewReader(c.read(header)[header+2:]))
		if err != nil && !errors.Is(err, io.EOF) {
			c.t.Fatal(err)
		}
		if tag := byte(0xA0 | p.Tag); tag != 0xA1 && len(p.Children) > 0 && bytes.Equal(p.Children[0].Data.Bytes(), []byte{invoke}) {
			return tag
		}
	}
	c.t.Fatal("no answer")
	return 0
}
