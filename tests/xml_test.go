package tests

import (
	"bufio"
	"crypto/tls"
	octets "encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// xmlClient is a client that speaks CSTA-XML over TCP, frame by frame.
type xmlClient struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	next int
	news []*uacsta.Message // events that came while an answer was waited for
}

func dialXML(t *testing.T, conn net.Conn, err error) *xmlClient {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &xmlClient{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (r *running) xml() *xmlClient {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlPort))
	return dialXML(r.t, conn, err)
}

// tlsConn connects over TLS, with the certificate that every proxy of the tests has.
func tlsConn(r *running) (net.Conn, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	return tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlTLSPort), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
}

// write writes a frame; the length counts the header.
func (c *xmlClient) write(id int, document string) {
	c.t.Helper()
	header := []byte{0, 0, 0, 0}
	octets.BigEndian.PutUint16(header[2:], uint16(8+len(document)))
	if _, err := fmt.Fprintf(c.conn, "%s%04d%s", header, id, document); err != nil {
		c.t.Error(err)
	}
}

// read reads a frame.
func (c *xmlClient) read() (id string, m *uacsta.Message, err error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	header := make([]byte, 8)
	if _, err := io.ReadFull(c.r, header); err != nil {
		return "", nil, err
	}
	document := make([]byte, octets.BigEndian.Uint16(header[2:4])-8)
	if _, err := io.ReadFull(c.r, document); err != nil {
		return "", nil, err
	}
	m, err = uacsta.Parse(document)
	return string(header[4:]), m, err
}

// ask sends a request and returns its response. It keeps events that come before.
func (c *xmlClient) ask(req any) *uacsta.Message {
	c.t.Helper()
	return c.send(uacsta.Encode(req, uacsta.Edition6))
}

func (c *xmlClient) send(req *uacsta.Message) *uacsta.Message {
	c.t.Helper()
	id := c.next
	c.next = (c.next + 1) % 9999
	c.write(id, string(req.Bytes()))
	for {
		got, m, err := c.read()
		switch {
		case err != nil:
			c.t.Fatal(err)
		case got == "9999":
			c.news = append(c.news, m)
		case got == fmt.Sprintf("%04d", id):
			return m
		default: // a request of the switching function
			c.news = append(c.news, m)
		}
	}
}

// hear returns the next event.
func (c *xmlClient) hear() *uacsta.Message {
	c.t.Helper()
	if len(c.news) > 0 {
		m := c.news[0]
		c.news = c.news[1:]
		return m
	}
	_, m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *xmlClient) monitor(device string) string {
	object := uacsta.Dev(device)
	return c.ask(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &object}}).CrossRef()
}

// A conversation over TCP: the answers, then the events they cause, in the edition
// that the client speaks.
func TestXMLClient(t *testing.T) {
	t.Parallel()
	r := serve(t, everyKind)
	c := r.xml()
	ref := c.monitor("1001")
	if ref == "" {
		t.Fatal("no monitor")
	}
	res := c.ask(call("1000", "1001"))
	id := res.Text("callingDevice/callID")
	if ev := c.hear(); ev.Name() != "DeliveredEvent" || ev.CrossRef() != ref || ev.Edition() != uacsta.Edition6 {
		t.Errorf("%s", ev)
	}
	c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, "1001")})
	if ev := c.hear(); ev.Name() != "EstablishedEvent" {
		t.Errorf("%s", ev)
	}
	if refusal := c.ask(uacsta.HoldCall{CallToBeHeld: uacsta.Conn(id, "1009")}).Err(); refusal == nil || refusal.Value != "invalidConnectionID" {
		t.Errorf("%v", refusal)
	}
	// in pieces, and several at once
	frame := "\x00\x00\x00\x1e0500<RequestSystemStatus/>"
	for _, b := range []byte(frame) {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := io.WriteString(c.conn, frame+frame); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if id, m, err := c.read(); err != nil || id != "0500" || m.Text("systemStatus") != "normal" {
			t.Error(id, m, err)
		}
	}
	// devices come as requests of the switch, under numbers of its own
	c.ask(uacsta.GetSwitchingFunctionDevices{RequestedDeviceCategory: "park"})
	if m := c.hear(); m.Name() != "SwitchingFunctionDevices" || m.Text("deviceList/device/deviceID") != "400" {
		t.Errorf("%s", m)
	}
	_ = c.conn.Close()
	waitFor(t, "the end of the session", func() bool {
		return r.metric("tr87proxy_sessions") == 0 && r.metric("tr87proxy_link_monitors") == 0
	})
	r.stop()
}

// Over TLS a client is known by its certificate; who is not trusted gets nothing.
func TestXMLIdentity(t *testing.T) {
	t.Parallel()
	r := serve(t, "trusted: [{certificate: \"fe*.contoso.com\"}]\ngrants: [{who: \"localhost\", control: [\"1000\"], dial: [\"1001\"]}]\n")
	for range 20 {
		stranger := r.xml()
		if _, err := stranger.r.ReadByte(); err == nil {
			t.Error("a stranger is listened to")
		}
	}
	if lines := strings.Count(r.out.String(), "connection refused"); lines != 1 {
		t.Errorf("the log has %d lines on one stranger", lines)
	}
	conn, err := tlsConn(r)
	c := dialXML(t, conn, err)
	if m := c.ask(call("1000", "1001")); m.Name() != "MakeCallResponse" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1001", "1000")); m.Err() == nil || m.Err().Value != "privilegeViolationCallingDevice" {
		t.Errorf("%s", m)
	}
	if m := c.ask(call("1000", "05550199")); m.Err() == nil || m.Err().Value != "privilegeViolationCalledDevice" {
		t.Errorf("%s", m)
	}
	// plain text on the TLS port, and somebody without certificate
	plain, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlTLSPort))
	p := dialXML(t, plain, err)
	p.write(1, "<RequestSystemStatus/>")
	if _, err := io.Copy(io.Discard, p.conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	conn, err = tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.xmlTLSPort), &tls.Config{InsecureSkipVerify: true})
	if n := dialXML(t, conn, err); n != nil {
		if _, err := n.r.ReadByte(); err == nil {
			t.Error("nobody is listened to")
		}
	}
	r.stop()
}

// Many clients at once, some of which break off in the middle of a frame: nothing is
// lost for the others, and nothing is left.
func TestXMLCrowd(t *testing.T) {
	long(t)
	r := serve(t, everyKind)
	var group sync.WaitGroup
	for n := range 50 {
		group.Go(func() {
			c := r.xml()
			from, to := fmt.Sprint(1100+2*n), fmt.Sprint(1101+2*n)
			ref := c.monitor(to)
			for range 5 {
				id := c.ask(call(from, to)).Text("callingDevice/callID")
				c.ask(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(id, to)})
				c.ask(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(id, from)})
				for _, want := range []string{"DeliveredEvent", "EstablishedEvent", "ConnectionClearedEvent", "ConnectionClearedEvent"} {
					if ev := c.hear(); ev.Name() != want || ev.CrossRef() != ref {
						t.Errorf("%s, want %s", ev, want)
					}
				}
			}
			if n%2 == 0 {
				_, _ = io.WriteString(c.conn, "\x00\x00\x00\x900001<Monitor")
			}
			_ = c.conn.Close()
		})
	}
	group.Wait()
	waitFor(t, "the end of every session", func() bool {
		return r.metric("tr87proxy_sessions") == 0 && r.metric("tr87proxy_link_monitors") == 0
	})
	r.stop()
}
