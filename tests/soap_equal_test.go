package tests

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// soapRival sends requests over SOAP, to the port of those by CSTA-XML, for telephones that it calls by other numbers if others
// is set.
func soapRival(t *testing.T, v *rival, kept *envelopes, others bool) func(*uacsta.Message) outcome {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
	t.Cleanup(client.CloseIdleConnections)
	number := func(text string) string { return text }
	if others {
		number = otherNumbers.Replace
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/csta", v.xmlPort)
	return func(m *uacsta.Message) outcome {
		t.Helper()
		status, header, text := overHTTP(t, client, "POST", url, `<s:Envelope xmlns:s="`+soap11+`"><s:Body>`+number(m.String())+`</s:Body></s:Envelope>`, "Content-Type", "text/xml")
		if status == http.StatusAccepted {
			return outcome{status: status}
		}
		if media := header.Get("Content-Type"); media != "text/xml; charset=utf-8" {
			t.Errorf("%d %s %s", status, media, text)
		}
		kept.keep(m.Name(), text)
		text = number(text)
		res, err := bodyOf(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		o := outcomeOf(t, res)
		if o.status = status; strings.HasPrefix(o.result, "refused") != (status == http.StatusInternalServerError) || status != http.StatusOK && status != http.StatusInternalServerError {
			t.Errorf("the status does not fit: %d %s", status, text)
		}
		return o
	}
}

// bodyOf returns the message in an envelope: what it carries, or the detail of a fault.
func bodyOf(envelope string) (*uacsta.Message, error) {
	var e struct {
		Body struct {
			Inner []byte `xml:",innerxml"`
			Fault *struct {
				Detail struct {
					Inner []byte `xml:",innerxml"`
				} `xml:"detail"`
			}
		}
	}
	if err := xml.Unmarshal([]byte(envelope), &e); err != nil {
		return nil, err
	}
	if e.Body.Fault != nil {
		return uacsta.Parse(e.Body.Fault.Detail.Inner)
	}
	return uacsta.Parse(e.Body.Inner)
}

// envelopes are what the proxy has sent, without repetitions of the same kind.
type envelopes struct {
	mu   sync.Mutex
	docs map[string][]byte
}

func (e *envelopes) keep(name, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	same := 0
	for same < 4 && e.docs[fmt.Sprint(name, same)] != nil {
		same++
	}
	e.docs[fmt.Sprint(name, same)] = []byte(text)
}

// Requests that have a life of their own: their responses number what they open, and end it for the other requests.
var sessionServices = regexp.MustCompile(`^(Start|Stop|Reset)ApplicationSession|^ApplicationSession`)

// Every service over SOAP does what it does by CSTA-XML on the same port: the same response or refusal, the same events, the
// same calls afterwards, in every situation. Two clients with the same rights take turns on one proxy: each request is sent by
// one after the other, in a situation that is made anew. Every envelope is valid against the schemas that
// the proxy serves.
func TestSOAPEqualsCSTAXML(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, list := range byService(namings()) {
		if service := list[0].service; !sessionServices.MatchString(service) && uacsta.ServiceOf(service).ToSwitch() {
			documents = append(documents, list[slices.IndexFunc(list, func(n naming) bool { return n.own })].document)
		}
	}
	kept := &envelopes{docs: map[string][]byte{}}
	var carried sync.Map
	for _, situation := range situations {
		t.Run(situation.name, func(t *testing.T) {
			t.Parallel()
			v := newRival(t, "CSTA-XML")
			framed, overSOAP := v.send, soapRival(t, v, kept, false)
			for _, document := range documents {
				v.send = framed
				want := v.try(document, situation.make)
				v.send = overSOAP
				got := v.try(document, situation.make)
				sameOverSOAP(t, document, want, got, &carried)
			}
			schemas := soapSchema(t, fmt.Sprintf("http://127.0.0.1:%d", v.xmlPort), int(uacsta.Edition6))
			v.stop()
			kept.mu.Lock()
			defer kept.mu.Unlock()
			schema.ValidateBy(t, schemas, kept.docs)
		})
	}
	t.Cleanup(func() { enough(t, len(documents), &carried) })
}

// otherNumbers exchanges the numbers of the watched telephones with those of four others. Twice is nothing: no number becomes part of
// another one by it.
var otherNumbers = strings.NewReplacer("1000", "1010", "1001", "1011", "1002", "1012", "1003", "1013", "1010", "1000", "1011", "1001", "1012", "1002", "1013", "1003")

// renaming is a connection of CSTA-XML at which telephones have their other numbers.
type renaming struct {
	net.Conn

	rest []byte // of a frame that was read
}

// Write implements net.Conn. p is a frame.
func (c *renaming) Write(p []byte) (int, error) {
	return c.Conn.Write([]byte(otherNumbers.Replace(string(p))))
}

// Read implements net.Conn.
func (c *renaming) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		frame := make([]byte, 4, 4096)
		if _, err := io.ReadFull(c.Conn, frame); err != nil {
			return 0, err
		}
		size := int(frame[2])<<8 | int(frame[3])
		frame = append(frame, make([]byte, size-len(frame))...)
		if _, err := io.ReadFull(c.Conn, frame[4:]); err != nil {
			return 0, err
		}
		c.rest = []byte(otherNumbers.Replace(string(frame)))
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Services over SOAP and by CSTA-XML are served at the same time on one port, and do the same. What two requests do at the same
// time is certain if they act on telephones of their own: one client has four, the other has four others, which are in the
// same situation, and both send the same request at the same moment. A connection that exchanges the numbers lets both be
// compared as they are.
func TestSOAPBesideCSTAXML(t *testing.T) {
	t.Parallel()
	var documents []string
	for _, list := range byService(namings()) {
		if service := list[0].service; !sessionServices.MatchString(service) && !forAll.MatchString(service) && uacsta.ServiceOf(service).ToSwitch() {
			documents = append(documents, list[slices.IndexFunc(list, func(n naming) bool { return n.own })].document)
		}
	}
	var carried sync.Map
	for _, situation := range situations {
		t.Run(situation.name, func(t *testing.T) {
			t.Parallel()
			v := newRival(t, "CSTA-XML")
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.xmlPort))
			if err != nil {
				t.Fatal(err)
			}
			others := &overseer{xmlClient: dialXML(t, &renaming{Conn: conn}, nil), refs: map[string]string{}}
			for _, device := range watchedDevices {
				others.refs[others.monitor(device)] = device
			}
			w := &rival{t: t, running: v.running, overseer: others}
			w.send = soapRival(t, w, &envelopes{docs: map[string][]byte{}}, true)
			both := [2]*rival{v, w}
			for _, document := range documents {
				var requests [2]*uacsta.Message
				var collect [2]func(outcome) outcome
				for i, one := range both {
					requests[i], collect[i] = one.prepare(document, situation.make)
				}
				var outcomes [2]outcome
				var ready, group sync.WaitGroup
				ready.Add(2)
				for i, one := range both {
					group.Go(func() {
						ready.Done()
						ready.Wait()
						outcomes[i] = one.send(requests[i])
					})
				}
				group.Wait()
				for i := range both {
					outcomes[i] = collect[i](outcomes[i])
				}
				want, got := outcomes[0], outcomes[1]
				sameOverSOAP(t, document, want, got, &carried)
			}
			v.stop()
		})
	}
	t.Cleanup(func() { enough(t, len(documents), &carried) })
}

// sameOverSOAP compares what came of a request by CSTA-XML and over SOAP, and notes its service if it was carried out.
func sameOverSOAP(t *testing.T, document string, want, got outcome, carried *sync.Map) {
	t.Helper()
	if got.status == http.StatusAccepted {
		want.result = ""
	}
	if got.result != want.result || got.events != want.events || got.calls != want.calls {
		t.Errorf("%s over SOAP: %d %s%s\n%s\nby CSTA-XML: %s%s\n%s", document, got.status, got.result, got.events, got.calls, want.result, want.events, want.calls)
	}
	if !strings.HasPrefix(want.result, "refused") {
		name, _, _ := strings.Cut(document[1:], " ")
		carried.Store(name, true)
	}
}

// enough fails a test in which few services are carried out.
func enough(t *testing.T, services int, carried *sync.Map) {
	count := 0
	carried.Range(func(any, any) bool { count++; return true })
	t.Logf("%d services, %d carried out", services, count)
	if count < 35 && !t.Failed() {
		t.Errorf("only %d services are carried out", count)
	}
}

// forAll are services of which every client learns.
var forAll = regexp.MustCompile(`^SendBroadcast|^ChangeSys`)
