package asn1

import (
	"fmt"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Kind is the kind of a PDU of the remote operations service (X.880): its context-specific tag.
type Kind int

// The kinds.
const (
	Invoke       Kind = 1
	ReturnResult Kind = 2
	ReturnError  Kind = 3
	Reject       Kind = 4
)

// String returns the name that X.880 gives the kind.
func (k Kind) String() string {
	return [...]string{"", "Invoke", "ReturnResult", "ReturnError", "Reject"}[k]
}

// PDU is a PDU of the remote operations service (X.880), or of ACSE. A [Codec] makes messages of PDUs, and PDUs of
// messages.
type PDU struct {
	Association *Association // the PDU of ACSE; nil: the PDU is of the remote operations service, and Kind applies
	Kind        Kind

	id        []byte // the octets of the invoke ID as they came: the answer has the same
	operation int    // of an Invoke, and of a ReturnResult that is not empty
	empty     bool   // the ReturnResult has no operation
	body      *ber.Packet
	problem   problem // of a Reject
}

// InvokeID returns the invoke ID as a number.
func (m *PDU) InvokeID() int {
	n := 0
	for _, octet := range m.id {
		n = n<<8 | int(octet)
	}
	return n
}

// SetInvokeID sets the invoke ID.
func (m *PDU) SetInvokeID(id int) { m.id = integer(id).Data.Bytes() }

// IsEvent reports whether the PDU is an event report. It has no answer.
func (m *PDU) IsEvent() bool { return m.Kind == Invoke && m.operation == eventReport }

// eventReport is the operation of event reports.
const eventReport = 21

// readPDU reads a PDU of the remote operations service.
func readPDU(p *ber.Packet) (*PDU, error) {
	if p.ClassType != ber.ClassContext || p.Tag < 1 || p.Tag > 4 || !holds(p) || len(p.Children) < 1 {
		return nil, fmt.Errorf("%w: %s is no remote operation", errMistyped, tagOf(p))
	}
	m := &PDU{Kind: Kind(p.Tag)}
	id, err := content(p.Children[0])
	if err != nil || len(id) > longestInvokeID {
		return nil, mistyped("an invoke ID")
	}
	m.id = id
	rest := p.Children[1:]
	switch m.Kind {
	case Invoke:
		err = m.readOperation(rest)
	case ReturnResult:
		if m.empty = len(rest) == 0 || !holds(rest[0]); !m.empty {
			err = m.readOperation(rest[0].Children)
		}
	case ReturnError:
		if len(rest) > 0 {
			m.body = rest[len(rest)-1]
		}
	case Reject:
		if len(rest) != 1 {
			return nil, mistyped("a problem")
		}
		m.problem.kind = int(rest[0].Tag)
		m.problem.number, err = number(rest[0])
	}
	return m, err
}

// begins returns the kind of a PDU that cannot be read as a whole, and the octets of its invoke ID, nil if they cannot be
// read. It returns 0 for what is no remote operation.
func begins(data []byte) (kind Kind, id []byte) {
	r := reader{data: data, left: 1}
	p := &ber.Packet{}
	if err := r.identifier(p); err != nil || p.ClassType != ber.ClassContext || !holds(p) || p.Tag < 1 || p.Tag > 4 {
		return 0, nil
	}
	if _, err := r.length(); err != nil {
		return Kind(p.Tag), nil
	}
	first, err := r.element(1)
	if err != nil || tagOf(first) != universal(ber.TagInteger) || holds(first) || first.Data.Len() > longestInvokeID {
		return Kind(p.Tag), nil
	}
	return Kind(p.Tag), first.Data.Bytes()
}

// longestInvokeID is how many octets an invoke ID may have.
const longestInvokeID = 4

func (m *PDU) readOperation(parts []*ber.Packet) error {
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

// octets returns the PDU in BER.
func (m *PDU) octets() []byte {
	if m.Association != nil {
		return m.Association.octets()
	}
	id := primitive(universal(ber.TagInteger), m.id)
	if len(m.id) == 0 { // the invoke ID of the rejected PDU could not be read
		id = null()
	}
	whole := constructed(specific(int(m.Kind)), id)
	switch m.Kind {
	case Invoke:
		whole.AppendChild(integer(m.operation))
		if m.body != nil {
			whole.AppendChild(m.body)
		}
	case ReturnResult:
		whole.AppendChild(sequence(integer(m.operation), m.body))
	case ReturnError:
		whole.AppendChild(integer(1))
		whole.AppendChild(m.body)
	case Reject:
		whole.AppendChild(retag(integer(m.problem.number), specific(m.problem.kind)))
	}
	return whole.Bytes()
}
