package asn1

import (
	ber "github.com/go-asn1-ber/asn1-ber"
)

// AssociationKind is the kind of a PDU of ACSE (X.227): its APPLICATION tag.
type AssociationKind int

// The PDUs that open and end an association of Phase III (ECMA-285 6).
const (
	AARQ AssociationKind = iota // requests an association
	AARE                        // accepts or rejects it
	RLRQ                        // requests its release
	RLRE                        // confirms the release
	ABRT                        // aborts it
)

// AssociationResult is the result in an AARE.
type AssociationResult int

// The results (X.227).
const (
	Accepted AssociationResult = iota
	RejectedPermanent
	RejectedTransient
)

// Association is a PDU of ACSE.
type Association struct {
	Kind           AssociationKind
	Credentials    bool              // an AARQ has a name and a password
	Name, Password string            // of an AARQ with credentials
	Result         AssociationResult // of an AARE
	Stamp, Version []byte            // aps-stamp and system-version of an AARE
}

// protocol is the application context: 1.3.12.0.218.
var protocol = []byte{0x2B, 0x0C, 0x00, 0x81, 0x5A}

// versions is CSTAVersion with the bit versionFour, the version that HiPath requires.
var versions = []byte{0x00, 0x10, 0x00}

// readAssociation reads a PDU of ACSE.
func readAssociation(p *ber.Packet) (*Association, error) {
	if p.ClassType != ber.ClassApplication || p.Tag > ber.Tag(ABRT) {
		return nil, mistyped("a PDU of ACSE")
	}
	a := &Association{Kind: AssociationKind(p.Tag)}
	switch a.Kind {
	case AARQ:
		return a, a.readCredentials(p)
	case AARE:
		return a, a.readAnswer(p)
	}
	return a, nil
}

// inside returns the element at a path of tags; nil if there is none.
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

func (a *Association) readCredentials(p *ber.Packet) error {
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
	a.Name, a.Password, a.Credentials = string(name), string(password), true
	return err
}

func (a *Association) readAnswer(p *ber.Packet) error {
	result := inside(p, specific(2), universal(ber.TagInteger))
	if result == nil {
		return mistyped("a result")
	}
	n, err := number(result)
	a.Result = AssociationResult(n)
	return err
}

// userInformation returns the version of CSTA, in the form of user-information.
func userInformation() *ber.Packet {
	external := constructed(universal(ber.TagExternal), constructed(specific(0), constructed(specific(0), primitive(universal(ber.TagBitString), versions))))
	return constructed(specific(30), external)
}

func contextName() *ber.Packet {
	return constructed(specific(1), primitive(universal(ber.TagObjectIdentifier), protocol))
}

// requirements is acse-requirements with the bit authentication.
var requirements = []byte{0x06, 0x80}

// octets returns the PDU in BER.
func (a *Association) octets() []byte {
	whole := constructed(application(int(a.Kind)))
	switch a.Kind {
	case AARQ:
		whole.AppendChild(contextName())
		if a.Credentials {
			whole.AppendChild(primitive(specific(10), requirements))
			both := constructed(specific(0), octets([]byte(a.Name)), octets([]byte(a.Password)))
			whole.AppendChild(constructed(specific(12), constructed(specific(2), constructed(specific(0), both))))
		}
		whole.AppendChild(userInformation())
	case AARE:
		whole.AppendChild(contextName())
		whole.AppendChild(constructed(specific(2), integer(int(a.Result))))
		diagnostic := 0 // null
		if a.Result != Accepted {
			diagnostic = 1 // no reason given
		}
		whole.AppendChild(constructed(specific(3), constructed(specific(1), integer(diagnostic))))
		whole.AppendChild(primitive(specific(8), requirements))
		both := constructed(specific(1), octets(a.Stamp), octets(a.Version))
		whole.AppendChild(constructed(specific(10), constructed(specific(2), constructed(specific(0), both))))
		whole.AppendChild(userInformation())
	case ABRT:
		whole.AppendChild(primitive(specific(0), []byte{0}))
		whole.AppendChild(primitive(specific(1), []byte{1}))
	}
	return whole.Bytes()
}
