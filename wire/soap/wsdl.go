package soap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Describe returns the description, in WSDL 1.1, of the service in an edition, at an address. Each group of services has
// a port type. The schemas stand beside it, in the folder xsd (ECMA-348, WSDL 1.1).
func Describe(edition uacsta.Edition, address string) []byte {
	d := newDescription("CSTA", serviceNamespace(edition), edition)
	d.types(eventingSchemas + d.ownSchema())
	d.message(faultMessage, "fault", "csta:"+uacsta.NameCSTAErrorCode)
	d.message("SessionHeader", "session", "own:Session")
	known, requests := uacsta.MessagesOf(edition), Requests(edition)
	for _, group := range groups {
		p := portType{name: group.port}
		for _, name := range requests {
			if uacsta.ServiceOf(name).Group() != group.name {
				continue
			}
			o := operation{name: name, request: "csta:" + name, fault: faultMessage}
			if answer := name + "Response"; slices.Contains(known, answer) {
				o.response = "csta:" + answer
			}
			p.operations = append(p.operations, o)
		}
		d.add(p)
	}
	session := portType{name: "ApplicationSession"}
	for _, name := range []string{uacsta.NameStartApplicationSession, uacsta.NameStopApplicationSession, uacsta.NameResetApplicationSessionTimer} {
		refused := name + "NegResponse"
		d.message(refused, "fault", "aps:"+refused)
		session.operations = append(session.operations, operation{name: name, request: "aps:" + name, response: "aps:" + name + "PosResponse", fault: refused})
	}
	d.add(session)
	source := portType{name: "EventSource"}
	for _, name := range []string{"Subscribe", "Renew", "GetStatus", "Unsubscribe"} {
		o := operation{name: name, request: "wse:" + name, response: "wse:" + name + "Response", action: eventing2004 + "/" + name, header: identifierMessage}
		if name == "Unsubscribe" {
			o.response = "-" // an empty Body
		}
		source.operations = append(source.operations, o)
	}
	d.message(identifierMessage, "identifier", "wse:Identifier")
	d.message("Empty", "", "")
	d.add(source)
	d.add(portType{name: "EventPull", operations: []operation{{name: "GetEvents", request: "own:GetEvents", response: "own:GetEventsResponse", fault: faultMessage}}})
	return d.finish("CSTAService", address)
}

// DescribeSink returns the description of what a client serves that takes events by push, in an edition.
func DescribeSink(edition uacsta.Edition) []byte {
	d := newDescription("CSTAEvents", sinkNamespace(edition), edition)
	d.types(eventingSchemas + d.ownSchema())
	known := uacsta.MessagesOf(edition)
	sink := portType{name: "ComputingFunction", sink: true}
	for _, name := range Deliveries(edition) {
		o := operation{name: name, request: "csta:" + name, action: Action(edition, name)}
		if answer := name + "Response"; slices.Contains(known, answer) {
			o.response = "csta:" + answer
		}
		sink.operations = append(sink.operations, o)
	}
	sink.operations = append(sink.operations,
		operation{name: uacsta.NameApplicationSessionTerminated, request: "aps:" + uacsta.NameApplicationSessionTerminated, action: Action(edition, uacsta.NameApplicationSessionTerminated)},
		operation{name: "SubscriptionEnd", request: "wse:SubscriptionEnd", action: eventing2004 + "/SubscriptionEnd"})
	d.add(sink)
	return d.finish("CSTAEventSink", "http://localhost/sink")
}

// Action returns the action of what a client gets: of an event, or of a request of the switching function.
func Action(edition uacsta.Edition, name string) string { return sinkNamespace(edition) + ":" + name }

// ServiceAction returns the action of a request or response.
func ServiceAction(edition uacsta.Edition, name string) string {
	return serviceNamespace(edition) + ":" + name
}

func serviceNamespace(edition uacsta.Edition) string {
	return fmt.Sprintf("urn:tr87proxy:csta-wsdl:ed%d", edition)
}

func sinkNamespace(edition uacsta.Edition) string {
	return fmt.Sprintf("urn:tr87proxy:csta-events:ed%d", edition)
}

const (
	faultMessage      = "CSTAErrorCodeMessage"
	identifierMessage = "IdentifierHeader"
)

// portType is a port type, with its binding and port.
type portType struct {
	name       string
	operations []operation
	sink       bool // of a client: without the header of sessions
}

// operation is an operation of a port type. Its messages are elements with a prefix.
type operation struct {
	name, request string
	response      string // "": one-way; "-": an empty Body
	fault         string // the message; "": none
	action        string // "": that of the service
	header        string // the message of a header block besides that of sessions; "": none
}

// description writes a WSDL.
type description struct {
	b         strings.Builder
	edition   uacsta.Edition
	namespace string
	messages  map[string]bool
	ports     []portType
}

func newDescription(name, namespace string, edition uacsta.Edition) *description {
	d := &description{edition: edition, namespace: namespace, messages: map[string]bool{}}
	fmt.Fprintf(&d.b, `<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions name="%s" targetNamespace="%s" xmlns:tns="%[2]s" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:wsaw="http://www.w3.org/2006/05/addressing/wsdl" xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:csta="%s" xmlns:aps="%s" xmlns:wse="%s" xmlns:wsa="%s" xmlns:own="%s">
`, name, namespace, edition.Namespace(), uacsta.NamespaceApplSession, eventing2004, addressing2004, NamespaceSession)
	return d
}

func (d *description) types(schemas string) {
	d.b.WriteString("<wsdl:types>\n" + schemas + "</wsdl:types>\n")
}

// message writes a message with one part, or an empty one.
func (d *description) message(name, part, element string) {
	if d.messages[name] {
		return
	}
	d.messages[name] = true
	if part == "" {
		fmt.Fprintf(&d.b, "<wsdl:message name=\"%s\"/>\n", name)
		return
	}
	fmt.Fprintf(&d.b, "<wsdl:message name=\"%s\"><wsdl:part name=\"%s\" element=\"%s\"/></wsdl:message>\n", name, part, element)
}

// messageOf writes the message of an element, and returns its name.
func (d *description) messageOf(element string) string {
	if element == "-" {
		return "Empty"
	}
	_, name, _ := strings.Cut(element, ":")
	d.message(name, "body", element)
	return name
}

// add adds a port type. It writes the messages.
func (d *description) add(p portType) {
	if len(p.operations) == 0 {
		return
	}
	for _, o := range p.operations {
		d.messageOf(o.request)
		if o.response != "" {
			d.messageOf(o.response)
		}
	}
	d.ports = append(d.ports, p)
}

// unwrapped keeps JAX-WS from taking the children of a message as parameters: request and response have children of the
// same name.
const unwrapped = `<jaxws:bindings xmlns:jaxws="http://java.sun.com/xml/ns/jaxws"><jaxws:enableWrapperStyle>false</jaxws:enableWrapperStyle></jaxws:bindings>` +
	`<jakarta:bindings xmlns:jakarta="https://jakarta.ee/xml/ns/jaxws"><jakarta:enableWrapperStyle>false</jakarta:enableWrapperStyle></jakarta:bindings>`

// finish writes the port types, bindings and the service, which has the bindings at one address.
func (d *description) finish(service, address string) []byte {
	for _, p := range d.ports {
		d.portType(p)
	}
	for _, p := range d.ports {
		d.binding(p)
	}
	fmt.Fprintf(&d.b, "<wsdl:service name=\"%s\">\n", service)
	for _, p := range d.ports {
		fmt.Fprintf(&d.b, "<wsdl:port name=\"%sPort\" binding=\"tns:%[1]sBinding\"><soap:address location=\"%s\"/></wsdl:port>\n", p.name, escape(address))
	}
	d.b.WriteString("</wsdl:service>\n</wsdl:definitions>\n")
	return []byte(d.b.String())
}

func (d *description) portType(p portType) {
	fmt.Fprintf(&d.b, "<wsdl:portType name=\"%sPortType\">%s\n", p.name, unwrapped)
	for _, o := range p.operations {
		action := d.action(o)
		fmt.Fprintf(&d.b, `<wsdl:operation name="%s"><wsdl:input message="tns:%s" wsaw:Action="%s"/>`, o.name, d.messageOf(o.request), action)
		if o.response != "" {
			fmt.Fprintf(&d.b, `<wsdl:output message="tns:%s" wsaw:Action="%sResponse"/>`, d.messageOf(o.response), action)
		}
		if o.response != "" && o.fault != "" {
			name := strings.TrimSuffix(o.fault, "Message")
			fmt.Fprintf(&d.b, `<wsdl:fault name="%s" message="tns:%s"/>`, name, o.fault)
		}
		d.b.WriteString("</wsdl:operation>\n")
	}
	d.b.WriteString("</wsdl:portType>\n")
}

func (d *description) action(o operation) string {
	if o.action != "" {
		return o.action
	}
	return d.namespace + ":" + o.name
}

func (d *description) binding(p portType) {
	fmt.Fprintf(&d.b, "<wsdl:binding name=\"%sBinding\" type=\"tns:%[1]sPortType\"><soap:binding style=\"document\" transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n", p.name)
	for _, o := range p.operations {
		header := ""
		if !p.sink {
			header = `<soap:header message="tns:SessionHeader" part="session" use="literal"/>`
		}
		if o.header != "" {
			header += fmt.Sprintf(`<soap:header message="tns:%s" part="identifier" use="literal"/>`, o.header)
		}
		fmt.Fprintf(&d.b, `<wsdl:operation name="%s"><soap:operation soapAction="%s"/><wsdl:input><soap:body use="literal"/>%s</wsdl:input>`, o.name, d.action(o), header)
		if o.response != "" {
			d.b.WriteString(`<wsdl:output><soap:body use="literal"/></wsdl:output>`)
		}
		if o.response != "" && o.fault != "" {
			fmt.Fprintf(&d.b, `<wsdl:fault name="%s"><soap:fault name="%[1]s" use="literal"/></wsdl:fault>`, strings.TrimSuffix(o.fault, "Message"))
		}
		d.b.WriteString("</wsdl:operation>\n")
	}
	d.b.WriteString("</wsdl:binding>\n")
}

// eventingSchemas describe WS-Addressing and WS-Eventing of 2004, as far as they are used here.
const eventingSchemas = `<xs:schema targetNamespace="` + addressing2004 + `" elementFormDefault="qualified">
<xs:complexType name="AnyType"><xs:sequence><xs:any namespace="##any" processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType>
<xs:complexType name="EndpointReferenceType"><xs:sequence><xs:element name="Address" type="xs:anyURI"/><xs:element name="ReferenceProperties" type="wsa:AnyType" minOccurs="0"/><xs:element name="ReferenceParameters" type="wsa:AnyType" minOccurs="0"/></xs:sequence></xs:complexType>
</xs:schema>
<xs:schema targetNamespace="` + eventing2004 + `" elementFormDefault="qualified">
<xs:import namespace="` + addressing2004 + `"/>
<xs:complexType name="DeliveryType"><xs:sequence><xs:element name="NotifyTo" type="wsa:EndpointReferenceType" minOccurs="0"/></xs:sequence><xs:attribute name="Mode" type="xs:anyURI"/></xs:complexType>
<xs:complexType name="FilterType"><xs:simpleContent><xs:extension base="xs:string"><xs:attribute name="Dialect" type="xs:anyURI"/></xs:extension></xs:simpleContent></xs:complexType>
<xs:element name="Identifier" type="xs:anyURI"/>
<xs:element name="Subscribe"><xs:complexType><xs:sequence><xs:element name="EndTo" type="wsa:EndpointReferenceType" minOccurs="0"/><xs:element name="Delivery" type="wse:DeliveryType"/><xs:element name="Expires" type="xs:string" minOccurs="0"/><xs:element name="Filter" type="wse:FilterType" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="SubscribeResponse"><xs:complexType><xs:sequence><xs:element name="SubscriptionManager" type="wsa:EndpointReferenceType"/><xs:element name="Expires" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="Renew"><xs:complexType><xs:sequence><xs:element name="Expires" type="xs:string" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="RenewResponse"><xs:complexType><xs:sequence><xs:element name="Expires" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="GetStatus"><xs:complexType><xs:sequence/></xs:complexType></xs:element>
<xs:element name="GetStatusResponse"><xs:complexType><xs:sequence><xs:element name="Expires" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="Unsubscribe"><xs:complexType><xs:sequence/></xs:complexType></xs:element>
<xs:element name="SubscriptionEnd"><xs:complexType><xs:sequence><xs:element name="SubscriptionManager" type="wsa:EndpointReferenceType"/><xs:element name="Status" type="xs:anyURI"/><xs:element name="Reason" type="xs:string" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>
</xs:schema>
`

// ownSchema describes the header block of sessions, and events by pull.
func (d *description) ownSchema() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<xs:schema targetNamespace="%s" elementFormDefault="qualified">
<xs:import namespace="%s" schemaLocation="xsd/ed%d.xsd"/>
<xs:import namespace="%s" schemaLocation="xsd/session.xsd"/>
<xs:element name="Session"><xs:complexType><xs:sequence><xs:element name="sessionID" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="GetEvents"><xs:complexType><xs:sequence><xs:element name="acknowledge" type="xs:long" minOccurs="0"/><xs:element name="maxEvents" type="xs:int" minOccurs="0"/><xs:element name="waitSeconds" type="xs:int" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
<xs:complexType name="EventEntry"><xs:sequence><xs:element name="number" type="xs:long"/><xs:choice>
`, NamespaceSession, d.edition.Namespace(), d.edition, uacsta.NamespaceApplSession)
	for _, name := range Deliveries(d.edition) {
		fmt.Fprintf(&b, `<xs:element ref="csta:%s"/>`, name)
	}
	b.WriteString(`
</xs:choice></xs:sequence></xs:complexType>
<xs:element name="GetEventsResponse"><xs:complexType><xs:sequence><xs:element name="lost" type="xs:boolean"/><xs:element name="event" type="own:EventEntry" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>
</xs:schema>
`)
	return b.String()
}
