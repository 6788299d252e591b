package soap

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const makeCall = `<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>101</callingDevice><calledDirectoryNumber>102</calledDirectoryNumber></MakeCall>`

// in returns an envelope of SOAP 1.1.
func in(header, body string) string {
	return `<s:Envelope xmlns:s="` + envelopes[V11] + `" xmlns:a="` + addressing2005 + `"><s:Header>` + header + `</s:Header><s:Body>` + body + `</s:Body></s:Envelope>`
}

// The message is the same however the envelope is written.
func TestParse(t *testing.T) {
	const ed3 = uacsta.NamespaceED3
	plain := func(version Version, body string) string {
		return `<?xml version="1.0"?><soap:Envelope xmlns:soap="` + envelopes[version] + `"><soap:Body>` + body + `</soap:Body></soap:Envelope>`
	}
	want, err := uacsta.Parse([]byte(makeCall))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		document string
		version  Version
	}{
		"SOAP 1.1":                        {plain(V11, makeCall), V11},
		"SOAP 1.2":                        {plain(V12, makeCall), V12},
		"prefix declared on the envelope": {`<s:Envelope xmlns:s="` + envelopes[V11] + `" xmlns:c="` + ed3 + `"><s:Body><c:MakeCall><c:callingDevice>101</c:callingDevice><c:calledDirectoryNumber>102</c:calledDirectoryNumber></c:MakeCall></s:Body></s:Envelope>`, V11},
		"another default namespace":       {plain(V11, `<n:MakeCall xmlns="`+uacsta.NamespaceApplSession+`" xmlns:n="`+ed3+`"><n:callingDevice>101</n:callingDevice><n:calledDirectoryNumber>102</n:calledDirectoryNumber></n:MakeCall>`), V11},
		"types of schemas":                {`<s:Envelope xmlns:s="` + envelopes[V11] + `" xmlns:x="http://www.w3.org/2001/XMLSchema-instance" xmlns:c="` + ed3 + `" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body s:encodingStyle="y"><MakeCall xmlns="` + ed3 + `" x:schemaLocation="a b" s:encodingStyle="z"><callingDevice x:type="c:DeviceID">101</callingDevice><calledDirectoryNumber x:type="c:DeviceID">102</calledDirectoryNumber></MakeCall></s:Body></s:Envelope>`, V11},
		"comments and CDATA":              {plain(V12, `<!-- x --><MakeCall xmlns="`+ed3+`"><!-- y --><callingDevice><![CDATA[101]]></callingDevice><calledDirectoryNumber> 102 </calledDirectoryNumber></MakeCall>`), V12},
		"unknown header blocks":           {in(`<v:Trace xmlns:v="urn:v">x</v:Trace><v:Must xmlns:v="urn:v" s:mustUnderstand="1" s:actor="urn:other"/>`, makeCall), V11},
		"addressing":                      {in(`<a:Action s:mustUnderstand="1">urn:x</a:Action><a:To>http://h/</a:To><a:ReplyTo><a:Address>http://www.w3.org/2005/08/addressing/anonymous</a:Address></a:ReplyTo>`, makeCall), V11},
	} {
		e, fault := Parse([]byte(tt.document), uacsta.MaxElements)
		if fault != nil {
			t.Errorf("%s: %v", name, fault)
			continue
		}
		m, err := e.Body.Message()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if m.String() != want.String() || e.Version != tt.version {
			t.Errorf("%s: version %d\n got %s\nwant %s", name, e.Version, m, want)
		}
	}
}

// What is wrong, or can be read in two ways, is refused with the fault and in the version of SOAP that say so.
func TestFaults(t *testing.T) {
	soap12 := strings.NewReplacer(envelopes[V11], envelopes[V12])
	for name, tt := range map[string]struct {
		document string
		want     string // in the fault
		status   int
	}{
		"no XML":            {"hello", "no well-formed envelope", 400},
		"no envelope":       {makeCall, "VersionMismatch", 500},
		"another version":   {strings.ReplaceAll(in("", makeCall), envelopes[V11], "urn:soap-3"), "<faultcode>s:VersionMismatch</faultcode>", 500},
		"a document type":   {`<!DOCTYPE x [<!ENTITY a "b">]>` + in("", makeCall), "document type", 400},
		"two elements":      {in("", makeCall+makeCall), "one element", 500},
		"no element":        {in("", ""), "one element", 500},
		"text in the body":  {in("", "x"+makeCall), "one element", 500},
		"two bodies":        {`<s:Envelope xmlns:s="` + envelopes[V11] + `"><s:Body>` + makeCall + `</s:Body><s:Body>` + makeCall + `</s:Body></s:Envelope>`, "one Body", 500},
		"a header after":    {`<s:Envelope xmlns:s="` + envelopes[V11] + `"><s:Body>` + makeCall + `</s:Body><s:Header/></s:Envelope>`, "one Body", 500},
		"another encoding":  {`<?xml version="1.0" encoding="ISO-8859-1"?>` + in("", makeCall), "UTF-8 alone", 400},
		"must understand":   {in(`<v:Pay xmlns:v="urn:v" s:mustUnderstand="1"/>`, makeCall), "<faultcode>s:MustUnderstand</faultcode>", 500},
		"must, in SOAP 1.2": {soap12.Replace(in(`<v:Pay xmlns:v="urn:v" s:mustUnderstand="true" s:role="`+envelopes[V12]+`/role/next"/>`, makeCall)), "<s:Value>s:MustUnderstand</s:Value>", 500},
		"must, with blanks": {in(`<v:Pay xmlns:v="urn:v" s:mustUnderstand=" 1 "/>`, makeCall), "<faultcode>s:MustUnderstand</faultcode>", 500},
		"two sessions":      {in(`<x:Session xmlns:x="urn:x"><x:sessionID>1</x:sessionID></x:Session><y:Session xmlns:y="urn:y"><y:sessionID>2</y:sessionID></y:Session>`, makeCall), "two sessions", 500},
		"two in one":        {in(`<x:Session xmlns:x="urn:x"><x:sessionID>1</x:sessionID><x:sessionID>2</x:sessionID></x:Session>`, makeCall), "two sessions", 500},
		"two subscriptions": {in(`<x:Identifier xmlns:x="`+eventing2004+`">1</x:Identifier><x:Identifier xmlns:x="`+eventing2011+`">2</x:Identifier>`, makeCall), "two subscriptions", 500},
		"answers elsewhere": {in(`<a:ReplyTo><a:Address>http://victim.example/</a:Address></a:ReplyTo>`, makeCall), "must be anonymous", 500},
		"a block twice":     {in(`<x:Session xmlns:x="urn:x"><x:sessionID>1</x:sessionID></x:Session><x:Session xmlns:x="urn:x"><x:sessionID>1</x:sessionID></x:Session>`, makeCall), "Session twice", 500},
		"two addressings":   {in(`<a:To>x</a:To><b:To xmlns:b="`+addressing2004+`">x</b:To>`, makeCall), "two versions", 500},
		"too large":         {in("", "<x>"+strings.Repeat("y", uacsta.MaxCarrier)+"</x>"), "larger than", 413},
		"too many elements": {in("", "<x>"+strings.Repeat("<y/>", uacsta.MaxElements)+"</x>"), "too many elements", 400},
		"too deep":          {in("", strings.Repeat("<x>", 40)+strings.Repeat("</x>", 40)), "deeper", 400},
		"an unbound prefix": {in("", `<c:MakeCall/>`), "", 0},
		"code injected":     {in(`<a:MessageID>]]&gt;&lt;x/&gt;</a:MessageID><v:P xmlns:v="urn:v" s:mustUnderstand="1"/>`, makeCall), "RelatesTo xmlns:a=\"" + addressing2005 + "\">]]&gt;&lt;x/&gt;</a:RelatesTo>", 500},
	} {
		_, fault := Parse([]byte(tt.document), uacsta.MaxElements)
		if tt.want == "" {
			continue // for the message to find out
		}
		if fault == nil {
			t.Errorf("%s: no fault", name)
			continue
		}
		text := string(fault.Envelope())
		if !strings.Contains(text, tt.want) || fault.Status() != tt.status {
			t.Errorf("%s: %d %s", name, fault.Status(), text)
		}
		if _, err := uacsta.ParseCarrier([]byte(text), uacsta.MaxElements); err != nil {
			t.Errorf("%s: the fault is no XML: %v", name, err)
		}
	}
}

// A negative response is a fault with the error of CSTA as its detail.
func TestRefuse(t *testing.T) {
	e, _ := Parse([]byte(in("", makeCall)), uacsta.MaxElements)
	got := string(e.Refuse(uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID), uacsta.Edition6).Envelope())
	want := `<s:Fault><faultcode>s:Client</faultcode><faultstring>operation/invalidDeviceID</faultstring><detail><CSTAErrorCode xmlns="` + uacsta.Edition6.Namespace() + `"><operation>invalidDeviceID</operation></CSTAErrorCode></detail></s:Fault>`
	if !strings.Contains(got, want) {
		t.Error(got)
	}
}

// A subscription is read as its client wrote it, in both versions of WS-Eventing; what is not served is refused with the
// subcode that the version has for it.
func TestSubscription(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	subscribe := func(ns, wsa, rest string) string {
		return in("", fmt.Sprintf(`<e:Subscribe xmlns:e="%s" xmlns:w="%s">%s</e:Subscribe>`, ns, wsa, rest))
	}
	const to = `<e:Delivery><e:NotifyTo><w:Address>http://crm.example:9/sink</w:Address><w:ReferenceParameters><k:Key xmlns:k="urn:k">1</k:Key></w:ReferenceParameters></e:NotifyTo></e:Delivery>`
	for name, tt := range map[string]struct {
		document, fault string
		after           time.Duration
		wrapped         bool
	}{
		"2004":                  {document: subscribe(eventing2004, addressing2004, to+`<e:Expires>PT10M</e:Expires>`), after: 10 * time.Minute},
		"2011, wrapped":         {document: subscribe(eventing2011, addressing2005, to+`<e:Format Name="`+eventing2011+`/DeliveryFormats/Wrap"/><e:Expires>2026-01-02T04:04:05Z</e:Expires>`), after: time.Hour, wrapped: true},
		"a filter":              {document: subscribe(eventing2004, addressing2004, to+`<e:Filter>x</e:Filter>`), fault: "FilteringNotSupported"},
		"another mode":          {document: subscribe(eventing2004, addressing2004, strings.Replace(to, "<e:Delivery>", `<e:Delivery Mode="urn:pull">`, 1)), fault: "DeliveryModeRequestedUnavailable"},
		"another format":        {document: subscribe(eventing2011, addressing2005, to+`<e:Format Name="urn:x"/>`), fault: "DeliveryFormatRequestedUnavailable"},
		"no address":            {document: subscribe(eventing2004, addressing2004, `<e:Delivery/>`), fault: "InvalidMessage"},
		"no address, 2011":      {document: subscribe(eventing2011, addressing2005, ``), fault: "NoDeliveryMechanismEstablished"},
		"a file":                {document: subscribe(eventing2004, addressing2004, strings.Replace(to, "http://crm.example:9/sink", "file:///etc/passwd", 1)), fault: "InvalidMessage"},
		"a password in a URL":   {document: subscribe(eventing2004, addressing2004, strings.Replace(to, "http://", "http://a:b@", 1)), fault: "InvalidMessage"},
		"a time that is over":   {document: subscribe(eventing2004, addressing2004, to+`<e:Expires>2026-01-02T03:04:04Z</e:Expires>`), fault: "InvalidExpirationTime"},
		"a month":               {document: subscribe(eventing2011, addressing2005, to+`<e:Expires>P1M</e:Expires>`), fault: "UnsupportedExpirationValue"},
		"a duration of nothing": {document: subscribe(eventing2011, addressing2005, to+`<e:Expires>PT</e:Expires>`), fault: "UnsupportedExpirationValue"},
	} {
		e, fault := Parse([]byte(tt.document), uacsta.MaxElements)
		if fault != nil {
			t.Errorf("%s: %v", name, fault)
			continue
		}
		s, fault := e.Subscription(now)
		switch {
		case tt.fault != "":
			if fault == nil || fault.Subcode != tt.fault || !strings.Contains(string(fault.Envelope()), "e:"+tt.fault) {
				t.Errorf("%s: %+v", name, fault)
			}
		case fault != nil:
			t.Errorf("%s: %v", name, fault)
		case s.To.URL.String() != "http://crm.example:9/sink" || s.Expires.After != tt.after || s.Wrapped != tt.wrapped || len(s.To.Parameters) != 1 || s.To.Parameters[0] != `<k:Key xmlns:k="urn:k">1</k:Key>`:
			t.Errorf("%s: %+v", name, s)
		default:
			sent, action := e.Channel(s).Event(&s.To, "urn:action", makeCall)
			if again, fault := Parse(sent, uacsta.MaxElements); fault != nil || tt.wrapped != (again.Body.Name() == "Notify") || again.Action != action {
				t.Errorf("%s: %s", name, sent)
			}
			sent, action = e.Channel(s).End(&s.To, "http://manager/", "id-1", "SourceCanceling", "over")
			if again, fault := Parse(sent, uacsta.MaxElements); fault != nil || again.Action != action || !strings.Contains(string(sent), "/SourceCancel") ||
				!strings.Contains(string(sent), "<e:Reason>over</e:Reason>") || !tt.wrapped && !strings.Contains(string(sent), "<e:Identifier>id-1</e:Identifier>") {
				t.Errorf("%s: %s", name, sent)
			}
		}
	}
}

// Nothing that a peer sends makes the parser panic, or a fault or an answer that is no XML.
func FuzzParse(f *testing.F) {
	f.Add(in("", makeCall))
	f.Add(in(`<a:MessageID>1</a:MessageID>`, `<e:Subscribe xmlns:e="`+eventing2011+`"><e:Delivery><e:NotifyTo><a:Address>http://h/</a:Address></e:NotifyTo></e:Delivery></e:Subscribe>`))
	f.Add(strings.ReplaceAll(in(`<x:Session xmlns:x="urn:x"><x:sessionID>1</x:sessionID></x:Session>`, makeCall), envelopes[V11], envelopes[V12]))
	f.Fuzz(func(t *testing.T, document string) {
		e, fault := Parse([]byte(document), uacsta.MaxElements)
		if fault == nil && IsEventing(e.Body) {
			_, fault = e.Subscription(time.Now())
		}
		var text []byte
		if fault != nil {
			text = fault.Envelope()
		} else {
			_, _ = e.Body.Message()
			text = e.Answer("urn:x", makeCall)
		}
		if _, err := uacsta.ParseCarrier(text, uacsta.MaxElements); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}

// The text of a fault says what is wrong in characters of XML, and nothing of the rules of the proxy.
func TestReason(t *testing.T) {
	for _, version := range []Version{V11, V12} {
		e := &Envelope{Version: version}
		for _, tt := range []struct {
			refusal uacsta.Error
			want    string
		}{
			{uacsta.Error{Category: uacsta.Operation, Value: uacsta.InvalidDeviceID, Detail: `device "<&"`}, `operation/invalidDeviceID: device "<&"`},
			{uacsta.Error{Category: uacsta.Operation, Value: uacsta.InvalidDeviceID, Detail: "a\x00\x1b\uffff\xffb\n"}, "operation/invalidDeviceID: a\ufffd\ufffd\ufffd\ufffdb\ufffd"},
			{uacsta.Error{Category: uacsta.Operation, Value: uacsta.InvalidDeviceID, Detail: strings.Repeat("x", 10000)}, "operation/invalidDeviceID: " + strings.Repeat("x", 256) + "…"},
			{uacsta.Error{Category: uacsta.Operation, Value: uacsta.PrivilegeViolationSpecifiedDevice, Detail: "rule secret denies it", Rules: true}, "operation/privilegeViolationSpecifiedDevice"},
			{uacsta.Error{Category: uacsta.Unspecified, Detail: "x"}, "unspecified: x"},
		} {
			var read struct {
				Text11 string `xml:"Body>Fault>faultstring"`
				Text12 string `xml:"Body>Fault>Reason>Text"`
			}
			err := xml.Unmarshal(e.Refuse(&tt.refusal, uacsta.Edition3).Envelope(), &read)
			if got := read.Text11 + read.Text12; err != nil || got != tt.want {
				t.Errorf("%q %v, not %q", got, err, tt.want)
			}
		}
	}
}
