package asn1

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Description shows people what is in a PDU.
type Description struct {
	Phase string   // Phase III or Phase I
	What  string   // kind, invoke ID and operation
	XML   string   // the message in CSTA-XML; similar XML for a PDU that has no message
	Notes []string // members that are not known
}

// Describe reads PDUs of either phase, in frames, or one without a frame. It returns the PDUs before the first one that it
// cannot read, and an error for that one. It masks passwords.
func Describe(data []byte) ([]Description, error) {
	var all []Description
	for len(data) > 0 {
		pdu, notations, rest := cut(data)
		d, err := describe(pdu, notations)
		if err != nil {
			return all, fmt.Errorf("PDU %d: %w", len(all)+1, err)
		}
		all, data = append(all, d), rest
	}
	return all, nil
}

// cut returns the first PDU, the phases that its frame allows, and the rest.
func cut(data []byte) (pdu []byte, phases []*notation, rest []byte) {
	if len(data) > 3 && data[0] == frameMark && data[1]&0x80 != 0 {
		if end := 3 + int(binary.BigEndian.Uint16(data[1:3])&0x7FFF); end <= len(data) {
			return data[3:end], []*notation{phase3}, data[end:]
		}
	}
	if len(data) > 2 {
		if end := 2 + int(binary.BigEndian.Uint16(data)); end > 2 && end <= len(data) && data[0] < 0x60 {
			return data[2:end], []*notation{phase1}, data[end:]
		}
	}
	return data, []*notation{phase3, phase1}, nil
}

// describe reads a PDU as one of the first phase that it fits.
func describe(data []byte, phases []*notation) (Description, error) {
	p, err := parse(data)
	if err != nil {
		return Description{}, err
	}
	if a, err := readAssociation(p); err == nil {
		return Description{Phase: "Phase III", What: "association", XML: a.xml()}, nil
	}
	m, err := readPDU(p)
	if err != nil {
		return Description{}, err
	}
	var faults []string
	for _, n := range phases {
		d, err := n.describe(m)
		if err == nil && (len(d.Notes) == 0 || len(phases) == 1) {
			return d, nil
		}
		if err == nil {
			err = fmt.Errorf("%s", strings.Join(d.Notes, ", "))
		}
		faults = append(faults, fmt.Sprintf("%s: %v", n.name(), err))
	}
	return Description{}, fmt.Errorf("%s", strings.Join(faults, "; "))
}

func (n *notation) name() string {
	if n == phase1 {
		return "Phase I"
	}
	return "Phase III"
}

// describe reads a PDU as one of a phase.
func (n *notation) describe(m *PDU) (Description, error) {
	c := Codec{flavour: Phase3}
	if n == phase1 {
		c.flavour = Phase1
	}
	d := Description{Phase: n.name(), What: fmt.Sprintf("%s %s", m.Kind, strings.ToUpper(hex.EncodeToString(m.id)))}
	var message *uacsta.Message
	var unknown []string
	var err error
	switch {
	case m.Kind == Reject:
		d.XML = fmt.Sprintf("<Reject><problem>%d/%d</problem><meaning>%s</meaning></Reject>", m.problem.kind, m.problem.number, m.problem.refusal())
		return d, nil
	case m.Kind == ReturnError:
		message = n.refusal(m.body).Message(Edition)
	case m.Kind == ReturnResult:
		name := n.resultOf(m)
		if name == "" {
			return d, fmt.Errorf("operation %d is not known", m.operation)
		}
		d.What += fmt.Sprintf(", operation %d", m.operation)
		message, unknown, err = c.takeResponse(name, m.body)
	case m.operation == eventReport:
		d.What += ", event report"
		message, unknown, err = c.takeEvent(m.body)
	default:
		d.What += fmt.Sprintf(", operation %d", m.operation)
		message, unknown, err = c.takeRequest(m.operation, m.body)
		if err == nil && message == nil {
			err = fmt.Errorf("operation %d is not known", m.operation)
		}
	}
	if err != nil {
		return d, err
	}
	for _, secret := range []string{"password", "agentPassword"} {
		message.SetText(secret, masked)
	}
	d.XML = message.Indented()
	for _, tag := range unknown {
		d.Notes = append(d.Notes, "not known: "+tag)
	}
	return d, nil
}

// masked is shown in place of a secret.
const masked = "***"

// resultOf returns the service of a result; "": it is not known.
func (n *notation) resultOf(m *PDU) string {
	operation := m.operation
	if now, ok := older[operation]; ok && n == phase3 {
		operation = now
	}
	s := n.codes[code{operation, -1}]
	if s == nil && m.body != nil && m.body.ClassType == ber.ClassContext {
		s = n.codes[code{operation, int(m.body.Tag)}]
	}
	if s == nil {
		return ""
	}
	return s.name
}

// xml returns a PDU of ACSE as XML, without its password.
func (a *Association) xml() string {
	name := [...]string{"AARQ", "AARE", "RLRQ", "RLRE", "ABRT"}[a.Kind]
	inside := ""
	switch {
	case a.Kind == AARE:
		inside = fmt.Sprintf("<result>%d</result>", a.Result)
	case a.Credentials:
		var user strings.Builder
		_ = xml.EscapeText(&user, []byte(a.Name)) // a builder takes everything
		inside = "<name>" + user.String() + "</name><password>" + masked + "</password>"
	}
	return fmt.Sprintf("<%[1]s>%[2]s</%[1]s>", name, inside)
}
