package asn1

import (
	ber "github.com/go-asn1-ber/asn1-ber"
)

// The association of Phase III is opened and ended by PDUs of ACSE (X.227, ECMA-285 6).
const (
	associateRequest  = 0 // AARQ
	associateResponse = 1 // AARE
	releaseRequest    = 2 // RLRQ
	releaseResponse   = 3 // RLRE
	abort             = 4 // ABRT
)

// Results of an AARE.
const (
	accepted          = 0
	rejectedForGood   = 1
	rejectedTransient = 2
)

// association is a PDU of ACSE.
type association struct {
	kind           int
	name, password string // of an AARQ that has them
	credentials    bool   // whether it has
	result         int    // of an AARE
	stamp, version []byte // of an AARE: aps-stamp and system-version
}

// protocol is the application context: 1.3.12.0.218.
var protocol = []byte{0x2B, 0x0C, 0x00, 0x81, 0x5A}

// versions is CSTAVersion with the bit versionFour, which is the one that HiPath asks for.
var versions = []byte{0x00, 0x10, 0x00}

// readAssociation reads a PDU of ACSE.
func readAssociation(p *ber.Packet) (*association, error) {
	if p.ClassType != ber.ClassApplication || p.Tag > abort {
		return nil, mistyped("a PDU of ACSE")
	}
	a := &association{kind: int(p.Tag)}
	switch a.kind {
	case associateRequest:
		return a, a.readCredentials(p)
	case associateResponse:
		return a, a.readAnswer(p)
	}
	return a, nil
}

// inside follows tags into an element; nil when they lead nowhere.
func inside(p *ber.Packet, path ...tag) *ber.Packet {
	for _, t := range path {
		var next *ber.Packet
		for _, child := range p.Children {
			if tagOf(child) == t {
				next = child
				break
			}
		}
		if p = next; p == nil {
			return nil
		}
	}
	return p
}

func (a *association) readCredentials(p *ber.Packet) error {
	both := inside(p, specific(12), specific(2), specific(0), specific(0))
	if both == nil {
		return nil
	}
	if len(both.Children) != 2 {
		return mistyped("a name and a password")
	}
	name, err := content(both.Children[0])
	if err != nil {
		return err
	}
	password, err := content(both.Children[1])
	a.name, a.password, a.credentials = string(name), string(password), true
	return err
}

func (a *association) readAnswer(p *ber.Packet) error {
	result := inside(p, specific(2), universal(ber.TagInteger))
	if result == nil {
		return mistyped("a result")
	}
	var err error
	a.result, err = number(result)
	return err
}

// userInformation says which version is spoken.
func userInformation() *ber.Packet {
	external := constructed(universal(ber.TagExternal), constructed(specific(0), constructed(specific(0), primitive(universal(ber.TagBitString), versions))))
	return constructed(specific(30), external)
}

func contextName() *ber.Packet {
	return constructed(specific(1), primitive(universal(ber.TagObjectIdentifier), protocol))
}

// requirements is acse-requirements with the bit authentication.
var requirements = []byte{0x06, 0x80}

// octets writes the PDU.
func (a *association) octets() []byte {
	whole := constructed(application(a.kind))
	switch a.kind {
	case associateRequest:
		whole.AppendChild(contextName())
		if a.credentials {
			whole.AppendChild(primitive(specific(10), requirements))
			both := constructed(specific(0), octets([]byte(a.name)), octets([]byte(a.password)))
			whole.AppendChild(constructed(specific(12), constructed(specific(2), constructed(specific(0), both))))
		}
		whole.AppendChild(userInformation())
	case associateResponse:
		whole.AppendChild(contextName())
		whole.AppendChild(constructed(specific(2), integer(a.result)))
		diagnostic := 0 // null
		if a.result != accepted {
			diagnostic = 1 // no reason given
		}
		whole.AppendChild(constructed(specific(3), constructed(specific(1), integer(diagnostic))))
		whole.AppendChild(primitive(specific(8), requirements))
		both := constructed(specific(1), octets(a.stamp), octets(a.version))
		whole.AppendChild(constructed(specific(10), constructed(specific(2), constructed(specific(0), both))))
		whole.AppendChild(userInformation())
	case abort:
		whole.AppendChild(primitive(specific(0), []byte{0}))
		whole.AppendChild(primitive(specific(1), []byte{1}))
	}
	return whole.Bytes()
}
