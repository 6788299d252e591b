package soap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Version is a version of SOAP. The namespace of the envelope names it; an answer has the version of its request.
type Version int

// The versions.
const (
	V11 Version = iota // SOAP 1.1
	V12                // SOAP 1.2
)

// envelopes are the namespaces of envelopes.
var envelopes = [...]string{V11: "http://schemas.xmlsoap.org/soap/envelope/", V12: "http://www.w3.org/2003/05/soap-envelope"}

// ContentType returns the content type of an envelope with an action (SOAP 1.1 6.1, SOAP 1.2 part 2 7.1.4).
func (v Version) ContentType(action string) string {
	switch {
	case v == V11:
		return "text/xml; charset=utf-8"
	case action == "":
		return "application/soap+xml; charset=utf-8"
	}
	return `application/soap+xml; charset=utf-8; action="` + action + `"`
}

// NamespaceSession is the namespace of what this service adds: the header block Session, and GetEvents.
const NamespaceSession = "urn:tr87proxy:csta-soap"

// The namespaces of WS-Addressing.
const (
	addressing2004 = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
	addressing2005 = "http://www.w3.org/2005/08/addressing"
)

// Anonymous reports whether an address of WS-Addressing means the connection on which the request came.
func anonymous(address string) bool {
	return address == addressing2004+"/role/anonymous" || address == addressing2005+"/anonymous"
}

// Envelope is a message of SOAP as a peer sent it.
type Envelope struct {
	Version   Version
	Session   string     // of the header block Session; "": none
	ID        string     // wse:Identifier, of a subscription; "": none
	Action    string     // of WS-Addressing; "": none
	Body      uacsta.Raw // the one element in the body
	messageID string
	wsa       string // the namespace of WS-Addressing that the peer uses; "": none
}

// Limits of an envelope, beside those of uacsta.ParseCarrier.
const (
	maxHeaders = 32
	maxName    = 1024 // octets of a message ID, an address or an identifier
)

// Parse parses an envelope of at most a number of elements. A peer can use either version, either namespace of
// WS-Addressing, or none.
func Parse(data []byte, elements int) (*Envelope, *Fault) {
	root, err := uacsta.ParseCarrier(data, elements)
	switch {
	case errors.Is(err, uacsta.ErrTooLarge):
		return nil, &Fault{Code: Client, Reason: err.Error(), TooLarge: true}
	case err != nil:
		return nil, &Fault{Code: Client, Reason: "the request is no well-formed envelope of SOAP: " + err.Error()}
	}
	version := slices.Index(envelopes[:], root.Namespace())
	if root.Name() != "Envelope" || version < 0 {
		return nil, &Fault{Code: VersionMismatch, Reason: "the request is no envelope of SOAP 1.1 or 1.2"}
	}
	e := &Envelope{Version: Version(version)}
	if fault := e.parts(root); fault != nil {
		return e, fault
	}
	return e, nil
}

// Fault returns a fault in the version of the envelope, and as an answer to it.
func (e *Envelope) Fault(code Code, reason string) *Fault {
	return &Fault{Code: code, Reason: reason, to: e}
}

// parts reads header and body.
func (e *Envelope) parts(root uacsta.Raw) *Fault {
	parts := root.Children()
	if root.HasText() || slices.ContainsFunc(parts, func(part uacsta.Raw) bool { return part.Namespace() != envelopes[e.Version] }) {
		return e.Fault(Client, "the envelope must have nothing but a Header and a Body")
	}
	if len(parts) > 0 && parts[0].Name() == "Header" {
		if fault := e.header(parts[0].Children()); fault != nil {
			return fault
		}
		parts = parts[1:]
	}
	if len(parts) != 1 || parts[0].Name() != "Body" {
		return e.Fault(Client, "the envelope must have one Body, after its Header if it has one")
	}
	body := parts[0].Children()
	if len(body) != 1 || parts[0].HasText() {
		return e.Fault(Client, "the Body must have one element")
	}
	e.Body = body[0]
	return nil
}

// header reads the header blocks. Those that we do not know are ignored, unless we must understand them.
func (e *Envelope) header(blocks []uacsta.Raw) *Fault {
	if len(blocks) > maxHeaders {
		return e.Fault(Client, "the Header has too many blocks")
	}
	seen := map[string]bool{}
	for _, block := range blocks {
		if !e.forUs(block) {
			continue
		}
		name := block.Namespace() + " " + block.Name()
		known, fault := e.block(block)
		switch {
		case fault != nil:
			return fault
		case known && seen[name]:
			return e.Fault(Client, "the Header has "+block.Name()+" twice")
		case !known && e.must(block):
			return e.Fault(MustUnderstand, "a header block that must be understood is not known here")
		}
		seen[name] = true
	}
	return nil
}

// forUs reports whether a header block is for the receiver of the message, and not for another one on its way.
func (e *Envelope) forUs(block uacsta.Raw) bool {
	name := [...]string{V11: "actor", V12: "role"}[e.Version]
	role, given := block.Attribute(envelopes[e.Version], name)
	return !given || role == "" || slices.Contains([]string{
		"http://schemas.xmlsoap.org/soap/actor/next", envelopes[V12] + "/role/next", envelopes[V12] + "/role/ultimateReceiver",
	}, role)
}

// must reports whether a header block must be understood.
func (e *Envelope) must(block uacsta.Raw) bool {
	value, given := block.Attribute(envelopes[e.Version], "mustUnderstand")
	value = strings.TrimSpace(value)
	return given && value != "0" && value != "false"
}

// block reads a header block, and reports whether it is known.
func (e *Envelope) block(block uacsta.Raw) (known bool, fault *Fault) {
	text, plain := block.Text()
	if len(text) > maxName {
		return false, e.Fault(Client, "the header block "+block.Name()+" is too long")
	}
	switch ns := block.Namespace(); {
	case ns == addressing2004 || ns == addressing2005:
		if e.wsa != "" && e.wsa != ns {
			return false, e.Fault(Client, "the Header has two versions of WS-Addressing")
		}
		e.wsa = ns
		return e.addressing(block, text)
	case (ns == eventing2004 || ns == eventing2011) && block.Name() == "Identifier" && plain:
		return true, e.name(&e.ID, text, "subscriptions")
	case block.Name() == "sessionID" && plain: // whatever its namespace: clients made from other descriptions
		return true, e.name(&e.Session, text, "sessions")
	case block.Name() == "Session":
		for _, c := range block.Children() {
			if id, plain := c.Text(); c.Name() == "sessionID" && plain && len(id) <= maxName && fault == nil {
				fault = e.name(&e.Session, id, "sessions")
			}
		}
		return true, fault
	}
	return false, nil
}

// name notes what header blocks name: only one of a kind.
func (e *Envelope) name(what *string, id, kind string) *Fault {
	if *what != "" && *what != id {
		return e.Fault(Client, "the Header names two "+kind)
	}
	*what = id
	return nil
}

// addressing reads a header block of WS-Addressing.
func (e *Envelope) addressing(block uacsta.Raw, text string) (known bool, fault *Fault) {
	switch block.Name() {
	case "MessageID":
		e.messageID = text
	case "Action":
		e.Action = text
	case "ReplyTo", "FaultTo":
		for _, c := range block.Children() {
			if address, _ := c.Text(); c.Name() == "Address" && !anonymous(address) {
				return false, e.Fault(Client, "answers are sent on the connection of the request only: "+block.Name()+" must be anonymous")
			}
		}
	case "To", "From", "RelatesTo":
	default:
		return false, nil
	}
	return true, nil
}

// Answer returns the envelope of an answer with an action, and a body, which is XML, or "" for none.
func (e *Envelope) Answer(action, body string) []byte {
	var header strings.Builder
	if e.messageID != "" {
		fmt.Fprintf(&header, `<s:Header><a:Action xmlns:a="%s">%s</a:Action><a:RelatesTo xmlns:a="%[1]s">%[3]s</a:RelatesTo></s:Header>`, e.wsa, escape(action), escape(e.messageID))
	}
	return wrap(e.Version, header.String(), body)
}

// wrap returns an envelope.
func wrap(v Version, header, body string) []byte {
	return []byte(`<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="` + envelopes[v] + `">` + header + `<s:Body>` + body + `</s:Body></s:Envelope>`)
}

// escape returns text as character data.
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace
