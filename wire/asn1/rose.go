package asn1

import (
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// kind is one of the four kinds of PDU (X.880): the tag of each.
type kind int

const (
	invoke      kind = 1
	result      kind = 2
	returnError kind = 3
	reject      kind = 4
)

func (k kind) String() string {
	return [...]string{"", "Invoke", "ReturnResult", "ReturnError", "Reject"}[k]
}

// pdu is one message of the remote operations service.
type pdu struct {
	kind      kind
	id        []byte // the octets of the invoke ID as they came: an answer has the same
	operation int    // of an Invoke, and of a ReturnResult that is not empty
	empty     bool   // a ReturnResult without operation
	body      *ber.Packet
	problem   problem // of a Reject
}

// eventReport is the operation of event reports, which have no answer.
const eventReport = 21

// readPDU reads a PDU, which may be one of ACSE: then it is not read further.
func readPDU(p *ber.Packet) (*pdu, error) {
	if p.ClassType != ber.ClassContext || p.Tag < 1 || p.Tag > 4 || !holds(p) || len(p.Children) < 1 {
		return nil, fmt.Errorf("%w: %s is no remote operation", errMistyped, tagOf(p))
	}
	m := &pdu{kind: kind(p.Tag)}
	id, err := content(p.Children[0])
	if err != nil || len(id) > 4 {
		return nil, mistyped("an invoke ID")
	}
	m.id = id
	rest := p.Children[1:]
	switch m.kind {
	case invoke:
		err = m.readOperation(rest)
	case result:
		if m.empty = len(rest) == 0 || !holds(rest[0]); !m.empty {
			err = m.readOperation(rest[0].Children)
		}
	case returnError:
		if len(rest) > 0 {
			m.body = rest[len(rest)-1]
		}
	case reject:
		if len(rest) != 1 {
			return nil, mistyped("a problem")
		}
		m.problem.kind = int(rest[0].Tag)
		m.problem.number, err = number(rest[0])
	}
	return m, err
}

func (m *pdu) readOperation(parts []*ber.Packet) error {
	if len(parts) < 1 || len(parts) > 2 {
		return mistyped("an operation and its argument")
	}
	if len(parts) == 2 {
		m.body = parts[1]
	}
	var err error
	m.operation, err = number(parts[0])
	return err
}

// octets writes the PDU.
func (m *pdu) octets() []byte {
	id := primitive(universal(ber.TagInteger), m.id)
	if len(m.id) == 0 { // of a PDU whose invoke ID could not be read
		id = null()
	}
	whole := constructed(specific(int(m.kind)), id)
	switch m.kind {
	case invoke:
		whole.AppendChild(integer(m.operation))
		if m.body != nil {
			whole.AppendChild(m.body)
		}
	case result:
		whole.AppendChild(sequence(integer(m.operation), m.body))
	case returnError:
		whole.AppendChild(integer(1))
		whole.AppendChild(m.body)
	case reject:
		whole.AppendChild(retag(integer(m.problem.number), specific(m.problem.kind)))
	}
	return whole.Bytes()
}
