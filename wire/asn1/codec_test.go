package asn1

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/tests/samples"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func codecOf(flavour string) *Codec {
	f, _ := FlavourOf(flavour)
	return &Codec{flavour: f, now: func() time.Time { return noon }}
}

// unframe reads the PDU of a frame.
func unframe(t *testing.T, c *Codec, data []byte) []byte {
	t.Helper()
	pdu, err := c.flavour.frames.read(bufio.NewReader(bytes.NewReader(data)), MaxPDU, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}

// TestSamples reads the octets that real programs send, and writes those that they take.
func TestSamples(t *testing.T) {
	for _, s := range samples.ASN1 {
		t.Run(s.Flavour+"/"+s.Name, func(t *testing.T) {
			c := codecOf(s.Flavour)
			data := unframe(t, c, s.Octets())
			p, err := parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if s.XML == "" {
				return // of the association
			}
			m, err := readPDU(p)
			if err != nil {
				t.Fatal(err)
			}
			var message *uacsta.Message
			var unknown []string
			switch {
			case m.Kind == ReturnResult:
				message, unknown, err = c.takeResponse(s.Reply, m.body)
			case m.operation == eventReport:
				message, unknown, err = c.takeEvent(m.body)
			default:
				message, unknown, err = c.takeRequest(m.operation, m.body)
			}
			if err != nil || message == nil || len(unknown) > 0 {
				t.Fatalf("%v %v %v", message, unknown, err)
			}
			if got := canonical(t, message); got != canonicalText(t, s.XML) {
				t.Fatalf("read as\n%s\nwant\n%s", got, s.XML)
			}
			if strings.Contains(s.Name, "indefinite") {
				return
			}
			switch {
			case m.Kind == ReturnResult:
				m.body, err = c.putResponse(s.Reply, message)
			case m.operation == eventReport:
				m.body, err = c.putEvent(message)
			default:
				m.operation, m.body, err = c.putRequest(message)
			}
			if err != nil {
				t.Fatal(err)
			}
			if again := m.octets(); !bytes.Equal(again, data) {
				t.Errorf("written as\n%X\nwant\n%X", again, data)
			}
		})
	}
}

// TestAssociation writes AARQ, AARE and ABRT as programs of HiPath send and take them.
func TestAssociation(t *testing.T) {
	stamp := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for name, want := range map[string]Association{
		"AARQ with name and password": {Kind: AARQ, Name: "AMHOST", Password: "77777", Credentials: true},
		"AARE that accepts":           {Kind: AARE, Result: Accepted, Stamp: stamp, Version: []byte("TR87PRY")},
		"ABRT":                        {Kind: ABRT},
	} {
		for _, s := range samples.ASN1 {
			if s.Name != name {
				continue
			}
			data := unframe(t, codecOf("hipath"), s.Octets())
			if written := want.octets(); !bytes.Equal(written, data) {
				t.Errorf("%s is written as\n%X\nwant\n%X", name, written, data)
			}
			read, err := readAssociation(reparse(t, data))
			if err != nil || read.Kind != want.Kind || read.Name != want.Name || read.Password != want.Password || read.Result != want.Result {
				t.Errorf("%s is read as %+v, %v", name, read, err)
			}
			if framed, err := markedFrames.frame(data); err != nil || !bytes.Equal(framed, s.Octets()) {
				t.Errorf("%s is framed as %X, %v", name, framed, err)
			}
		}
	}
}

// canonical is a message in one form, whatever the edition it was made for.
func canonical(t *testing.T, m *uacsta.Message) string {
	t.Helper()
	return canonicalText(t, m.String())
}

func canonicalText(t *testing.T, text string) string {
	t.Helper()
	m, err := uacsta.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := uacsta.New(m.Name())
	if err := m.Decode(s); err != nil {
		t.Fatal(err)
	}
	return uacsta.Encode(s, uacsta.Edition3).String()
}

// fill sets every field that members name, as far as the phase has values for it.
func fill(n *notation, members []member, v reflect.Value) {
	for i := range members {
		m := &members[i]
		if m.constant >= 0 || m.name == "extensions" {
			continue
		}
		if m.name == "*" {
			fillWhole(v)
			continue
		}
		f := field(v, m.name)
		if f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		fillValue(n, m.typ, f)
	}
}

// fillWhole fills messages that stand in Phase I as one value.
func fillWhole(v reflect.Value) {
	to := uacsta.Dev("102")
	switch m := v.Addr().Interface().(type) {
	case *uacsta.MakePredictiveCall:
		m.SignallingDetection = &uacsta.SignallingDetection{
			SignallingCondition: uacsta.SignallingCallEstablished, SignallingConditionsAction: uacsta.SignallingConditionsActionRemainConnected,
		}
	case *uacsta.SetForwarding:
		m.ForwardingType, m.ActivateForward, m.ForwardDN = uacsta.ForwardBusy, true, &to
	case *uacsta.ForwardingEvent:
		m.ForwardingType, m.ForwardStatus, m.ForwardTo = uacsta.ForwardNoAns, true, &to
	case *uacsta.SetAgentState:
		m.RequestedAgentState, m.Group = uacsta.RequestLoggedOn, &to
	case *uacsta.SnapshotDeviceResponse:
		m.CrossRefIDorSnapshotData.SnapshotData = &uacsta.SnapshotDeviceDataList{SnapshotDeviceResponseInfo: []uacsta.SnapshotDeviceResponseInfo{{
			ConnectionIdentifier: uacsta.Conn("12AB", "100"), LocalCallState: uacsta.CallState{CompoundCallState: []uacsta.LocalConnectionState{"hold"}},
		}}}
	default:
		for _, name := range (details{}).fields() {
			field(v, name).Set(reflect.ValueOf(uacsta.Conn("12AB", "100")))
		}
	}
}

func fillValue(n *notation, typ typ, f reflect.Value) {
	switch x := typ.(type) {
	case *seq:
		fill(n, x.members, f)
	case *choice:
		fill(n, x.members[len(x.members)-1:], f)
	case *sequenceOf:
		f = items(f)
		item := reflect.New(f.Type().Elem()).Elem()
		fillValue(n, x.item, item)
		f.Set(reflect.Append(f, item, item))
	case *enumeration:
		for name := range x.numbers {
			f.SetString(name)
		}
	case tagged:
		fillValue(n, x.typ, f)
	case bits:
		for i := range f.NumField() {
			if on := true; f.Field(i).Kind() == reflect.Pointer {
				f.Field(i).Set(reflect.ValueOf(&on))
			} else {
				f.Field(i).SetBool(true)
			}
		}
	case *filter:
		f.Addr().Interface().(*uacsta.MonitorFilter).Suppress("HeldEvent")
	case oneForwarding:
		to := uacsta.Dev("102")
		f.Set(reflect.ValueOf([]uacsta.ForwardListItem{{ForwardingType: uacsta.ForwardBusy, ForwardStatus: true, ForwardDN: &to}}))
	case oneAgentState:
		f.Set(reflect.ValueOf([]uacsta.AgentStateEntry{{LoggedOnState: true, AgentInfo: []uacsta.AgentInfo{{AgentState: uacsta.AgentReady}}}}))
	case connections:
		c := uacsta.Conn("12AB", "100")
		f.Set(reflect.ValueOf([]uacsta.ConnectionListItem{{NewConnection: &c}}))
	case object:
		d := uacsta.Dev("100")
		f.Set(reflect.ValueOf(uacsta.MonitorObject{DeviceObject: &d}))
	case onlyOne:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		fillValue(n, x.typ, f.Index(0))
	case end:
		f.Set(reflect.ValueOf(uacsta.ConnectionListEnd{DeviceID: uacsta.Dev("101")}))
	case plain:
		if fillBasic(f); x.number == ber.TagGeneralizedTime {
			f.SetString("2026-11-20T12:00:00")
		}
	default:
		fillBasic(f)
	}
}

func fillBasic(f reflect.Value) {
	switch f.Interface().(type) {
	case uacsta.DeviceID:
		f.Set(reflect.ValueOf(uacsta.Dev("100")))
	case uacsta.ExtendedDeviceID:
		f.Set(reflect.ValueOf(uacsta.Ext("100")))
	case uacsta.RedirectionDeviceID:
		f.Set(reflect.ValueOf(uacsta.RedirectionDeviceID{NumberDialed: uacsta.Dev("104")}))
	case uacsta.ConnectionID:
		f.Set(reflect.ValueOf(uacsta.Conn("12AB", "100")))
	case uacsta.Data:
		f.Set(reflect.ValueOf(uacsta.Data{String: "ABCDEF"}))
	default:
		switch f.Kind() { //nolint:exhaustive // the others do not occur
		case reflect.String:
			f.SetString("0102")
		case reflect.Int:
			f.SetInt(7)
		case reflect.Bool:
			f.SetBool(true)
		}
	}
}

// TestEveryMessage writes every message of the tables, with every parameter that they have,
// and reads it back.
func TestEveryMessage(t *testing.T) {
	for _, flavour := range []string{"phase3", "phase1"} {
		c := codecOf(flavour)
		n := c.flavour.notation
		for name, s := range n.requests {
			t.Run(flavour+"/"+name, func(t *testing.T) {
				m := filled(n, name, s.form)
				operation, argument, err := c.putRequest(m)
				if err != nil {
					t.Fatal(err)
				}
				argument = reparse(t, argument.Bytes())
				back, unknown, err := c.takeRequest(operation, argument)
				same(t, m, back, unknown, err)
			})
			t.Run(flavour+"/"+name+"Response", func(t *testing.T) {
				m := filled(n, name+"Response", n.results[name])
				body, err := c.putResponse(name, m)
				if err != nil {
					t.Fatal(err)
				}
				back, unknown, err := c.takeResponse(name, reparse(t, body.Bytes()))
				same(t, m, back, unknown, err)
			})
		}
		for name, e := range n.events {
			t.Run(flavour+"/"+name+"Event", func(t *testing.T) {
				m := filled(n, name+"Event", e.form)
				m.SetCrossRef("0007")
				argument, err := c.putEvent(m)
				if err != nil {
					t.Fatal(err)
				}
				back, unknown, err := c.takeEvent(reparse(t, argument.Bytes()))
				same(t, m, back, unknown, err)
			})
		}
	}
}

func filled(n *notation, name string, f form) *uacsta.Message {
	s := uacsta.New(name)
	v := reflect.ValueOf(s).Elem()
	fill(n, f.members, v)
	for name, standard := range f.omitted {
		if standard != "" {
			field(v, name).SetString(standard)
		}
	}
	if e, ok := s.(*uacsta.ServiceInitiatedEvent); ok {
		e.InitiatingDevice = uacsta.Ext("100")
	}
	return uacsta.Encode(s, uacsta.Edition6)
}

func same(t *testing.T, want, got *uacsta.Message, unknown []string, err error) {
	t.Helper()
	if err != nil || got == nil || len(unknown) > 0 {
		t.Fatalf("%v %v %v", got, unknown, err)
	}
	if got.String() != want.String() {
		t.Errorf("read back as\n%s\nwant\n%s", got, want)
	}
}

// TestEveryValue writes every cause, state and other named value, and reads it back: each
// has one number, and a name that CSTA-XML knows.
func TestEveryValue(t *testing.T) {
	for phase, n := range map[string]*notation{"phase3": phase3, "phase1": phase1} {
		for name, typ := range n.types {
			e, ok := typ.(*enumeration)
			if x, is := typ.(tagged); is {
				e, ok = x.typ.(*enumeration)
			}
			if !ok {
				continue
			}
			for value, number := range e.numbers {
				p, err := e.put(nil, reflect.ValueOf(value))
				back := ""
				if err == nil {
					err = e.take(nil, p, reflect.ValueOf(&back).Elem())
				}
				if err != nil || back != value || e.names[number] != value {
					t.Errorf("%s %s: %s is %d, which is %q, %v", phase, name, value, number, back, err)
				}
			}
		}
	}
}

// TestEveryCause looks at the causes of CSTA-XML: Phase III has them all, and no others.
func TestEveryCause(t *testing.T) {
	numbers := phase3.types["EventCause"].(*enumeration).numbers
	causes := map[string]bool{}
	for _, word := range regexp.MustCompile(`EventCause = "(\w+)"`).FindAllStringSubmatch(source(t, "cause.go"), -1) {
		causes[word[1]] = true
		if _, ok := numbers[word[1]]; !ok {
			t.Errorf("%s has no number", word[1])
		}
	}
	for name := range numbers {
		if !causes[name] {
			t.Errorf("%s is no cause of CSTA-XML", name)
		}
	}
}

// source is the text of a file of uacsta, whose lists are the whole of CSTA-XML.
func source(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile("../../uacsta/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestEveryError writes every error of CSTA-XML. Phase III reads each back as it was; Phase I
// one of the same category.
func TestEveryError(t *testing.T) {
	words := 0
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(source(t, "error_values.go"), -1) {
		for _, group := range phase3.errors {
			e := uacsta.Refuse(group.category, word)
			if !e.Known() {
				continue
			}
			words++
			if back := phase3.refusal(reparse(t, phase3.failure(e).Bytes())); !back.Is(e) {
				t.Errorf("phase III: %v is read back as %v", e, back)
			}
			back := phase1.refusal(reparse(t, phase1.failure(e).Bytes()))
			switch {
			case e.Category == uacsta.Security && back.Is(uacsta.Refuse(uacsta.Operation, "securityViolation")):
			case e.Category == uacsta.PrivateDataError && back.Category == uacsta.Unspecified:
			case back.Category != e.Category:
				t.Errorf("phase I: %v is read back as %v", e, back)
			}
		}
	}
	if words < 250 {
		t.Errorf("only %d errors were looked at", words)
	}
	for phase, n := range map[string]*notation{"phase III": phase3, "phase I": phase1} {
		for _, group := range n.errors {
			for number, name := range group.values.names {
				e := uacsta.Refuse(group.category, name)
				if back := n.refusal(reparse(t, n.failure(e).Bytes())); !back.Is(e) || !e.Known() {
					t.Errorf("%s: %d %v is read back as %v", phase, number, e, back)
				}
			}
		}
	}
	if back := phase3.refusal(reparse(t, phase3.failure(uacsta.Refuse(uacsta.Unspecified, "")).Bytes())); back.Category != uacsta.Unspecified {
		t.Errorf("unspecified is read back as %v", back)
	}
}

// TestInexpressible refuses what a phase has no words for, and says what that is.
func TestInexpressible(t *testing.T) {
	for _, c := range []struct{ flavour, xml, value, detail string }{
		{"phase1", `<ClearCall><callToBeCleared><callID>1234</callID></callToBeCleared></ClearCall>`, "serviceNotSupported", "no such message"},
		{"phase1", `<MakePredictiveCall><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><signallingDetection><signallingCondition>callEstablished</signallingCondition><signallingConditionsAction>destinationDetection</signallingConditionsAction></signallingDetection></MakePredictiveCall>`, "parameterNotSupported", "what answered"},
		{"phase1", `<IntrudeCall><intrude><callID>1234</callID><deviceID>100</deviceID></intrude><participationType>silent</participationType></IntrudeCall>`, "parameterNotSupported", "participationType"},
		{"phase1", `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><accountCode>1234</accountCode></MakeCall>`, "parameterNotSupported", "accountCode"},
		{"phase1", `<SetForwarding><device>100</device><forwardingType>forwardDND</forwardingType><activateForward>true</activateForward></SetForwarding>`, "parameterNotSupported", "forwarding type"},
		{"phase1", `<SetForwarding><device>100</device><forwardingType>forwardBusy</forwardingType><activateForward>true</activateForward><ringCount>3</ringCount></SetForwarding>`, "parameterNotSupported", "ringCount"},
		{"phase1", `<AnswerCall><callToBeAnswered><callID>abc-1</callID><deviceID>100</deviceID></callToBeAnswered></AnswerCall>`, "parameterNotSupported", "hexadecimal"},
		{"phase1", `<MonitorStart><monitorObject><callObject><callID>1234</callID></callObject></monitorObject></MonitorStart>`, "parameterNotSupported", "a monitor on a call"},
		{"phase1", `<SetAgentState><device>100</device><requestedAgentState>loggedOn</requestedAgentState><agentID>7</agentID></SetAgentState>`, "parameterNotSupported", "agentID"},
		{"phase3", `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>Zoë</calledDirectoryNumber></MakeCall>`, "parameterNotSupported", "ASCII"},
		{"phase3", `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><extensions><privateData><private><x/></private></privateData></extensions></MakeCall>`, "parameterNotSupported", "XML"},
		{"phase3", `<MakeCall><callingDevice>100</callingDevice><calledDirectoryNumber>101</calledDirectoryNumber><mine>1</mine></MakeCall>`, "parameterNotSupported", "mine"},
		{"phase3", `<ParkCall><parking><callID>1234</callID></parking><parkTo>400</parkTo></ParkCall>`, "serviceNotSupported", "no such message"},
	} {
		m, err := uacsta.Parse([]byte(c.xml))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = codecOf(c.flavour).putRequest(m)
		if !uacsta.Refuse(uacsta.Operation, c.value).Is(errorOf(err)) || !strings.Contains(fmt.Sprint(err), c.detail) {
			t.Errorf("%s: %s is refused with %v, want %s because of %s", c.flavour, m.Name(), err, c.value, c.detail)
		}
	}
}

// Answers that a phase cannot say are refusals, and one line a second in the log.
func TestInexpressibleAnswers(t *testing.T) {
	var log strings.Builder
	near, _ := net.Pipe()
	c := NewConn(near, nil, NewCodec(Phase1, AnyCallIDs), gate.Limits{Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer c.Close(nil)
	for range 10 {
		res := uacsta.Encode(uacsta.SnapshotDeviceResponse{CrossRefIDorSnapshotData: uacsta.CrossRefIDorSnapshotDeviceData{ServiceCrossRefID: "1"}}, Edition)
		if answer := c.answerOf(&PDU{}, "SnapshotDevice", res); answer.Kind != ReturnError {
			t.Error(answer.Kind)
		}
	}
	if strings.Count(log.String(), "\n") != 1 {
		t.Error(log.String())
	}
}

func errorOf(err error) error {
	if refusal, ok := err.(*uacsta.Error); ok { //nolint:errorlint // it is not wrapped
		return refusal
	}
	return fmt.Errorf("no refusal: %w", err)
}

// Requests of Phase I that ECMA-180 has under one operation, as they go over the wire.
func TestCallCompletion(t *testing.T) {
	const connection = `<callID>1234</callID><deviceID>100</deviceID>`
	for xml, want := range map[string]string{
		"<CamponCall><camponConnection>" + connection + "</camponConnection></CamponCall>":                              "3 A009820212348003313030",
		"<CallBack><callbackConnection>" + connection + "</callbackConnection></CallBack>":                              "3 A109820212348003313030",
		"<IntrudeCall><intrude>" + connection + "</intrude><participationType>active</participationType></IntrudeCall>": "3 A209820212348003313030",
		"<MakePredictiveCall><callingDevice>9500</callingDevice><calledDirectoryNumber>200</calledDirectoryNumber><signallingDetection><signallingCondition>callEstablished</signallingCondition>" +
			"<signallingConditionsAction>remainConnected</signallingConditionsAction></signallingDetection><autoOriginate>doNotPrompt</autoOriginate></MakePredictiveCall>": "11 3010800439353030620580033230300A0101",
	} {
		m, err := uacsta.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		operation, argument, err := codecOf("phase1").putRequest(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%d %X", operation, argument.Bytes()); got != want {
			t.Errorf("%s is written as %s, want %s", xml, got, want)
		}
		back, unknown, err := codecOf("phase1").takeRequest(operation, reparse(t, argument.Bytes()))
		if err != nil || len(unknown) > 0 || canonical(t, back) != canonicalText(t, xml) {
			t.Errorf("%s is read as %v, %v %v", want, back, unknown, err)
		}
	}
}

// An operation that the phase has and that has no service here is not taken for an unknown one.
func TestUnserved(t *testing.T) {
	query := sequence(primitive(specific(0), []byte("100")), enumerated(4)) // deviceInfo
	for _, tt := range []struct {
		flavour   string
		operation int
		argument  *ber.Packet
		want      error
	}{
		{"phase1", 12, query, errUnserved}, {"phase1", 12, sequence(), errMistyped}, {"phase1", 12, nil, errMistyped}, {"phase1", 3, constructed(specific(9)), errUnserved},
		{"phase1", 4, sequence(), errUnserved}, {"phase1", 75, sequence(), errUnserved}, {"phase1", 217, sequence(), nil}, {"phase1", 99, nil, nil}, {"phase1", -1, nil, nil},
		{"phase3", 12, query, errUnserved}, {"phase3", 217, sequence(), errUnserved}, {"phase3", 31, nil, errUnserved}, {"phase3", 17, nil, nil}, {"phase3", 600, nil, nil},
		{"hipath", 202, sequence(), errUnserved},
	} {
		req, _, err := codecOf(tt.flavour).takeRequest(tt.operation, tt.argument)
		if req != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s, operation %d: %v, %v, want %v", tt.flavour, tt.operation, req, err, tt.want)
		}
	}
}

// TestLenient reads events that say less than they ought to, or more than is known.
func TestLenient(t *testing.T) {
	for name, tt := range map[string]struct{ flavour, wire, want, unknown string }{
		"a cause of the vendor's": {"phase3", "303055020007A02AA3286B0F300D80021234A107300580033130306307300580033230304E01000A0202009F814803010203", "<cause>normalClearing</cause>", "[cause: mistyped: unknown value: 512 [200]]"},
		"no devices":              {"phase3", "302855020007A022A4206B0F300D80021234A107300580033130306307300580033130304E01020A0116", "<callingDevice><notKnown/></callingDevice>", "[]"},
		"a time that is none":     {"phase3", "303C55020007A036A3346B0F300D80021234A107300580033130306307300580033130304E01000A01167E12A010180E3030303030303030303054543030", "<cause>newCall</cause><extensions><security/></extensions>", "[in security mistyped: unknown value: text that is not a time]"},
		"a state of the vendor's": {"phase1", "301B5502000180010330126B09820212348003313030630287004E0163", "<cause>normalClearing</cause>", "[localConnectionInfo: mistyped: unknown value: 99]"},
	} {
		data, err := hex.DecodeString(strings.ReplaceAll(tt.wire, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		ev, unknown, err := codecOf(tt.flavour).takeEvent(reparse(t, data))
		if err != nil || !strings.Contains(ev.String(), tt.want) || fmt.Sprint(unknown) != tt.unknown {
			t.Errorf("%s: %v %v %v", name, ev, unknown, err)
		}
	}
}

// TestScantyEvent writes an event of a switch that leaves out what it must not.
func TestScantyEvent(t *testing.T) {
	m, err := uacsta.Parse([]byte(`<DeliveredEvent><monitorCrossRefID>0007</monitorCrossRefID><connection><callID>1234</callID><deviceID>100</deviceID></connection><localConnectionInfo>alerting</localConnectionInfo></DeliveredEvent>`))
	if err != nil {
		t.Fatal(err)
	}
	for _, flavour := range []string{"phase3", "hipath", "phase1"} {
		argument, err := codecOf(flavour).putEvent(m)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := codecOf(flavour).takeEvent(reparse(t, argument.Bytes()))
		if err != nil || !back.Has("callingDevice/notKnown") || back.Text("cause") != "newCall" {
			t.Errorf("%s: %v %v", flavour, back, err)
		}
	}
}

// Programs for HiPath expect an endpoint of each connection, and a second old call, whatever the switch tells.
func TestTransferToPrograms(t *testing.T) {
	const told = `<TransferedEvent><monitorCrossRefID>0007</monitorCrossRefID><primaryOldCall><callID>12</callID><deviceID>100</deviceID></primaryOldCall>` +
		`<transferringDevice><deviceIdentifier>100</deviceIdentifier></transferringDevice><transferredToDevice><deviceIdentifier>300</deviceIdentifier></transferredToDevice>` +
		`<transferredConnections><connectionListItem><newConnection><callID>34</callID><deviceID>200</deviceID></newConnection></connectionListItem>` +
		`<connectionListItem><oldConnection><callID>12</callID></oldConnection></connectionListItem>` +
		`<connectionListItem><newConnection><callID>34</callID><deviceID>7806</deviceID></newConnection><endpoint><deviceID>08912345678</deviceID></endpoint></connectionListItem>` +
		`</transferredConnections><cause>singleStepTransfer</cause></TransferedEvent>`
	conferenced := strings.NewReplacer("TransferedEvent", "ConferencedEvent", "transferringDevice", "conferencingDevice", "transferredToDevice", "addedParty", "transferredConnections", "conferenceConnections").Replace(told)
	for _, event := range []string{told, conferenced} {
		m, err := uacsta.Parse([]byte(event))
		if err != nil {
			t.Fatal(err)
		}
		for flavour, want := range map[string]string{"phase3": "  08912345678", "hipath": "12 200 notKnown 08912345678"} {
			argument, err := codecOf(flavour).putEvent(m)
			if err != nil {
				t.Fatal(err)
			}
			back, _, err := codecOf("phase3").takeEvent(reparse(t, argument.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if again, _, err := codecOf("hipath").takeEvent(reparse(t, argument.Bytes())); err != nil || again.Has("secondaryOldCall") {
				t.Errorf("%s: at a link: %v, %v", flavour, again, err)
			}
			whole := back.String()
			got := back.Text("secondaryOldCall/callID")
			for _, item := range strings.Split(whole, "</connectionListItem>")[:3] {
				_, end, there := strings.Cut(item, "<endpoint>")
				switch id := regexp.MustCompile(`<deviceID>(\d+)</deviceID>`).FindStringSubmatch(end); {
				case !there:
					got += " "
				case id == nil:
					got += " notKnown"
				default:
					got += " " + id[1]
				}
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s: %q in %s", flavour, got, whole)
			}
		}
	}
}

// TestEnds writes and reads what can stand at the end of a listed connection.
func TestEnds(t *testing.T) {
	typ := phase3.types["End"]
	for _, want := range []uacsta.ConnectionListEnd{{}, {Restricted: true}, {DeviceID: uacsta.Dev("101")}} {
		p, err := typ.put(&coder{}, reflect.ValueOf(want))
		if err != nil {
			t.Fatal(err)
		}
		var got uacsta.ConnectionListEnd
		if err := typ.take(&coder{}, p, reflect.ValueOf(&got).Elem()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
}

// Programs for HiPath get the time stamp of the switch, or, if it has none or not a time, that of the event.
func TestTimeStamp(t *testing.T) {
	for stamp, want := range map[string]string{
		"2026-11-19T08:15:00": "2026-11-19T08:15:00", "soon": "2026-11-20T12:00:00", "": "2026-11-20T12:00:00",
	} {
		m, err := uacsta.Parse([]byte(`<HeldEvent><monitorCrossRefID>0007</monitorCrossRefID><heldConnection><callID>12</callID><deviceID>100</deviceID></heldConnection>` +
			`<holdingDevice><deviceIdentifier>100</deviceIdentifier></holdingDevice><cause>normal</cause><extensions><security><timeStamp>` + stamp + `</timeStamp></security></extensions></HeldEvent>`))
		if err != nil {
			t.Fatal(err)
		}
		argument, err := codecOf("hipath").putEvent(m)
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := codecOf("hipath").takeEvent(reparse(t, argument.Bytes()))
		if err != nil || back.Text("extensions/security/timeStamp") != want {
			t.Errorf("%q becomes %v, %v", stamp, back, err)
		}
	}
}

// TestCallIDs brings callIDs of all kinds through a client in ASN.1 and back.
func TestCallIDs(t *testing.T) {
	for _, id := range []string{"1234", "12AB", "12ab", "1", "abcd_12", "FF61", "FF", "00", "F1-2.x", "302118840100", "0", "007", "000004D2", "7FFFFFFF", "80000000", "2147483647", "2147483648"} {
		data, err := AnyCallIDs.octets(id)
		if err != nil || AnyCallIDs.text(data) != id {
			t.Errorf("%s becomes %X, which is %s, %v", id, data, AnyCallIDs.text(data), err)
		}
	}
	for _, id := range []string{"1", "12345", "2147483647"} { // through a chain of proxies, each of which calls the call by another number
		data, err := AnyCallIDs.octets(id)
		next := HexCallIDs.text(data)
		back, failed := HexCallIDs.octets(next)
		if err != nil || failed != nil || len(data) != 4 || len(next) != 8 || AnyCallIDs.text(back) != id {
			t.Errorf("%s becomes %X, and %s at the next proxy: %v %v", id, data, next, err, failed)
		}
	}
	for _, data := range []string{"", "\x00", "\xFFabc", "\x12\x34"} {
		back, err := HexCallIDs.octets(HexCallIDs.text([]byte(data)))
		if err != nil || string(back) != data {
			t.Errorf("%X comes back as %X, %v", data, back, err)
		}
	}
}
