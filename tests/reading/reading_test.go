// Package reading compares what a switch got with what policy was asked about, as other readers of XML and BER see it.
package reading

import (
	"bytes"
	"context"
	octets "encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/internal/kind"
	"github.com/tr87proxy/tr87proxy/internal/wait"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/tests/tap"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/asn1"
	asn1front "github.com/tr87proxy/tr87proxy/wire/asn1/front"
	asn1link "github.com/tr87proxy/tr87proxy/wire/asn1/link"
	xmlfront "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
	xmllink "github.com/tr87proxy/tr87proxy/wire/cstaxml/link"
)

// What the client of these tests may do: control 200 and send its calls to 201. 300 and 301 are
// others', and talk to one another.
const (
	ownDevice, ownDestination     = "200", "201"
	foreignDevice, foreignPartner = "300", "301"
)

// quiet is a client that does not look at what it is told.
type quiet struct{}

func (quiet) Event(*uacsta.Message) {}
func (quiet) Closed(error)          {}

// reading is a proxy before a switching function on the wire, and what it has sent there.
type reading struct {
	session *proxy.Session
	own     string // the client's call, as clients see it
	foreign string // the others' call, as clients see it

	tap.Tap
}

// readings are one proxy for each wire protocol, before the same switch.
type readings struct {
	far           *proxy.Session
	foreign       string // the call of the others, at the switch
	foreignOctets string // as CSTA in ASN.1 has it
	xml, ber      *reading
}

func newReadings(tb testing.TB) *readings {
	tb.Helper()
	cfg := softswitch.Config{}
	for _, number := range []string{ownDevice, ownDestination, foreignDevice, foreignPartner} {
		cfg.Extensions = append(cfg.Extensions, softswitch.Extension{Number: number, Lines: 50})
	}
	sw, err := softswitch.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	tb.Cleanup(func() { cancel(); ended.Wait() })
	run := func(p *proxy.Proxy) { ended.Go(func() { p.Run(ctx) }) }
	far := proxy.New(proxy.Config{Policy: &policy.Policy{Demo: true}, Numbers: &policy.Numbers{Extensions: sw.Has}})
	far.AddLink("switch", sw, sw.Has)
	run(far)
	wait, stop := context.WithTimeout(ctx, wait.Limit)
	defer stop()
	if err := far.Await(wait, "switch"); err != nil {
		tb.Fatal(err)
	}
	phase3, _ := asn1.FlavourOf("phase3")
	anybody := func(netip.Addr, []string) (policy.Identity, bool) {
		return policy.Identity{Name: "proxy", How: "address"}, true
	}
	listen := func(serve func(context.Context, net.Listener) error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		ended.Go(func() { _ = serve(ctx, l) })
		return l.Addr().String()
	}
	before := func(name string, address string, link func(address string) proxy.Link) *reading {
		r := &reading{}
		p := proxy.New(proxy.Config{
			Policy: policy.FromGrants(sw.Has, policy.Grant{Who: "u", Control: []string{ownDevice}, Dial: []string{ownDestination}},
				policy.Grant{Who: "others", Control: []string{foreignDevice, foreignPartner}}),
			Numbers: &policy.Numbers{Extensions: sw.Has},
		})
		p.AddLink(name, link(r.Before(ctx, tb, &ended, address)), sw.Has)
		run(p)
		if err := p.Await(wait, name); err != nil {
			tb.Fatal(name, err)
		}
		if r.session, err = p.Open(proxy.Opening{Identity: policy.Identity{Name: "u", How: "test"}, Front: "xml"}, quiet{}); err != nil {
			tb.Fatal(err)
		}
		others, err := p.Open(proxy.Opening{Identity: policy.Identity{Name: "others", How: "test"}, Front: "xml"}, quiet{})
		if err != nil {
			tb.Fatal(err)
		}
		device := uacsta.Dev(foreignDevice)
		carry(tb, others, encoded(uacsta.MonitorStart{MonitorObject: uacsta.MonitorObject{DeviceObject: &device}}))
		if calls := carry(tb, others, encoded(uacsta.SnapshotDevice{SnapshotObject: device})).Connections(); len(calls) == 1 {
			r.foreign = calls[0].CallID()
		} else {
			tb.Fatal(name, calls)
		}
		return r
	}
	rs := &readings{}
	if rs.far, err = far.Open(proxy.Opening{Identity: policy.Identity{Name: "far", How: "test"}}, quiet{}); err != nil {
		tb.Fatal(err)
	}
	rs.foreign = carry(tb, rs.far, encoded(uacsta.MakeCall{
		CallingDevice: uacsta.Dev(foreignDevice), CalledDirectoryNumber: uacsta.Dev(foreignPartner), AutoOriginate: uacsta.DoNotPrompt,
	})).Text("callingDevice/callID")
	// An answered call lasts; one that prompts or rings ends after a time.
	answered := carry(tb, rs.far, encoded(uacsta.AnswerCall{CallToBeAnswered: uacsta.Conn(rs.foreign, foreignPartner)}))
	if answered.Name() != "AnswerCallResponse" {
		tb.Fatal(answered)
	}
	if rs.foreignOctets = "\xff" + rs.foreign; len(rs.foreign)%2 == 0 { // digits by twos
		data, err := hex.DecodeString(rs.foreign)
		if err != nil {
			tb.Fatal(err)
		}
		rs.foreignOctets = string(data)
	}
	rs.xml = before("xml", listen(xmlfront.New(kind.Access{Proxy: far, Identify: anybody}).Serve), func(address string) proxy.Link {
		return xmllink.New(xmllink.Config{Dialling: kind.Dialling{Addresses: []string{address}}})
	})
	rs.ber = before("ber", listen(asn1front.New(asn1front.Config{Access: kind.Access{Proxy: far, Identify: anybody}, Flavour: phase3}).Serve), func(address string) proxy.Link {
		return asn1link.New(asn1link.Config{Dialling: kind.Dialling{Addresses: []string{address}}, Flavour: phase3})
	})
	return rs
}

func encoded(request any) *uacsta.Message { return uacsta.Encode(request, uacsta.Edition3) }

// carry has a session carry a request, and returns its answer.
func carry(tb testing.TB, s *proxy.Session, m *uacsta.Message) *uacsta.Message {
	tb.Helper()
	answer := make(chan *uacsta.Message, 1)
	s.Request(m, func(res *uacsta.Message) { answer <- res })
	select {
	case res := <-answer:
		return res
	case <-time.After(wait.Limit):
		tb.Fatal("no answer to ", m)
		return nil
	}
}

// document carries a document of the client's. It has a call of its own before.
func (r *reading) document(tb testing.TB, document string) {
	tb.Helper()
	r.own = carry(tb, r.session, encoded(uacsta.MakeCall{CallingDevice: uacsta.Dev(ownDevice), CalledDirectoryNumber: uacsta.Dev(ownDestination)})).Text("callingDevice/callID")
	r.Take()
	m, err := uacsta.Parse([]byte(strings.NewReplacer("@own@", r.own, "@foreign@", r.foreign).Replace(document)))
	if err == nil {
		carry(tb, r.session, m)
	}
	carry(tb, r.session, encoded(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(ownDevice)})) // what came before has been sent by now
}

// clear ends the client's call.
func (r *reading) clear(tb testing.TB) {
	tb.Helper()
	carry(tb, r.session, encoded(uacsta.ClearConnection{ConnectionToBeCleared: uacsta.Conn(r.own, ownDevice)}))
}

// deviceElements are the elements of requests that hold devices (ECMA-323), for a reader that
// knows names and nothing else.
var deviceElements = map[string]bool{}

func init() { //nolint:gochecknoinits // a long list
	for name := range strings.FieldsSeq(`calledDirectoryNumber callingDevice consultedDevice deviceID deviceObject deviceToJoin device forwardDN
		initiatingDevice joiningDevice monitorObject newDestination originatingDevice parkTo requestingDevice routeSelected routeingDevice snapshotObject
		transferredTo buttonAssociatedNumber diallingSequence requestedDeviceID`) {
		deviceElements[name] = true
	}
}

// mentions are devices to which nothing is done, and those that policy lets pass as such.
var mentions = map[string]bool{"callingDeviceList": true, "deviceForMessage": true, "deviceInfo": true, "acdGroup": true, "targetDevice": true}

// foreignInXML reads what a switching function got, as a program with encoding/xml does, and
// returns what it finds of others': devices by the names of elements, and the others' callID.
func (rs *readings) foreignInXML(sent []byte) error {
	for len(sent) >= 8 {
		length := int(octets.BigEndian.Uint16(sent[2:]))
		if length < 8 || length > len(sent) {
			return errors.New("a frame that is cut short")
		}
		document := sent[8:length]
		sent = sent[length:]
		d := xml.NewDecoder(bytes.NewReader(document))
		var path []string
		texts := []string{""}
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("another reader cannot read %s: %w", document, err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				path, texts = append(path, token.Name.Local), append(texts, "")
			case xml.CharData:
				texts[len(texts)-1] += string(token)
			case xml.EndElement:
				name, text := path[len(path)-1], strings.TrimSpace(texts[len(texts)-1])
				all := "/" + strings.Join(path, "/") + "/"
				path, texts = path[:len(path)-1], texts[:len(texts)-1]
				mentioned := strings.Contains(all, "/extensions/") || strings.Contains(all, "/private/")
				for m := range mentions {
					mentioned = mentioned || strings.Contains(all, "/"+m+"/")
				}
				switch {
				case mentioned || text == "":
				case name == "callID" && text == rs.foreign:
					return fmt.Errorf("the others' call in %s", document)
				case deviceElements[name] && text != ownDevice && text != ownDestination:
					return fmt.Errorf("device %q in %s", text, document)
				}
			}
		}
	}
	return nil
}

// foreignInBER reads what a switching function got by a library for BER, and returns what it
// finds of others' in any string of a PDU, but for what the document has as data.
func (rs *readings) foreignInBER(sent []byte, data string) error {
	for len(sent) >= 3 {
		length := int(octets.BigEndian.Uint16(sent[1:]) & 0x7FFF)
		if sent[0] != 0x26 || 3+length > len(sent) {
			return errors.New("a frame that is cut short")
		}
		p, err := ber.DecodePacketErr(sent[3 : 3+length])
		if err != nil {
			return fmt.Errorf("another reader cannot read % x: %w", sent[3:3+length], err)
		}
		sent = sent[3+length:]
		var walk func(p *ber.Packet) error
		walk = func(p *ber.Packet) error {
			for _, c := range p.Children {
				if err := walk(c); err != nil {
					return err
				}
			}
			if p.TagType != ber.TypePrimitive {
				return nil
			}
			text := p.Data.String()
			for _, foreign := range []string{foreignDevice, foreignPartner, rs.foreign, rs.foreignOctets} {
				if foreign != "" && text == foreign && !strings.Contains(data, foreign) {
					return fmt.Errorf("%q in a PDU", text)
				}
			}
			return nil
		}
		if err := walk(p); err != nil {
			return err
		}
	}
	return nil
}

// dataOf returns the texts of a document that are no devices, as encoding/xml reads it.
func dataOf(document string) string {
	var data strings.Builder
	d := xml.NewDecoder(strings.NewReader(document))
	name := ""
	for {
		token, err := d.Token()
		if err != nil {
			return data.String()
		}
		switch token := token.(type) {
		case xml.StartElement:
			name = token.Name.Local
		case xml.CharData:
			if !deviceElements[name] && name != "callID" {
				data.Write(token)
				data.WriteByte(' ')
			}
		}
	}
}

// decoys are requests that one reader takes for the client's own, another for others'.
var decoys = []string{
	`<GetForwarding><device>300<x/></device><device>200</device></GetForwarding>`,
	`<SnapshotDevice><snapshotObject>300<x/></snapshotObject><snapshotObject>200</snapshotObject></SnapshotDevice>`,
	`<MonitorStart><monitorObject><deviceObject>300<x/></deviceObject><deviceObject>200</deviceObject></monitorObject></MonitorStart>`,
	`<MonitorStart><monitorObject><callObject><callID>@foreign@</callID><deviceID>200</deviceID></callObject></monitorObject></MonitorStart>`,
	`<SnapshotCall><snapshotObject><callID>@foreign@</callID><deviceID>200</deviceID></snapshotObject></SnapshotCall>`,
	`<MakeCall><callingDevice>200</callingDevice><calledDirectoryNumber><?x y?>300</calledDirectoryNumber></MakeCall>`,
	`<MakeCall><callingDevice>200</callingDevice><calledDirectoryNumber>201<!-- -->300</calledDirectoryNumber></MakeCall>`,
	`<MakeCall><callingDevice><?x?>300</callingDevice><callingDevice>200</callingDevice><calledDirectoryNumber>201</calledDirectoryNumber></MakeCall>`,
	`<MakeCall><callingDevice>200</callingDevice><CalledDirectoryNumber>300</CalledDirectoryNumber><calledDirectoryNumber>201</calledDirectoryNumber></MakeCall>`,
	`<MakeCall><callingDevice>200</callingDevice><calledDirectoryNumber xmlns="urn:x">201</calledDirectoryNumber><p:calledDirectoryNumber xmlns:p="urn:y">300</p:calledDirectoryNumber></MakeCall>`,
	`<MakeCall><callingDevice>200</callingDevice><calledDirectoryNumber>201</calledDirectoryNumber><extensions><privateData><private><calledDirectoryNumber>300</calledDirectoryNumber></private></privateData></extensions></MakeCall>`,
	`<ClearConnection><connectionToBeCleared><callID>@own@</callID><deviceID><?x?>300</deviceID></connectionToBeCleared></ClearConnection>`,
	`<ClearConnection><connectionToBeCleared><callID>@own@</callID><deviceID>300</deviceID></connectionToBeCleared></ClearConnection>`,
	`<ClearConnection><connectionToBeCleared><callID>@foreign@</callID></connectionToBeCleared></ClearConnection>`,
	`<ClearCall><callToBeCleared><callID>@foreign@</callID></callToBeCleared><callToBeCleared><callID>@own@</callID><deviceID>200</deviceID></callToBeCleared></ClearCall>`,
	`<JoinCall><activeCall><callID>@foreign@</callID></activeCall><joiningDevice>200</joiningDevice></JoinCall>`,
	`<DirectedPickupCall><callToBePickedUp><callID>@foreign@</callID></callToBePickedUp><requestingDevice>200</requestingDevice></DirectedPickupCall>`,
	`<SingleStepConferenceCall><activeCall><callID>@foreign@</callID><deviceID>200</deviceID></activeCall><deviceToJoin>201</deviceToJoin></SingleStepConferenceCall>`,
	`<TransferCall><heldCall><callID>@own@</callID><deviceID>200</deviceID></heldCall><activeCall><callID>@foreign@</callID><deviceID>200</deviceID></activeCall></TransferCall>`,
	`<SetForwarding><device>200</device><forwardingType>forwardImmediate</forwardingType><activateForward>true</activateForward><foo><forwardDN>300</forwardDN></foo></SetForwarding>`,
	`<DeflectCall><callToBeDiverted><callID>@own@</callID><deviceID>200</deviceID></callToBeDiverted><newDestination>201<device>300</device></newDestination></DeflectCall>`,
	`<MakeCall><callingDevice>200</callingDevice><calledDirectoryNumber typeOfNumber="explicitPublic:national">201</calledDirectoryNumber></MakeCall>`,
	`<HoldCall><callToBeHeld><callID>@own@</callID><deviceID>200</deviceID></callToBeHeld></HoldCall>`,
	`<DialDigits><diallingConnection><callID>@own@</callID><deviceID>200</deviceID></diallingConnection><diallingSequence>300</diallingSequence></DialDigits>`,
	`<SingleStepTransferCall><activeCall><callID>@own@</callID><deviceID>200</deviceID></activeCall><transferredTo>tel:3%300</transferredTo></SingleStepTransferCall>`,
}

// FuzzOneReading: what another reader finds in what a switching function got, in XML and in BER,
// is what policy was asked about. It lets the client control one device and call another, so
// that nothing else may be there, nor a call of others.
func FuzzOneReading(f *testing.F) {
	for _, d := range decoys {
		f.Add(d)
	}
	for _, s := range samples.All {
		f.Add(strings.ReplaceAll(strings.ReplaceAll(s.Wire, "1001", "200"), "1002", "300"))
	}
	rs := newReadings(f)
	f.Fuzz(func(t *testing.T, document string) {
		if len(document) > 4096 {
			return
		}
		rs.xml.document(t, document)
		sent := rs.xml.Take()
		rs.xml.clear(t)
		if err := rs.foreignInXML(sent); err != nil {
			t.Fatalf("%v\nof %s", err, document)
		}
		rs.ber.document(t, document)
		sent = rs.ber.Take()
		rs.ber.clear(t)
		if err := rs.foreignInBER(sent, dataOf(document)); err != nil {
			t.Fatalf("%v\nof %s", err, document)
		}
		if res := carry(t, rs.far, encoded(uacsta.SnapshotDevice{SnapshotObject: uacsta.Dev(foreignDevice)})); !strings.Contains(res.String(), rs.foreign) {
			t.Fatalf("the others' call is gone after %s", document)
		}
	})
}
