package asn1

import (
	"bytes"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// conceal returns a frame with its secrets overwritten by asterisks: the password of an AARQ, and those of agents. It returns
// the frame itself if there are none, and overwrites all of a PDU that can hold one and cannot be read.
func (c *Codec) conceal(frame []byte) []byte {
	head := 3
	if c.flavour.frames == plainFrames {
		head = 2
	}
	if len(frame) <= head || !secretive(frame[head:]) {
		return frame
	}
	shown := bytes.Clone(frame)
	pdu := shown[head:]
	p, err := parse(pdu)
	if err != nil || !overwriteSecrets(p) {
		overwrite(pdu[1:])
	}
	return shown
}

// overwrite overwrites octets.
func overwrite(octets []byte) {
	for i := range octets {
		octets[i] = '*'
	}
}

// The operations and events whose arguments can have a password.
const (
	setFeature1    = 15  // SetFeature of Phase I
	setAgentState3 = 312 // SetAgentState of Phase III
	agentEvents3   = 4   // category of events of Phase III
	loggedOn1      = 201 // AgentLoggedOn of Phase I
)

// secretive reports whether a PDU can hold a secret. It reads as little as possible.
func secretive(pdu []byte) bool {
	if pdu[0] == 0x60 { // AARQ
		return true
	}
	r := reader{data: pdu, left: 16}
	operation, known := r.operation()
	if !known {
		return pdu[0] == 0xA1 // an Invoke that cannot be read
	}
	switch operation {
	case setFeature1, setAgentState3:
		return true
	case eventReport:
		return r.agents()
	}
	return false
}

// operation reads a PDU up to the operation of an Invoke.
func (r *reader) operation() (int, bool) {
	p := &ber.Packet{}
	if err := r.identifier(p); err != nil || p.ClassType != ber.ClassContext || p.Tag != ber.Tag(Invoke) {
		return 0, false
	}
	if _, err := r.length(); err != nil {
		return 0, false
	}
	if _, err := r.element(1); err != nil {
		return 0, false
	}
	operation, err := r.element(1)
	if err != nil || tagOf(operation) != universal(ber.TagInteger) {
		return 0, false
	}
	n, err := number(operation)
	return n, err == nil
}

// agents reports whether an event report, of which the operation was read, is about agents. It is true for one that cannot be
// read.
func (r *reader) agents() bool {
	p := &ber.Packet{}
	if err := r.identifier(p); err != nil {
		return true
	}
	if _, err := r.length(); err != nil {
		return true
	}
	if _, err := r.element(1); err != nil { // the cross reference
		return true
	}
	kind := &ber.Packet{}
	if err := r.identifier(kind); err != nil {
		return true
	}
	if holds(kind) { // Phase III
		return kind.Tag == agentEvents3
	}
	length, err := r.length()
	if err != nil || length < 1 || length > 2 || r.at+length > len(r.data) {
		return true
	}
	return length == 2 && int(r.data[r.at])<<8|int(r.data[r.at+1]) == loggedOn1
}

// overwriteSecrets overwrites the secrets in a PDU that is secretive. It returns false if it does not know where they are.
func overwriteSecrets(p *ber.Packet) bool {
	if p.ClassType == ber.ClassApplication {
		proof := inside(p, specific(12))
		if proof == nil {
			return true
		}
		both := inside(proof, specific(2), specific(0), specific(0))
		if both == nil || len(both.Children) != 2 {
			overwrite(proof.Data.Bytes())
			return true
		}
		overwrite(both.Children[1].Data.Bytes())
		return true
	}
	if len(p.Children) != 3 {
		return false
	}
	overwritePasswords(p.Children[2])
	return true
}

// overwritePasswords overwrites each element below p that has the tag of a password of an agent in one of its messages.
func overwritePasswords(p *ber.Packet) {
	for _, child := range p.Children {
		switch {
		case holds(child):
			overwritePasswords(child)
		case tagOf(child) == specific(3), tagOf(child) == specific(11):
			overwrite(child.Data.Bytes())
		}
	}
}
