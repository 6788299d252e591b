package media

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Fax is a T.38 stream over UDPTL in a session description (ITU-T T.38 annex D). The attributes of one telephone
// are those that the other one gets.
type Fax struct {
	address    netip.AddrPort
	attributes []attribute
	media      int
	lines      []stream
}

// ErrNoFax is returned for a session description without a T.38 stream that we can relay.
var ErrNoFax = errors.New("session description has no fax over UDPTL")

// OffersFax reports whether an offer has fax instead of voice.
func OffersFax(data []byte) bool {
	s, err := parse(data)
	if err != nil {
		return false
	}
	voice := slices.ContainsFunc(s.streams, func(m stream) bool { return m.media == "audio" && m.port != 0 })
	return !voice && slices.ContainsFunc(s.streams, stream.fax)
}

func (m stream) fax() bool {
	return m.media == "image" && m.port != 0 && strings.EqualFold(m.proto, "udptl") && slices.Contains(m.formats, "t38")
}

// Fax reads the T.38 stream of a peer's offer or answer. It changes nothing.
func (l *Leg) Fax(data []byte, from Peer) (*Fax, error) {
	s, err := parse(data)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(s.streams, stream.fax)
	if i < 0 {
		return nil, ErrNoFax
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.encrypt.always() {
		return nil, ErrPlain
	}
	m, d := s.streams[i], &description{}
	if err := d.connection(&m, from.Addr); err != nil {
		return nil, err
	}
	if err := l.engine.permit(d, from.Addr); err != nil {
		return nil, err
	}
	f := &Fax{address: d.address, media: i, lines: s.streams}
	for _, a := range m.attributes {
		if strings.HasPrefix(strings.ToUpper(a.name), "T38") {
			f.attributes = append(f.attributes, a)
		}
	}
	return f, nil
}

// OfferFax returns an offer that replaces this leg's voice by the fax of another telephone (RFC 3264 8.3.2).
func (l *Leg) OfferFax(of *Fax) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, media := []stream{{}}, 0
	if l.peer != nil {
		lines, media = l.peer.lines, l.peer.media
	}
	return l.writeFax(lines, media, of)
}

// AnswerFax returns our answer to an offer of fax, with the attributes that another telephone has answered.
func (l *Leg) AnswerFax(offer, of *Fax) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeFax(offer.lines, offer.media, of)
}

// writeFax returns a session description with one T.38 stream. Callers hold l.mu.
func (l *Leg) writeFax(lines []stream, media int, of *Fax) []byte {
	return l.document(lines, media, func(line func(string, ...any)) {
		line("m=image %d udptl t38", l.port)
		for _, a := range of.attributes {
			if a.value == "" {
				line("a=%s", a.name)
			} else {
				line("a=%s:%s", a.name, a.value)
			}
		}
	})
}

// Relay passes fax between two legs, whose telephones described it so, until voice is negotiated again.
func Relay(one *Leg, of *Fax, other *Leg, to *Fax) {
	one.relays(other, of)
	other.relays(one, to)
}

func (l *Leg) relays(other *Leg, f *Fax) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relay, l.to, l.anyIn, l.began = other, f.address, false, time.Now()
	if f.address.IsValid() {
		l.far = f.address.Addr()
	}
}

// Faxes reports whether the leg carries fax instead of voice.
func (l *Leg) Faxes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.relay != nil
}

// relayed returns the leg that a packet of fax goes to, or nil if this is none or comes from elsewhere. It learns
// where the telephone sends from, as for voice.
func (l *Leg) relayed(from netip.AddrPort) (to *Leg, fax bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.relay == nil {
		return nil, false
	}
	if from.Addr() != l.far && from.Addr() != l.signals {
		return nil, true
	}
	now := time.Now()
	l.learn(from, now)
	l.heard, l.anyIn = now, true
	return l.relay, true
}

// raw sends a packet of another leg's fax to the telephone, unless it has fax with a third one by now.
func (l *Leg) raw(data []byte, from *Leg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.relay == from && l.to.IsValid() {
		_, _ = l.conn.WriteToUDPAddrPort(data, l.to)
	}
}
