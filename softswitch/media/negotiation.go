package media

import "time"

// Propose returns the first offer to a peer; secure is whether its signalling uses TLS.
func (l *Leg) Propose(dir Direction, secure bool) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offer(dir, secure)
}

// Offer returns an SDP offer that asks for a direction. It keeps the encryption that was agreed.
func (l *Leg) Offer(dir Direction) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.offer(dir, false)
}

// offer implements Propose and Offer. Callers hold l.mu.
func (l *Leg) offer(dir Direction, secure bool) []byte {
	l.offered, l.awaits, l.early = dir, true, [2]datagram{}
	to := l.peer
	if l.initial = to == nil; l.initial {
		to = &description{event: eventPayload, event48: eventPayload48, keying: l.encrypt.first(secure)}
		proto := "RTP/AVP"
		switch {
		case to.keying == byDTLS:
			proto, to.mux = "UDP/TLS/RTP/SAVP", true
		case l.encrypt == Required:
			proto = "RTP/SAVP"
		}
		to.lines = []stream{{proto: proto}}
		if to.keying == bySDES {
			to.tag, to.suite = "1", suites[0]
		}
	}
	return l.write(dir, to, l.offers(to))
}

// Awaits reports whether our last offer has no answer yet.
func (l *Leg) Awaits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.awaits
}

// Asks returns the direction that a peer's offer asks for, as the peer sees it, and whether the
// offer differs from its last description (RFC 3264 8: its o= line says so). It changes nothing.
// [Leg.Answer] accepts an offer that Asks accepts.
func (l *Leg) Asks(data []byte, from Peer) (asks Direction, differs bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := l.readOffer(data, from)
	if err != nil {
		return "", false, err
	}
	return d.direction, l.peer == nil || l.peer.origin != d.origin, nil
}

// Answered applies the peer's answer to our offer. It returns an error if the answer is
// unusable; the previous agreement then stays.
func (l *Leg) Answered(data []byte, from Peer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awaits = false
	proposed := l.keying()
	if l.initial { // one of several, perhaps, that went to telephones with and without TLS
		proposed = l.encrypt.first(from.Secure)
	}
	refused := from.refuses()
	for _, k := range []keying{byDTLS, bySDES} {
		if k != proposed && refused[k] == nil {
			refused[k] = ErrNoCrypto
		}
	}
	d, err := l.read(data, from, refused)
	if err != nil {
		return err
	}
	if err := l.accept(d); err != nil {
		return err
	}
	switch d.setup { // RFC 4145 4; some answer what was offered, and begin
	case "":
		d.setup = setupPassive
	case setupBoth:
		d.setup = setupActive
	}
	if err := l.agree(d, both(l.offered, d.direction.reverse()), from); err != nil {
		return err
	}
	l.begin()
	return nil
}

// Answer applies the peer's offer. It returns our answer and the direction the offer asks for,
// as the peer sees it. want is the direction we would like. Call Begin when the answer has been sent.
func (l *Leg) Answer(data []byte, want Direction, from Peer) (answer []byte, asks Direction, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := l.readOffer(data, from)
	if err != nil {
		return nil, "", err
	}
	flow := both(want, d.direction.reverse())
	if err := l.agree(d, flow, from); err != nil {
		return nil, "", err
	}
	l.awaits = false
	return l.write(flow, d, l.chosen(d)), d.direction, nil
}

// agree makes a session description effective. Callers hold l.mu.
func (l *Leg) agree(d *description, flow Direction, from Peer) error {
	if d.keying != l.keying() {
		l.uncrypt()
	}
	if d.keying == bySDES {
		if err := l.crypt(d); err != nil {
			return err
		}
	}
	if l.peer == nil || l.peer.address != d.address || l.relay != nil {
		l.to = d.address
	}
	l.relay = nil
	if !l.began.IsZero() && !l.flow.Hears() && flow.Hears() {
		l.began = time.Now()
	}
	l.peer, l.flow, l.signals = d, flow, from.Addr.Unmap()
	if d.keying == byDTLS {
		l.associate(d)
	}
	return nil
}

// read parses a peer's session description, and checks its address and encryption. Callers hold l.mu.
func (l *Leg) read(data []byte, from Peer, refused refusals) (*description, error) {
	d, err := read(data, from.Addr, refused)
	if err != nil {
		return nil, err
	}
	if d.keying == inClear && l.encrypt.always() {
		return nil, ErrPlain
	}
	return d, l.engine.permit(d, from.Addr)
}

// readOffer is read for an offer, which must have a codec that we mix, or the one that passes through by now. Callers
// hold l.mu.
func (l *Leg) readOffer(data []byte, from Peer) (*description, error) {
	d, err := l.read(data, from, from.refuses())
	if err == nil && d.law() == nil && (l.wide == nil || withCodec(d.formats, l.wide) == nil) {
		err = ErrNoCodec
	}
	return d, err
}
