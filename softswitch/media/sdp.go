package media

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// Direction is which way voice flows, as the one who writes it sees it (RFC 3264 5.1).
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// Sends reports whether who writes it speaks.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Hears reports whether who writes it listens.
func (d Direction) Hears() bool { return d == SendRecv || d == RecvOnly }

// reverse is the same direction seen from the other side.
func (d Direction) reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// Errors of descriptions.
var (
	ErrNoAudio  = errors.New("no audio stream in the session description")
	ErrNoCodec  = errors.New("neither PCMA nor PCMU in the session description")
	ErrNoCrypto = errors.New("no key for SRTP that we understand")
	// ErrPlainKeys is returned for keys of SRTP that anybody could have read on the way.
	ErrPlainKeys = errors.New("SRTP keys are taken over TLS only")
)

const eventPayload = 101 // of our telephone events, where the peer has not chosen another

// description is what is of interest in one session description.
type description struct {
	address   netip.AddrPort // where it wants to be sent to; the zero value: nowhere
	control   netip.Addr     // where it wants reports to be sent to, where it says so
	direction Direction
	secure    bool
	suite     string // of the key, with its tag
	tag       string
	key       []byte
	law       *law  // the first that both know
	event     uint8 // payload type of telephone events; 0: none
	media     int   // which m= line
	lines     []*sdp.MediaDescription
}

// read takes a session description apart (RFC 8866, RFC 4568).
func read(data []byte) (*description, error) {
	var s sdp.SessionDescription
	if err := s.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("session description: %w", err)
	}
	d := &description{media: -1, lines: s.MediaDescriptions}
	for i, m := range s.MediaDescriptions {
		if m.MediaName.Media != "audio" || m.MediaName.Port.Value == 0 {
			continue
		}
		proto := strings.Join(m.MediaName.Protos, "/")
		if proto != "RTP/AVP" && proto != "RTP/SAVP" || d.media >= 0 && !d.secure && proto == "RTP/AVP" {
			continue
		}
		if d.media >= 0 && d.secure {
			continue // the first that we can take counts
		}
		d.media, d.secure = i, proto == "RTP/SAVP"
	}
	if d.media < 0 {
		return nil, ErrNoAudio
	}
	m := s.MediaDescriptions[d.media]
	d.direction = direction(m.Attributes, direction(s.Attributes, SendRecv))
	connection := m.ConnectionInformation
	if connection == nil {
		connection = s.ConnectionInformation
	}
	if err := d.connection(connection, m); err != nil {
		return nil, err
	}
	d.formats(m)
	if d.law == nil {
		return nil, ErrNoCodec
	}
	if d.secure {
		d.crypto(m)
		if d.key == nil {
			return nil, ErrNoCrypto
		}
	}
	return d, nil
}

func direction(attributes []sdp.Attribute, otherwise Direction) Direction {
	for _, a := range attributes {
		switch d := Direction(a.Key); d {
		case SendRecv, SendOnly, RecvOnly, Inactive:
			return d
		}
	}
	return otherwise
}

// formats finds the codec and the payload type of events.
func (d *description) formats(m *sdp.MediaDescription) {
	names := map[string]string{"8": "PCMA", "0": "PCMU"} // static ones need no rtpmap
	for _, a := range m.Attributes {
		if a.Key == "rtpmap" {
			number, name, _ := strings.Cut(a.Value, " ")
			names[number] = strings.ToUpper(strings.TrimSpace(name))
		}
	}
	for _, format := range m.MediaName.Formats {
		name, clock, _ := strings.Cut(names[format], "/")
		if clock != "" && !strings.HasPrefix(clock, "8000") {
			continue
		}
		number, err := strconv.ParseUint(format, 10, 7)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(laws, func(l *law) bool { return l.name == name && number == uint64(l.payload) }); i >= 0 && d.law == nil {
			d.law = laws[i]
		}
		if name == "TELEPHONE-EVENT" && d.event == 0 {
			d.event = uint8(number)
		}
	}
}

const suites = "AES_CM_128_HMAC_SHA1_80 AES_CM_128_HMAC_SHA1_32"

// crypto finds the first key that we can use (RFC 4568 9.1).
func (d *description) crypto(m *sdp.MediaDescription) {
	for _, a := range m.Attributes {
		if a.Key != "crypto" {
			continue
		}
		fields := strings.Fields(a.Value)
		if len(fields) < 3 || !slices.Contains(strings.Fields(suites), fields[1]) {
			continue
		}
		inline, ok := strings.CutPrefix(fields[2], "inline:")
		inline, _, _ = strings.Cut(inline, "|")
		key, err := base64.StdEncoding.DecodeString(inline)
		if ok && err == nil && len(key) == keyLength {
			d.tag, d.suite, d.key = fields[0], fields[1], key
			return
		}
	}
}

// write makes a session description of ours. to is what it answers, nil for an offer.
func (l *Leg) write(dir Direction, to *description) []byte {
	l.version++
	ip := l.shown
	family := "IP4"
	if ip.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- %d %d IN %s %s", l.ssrc, l.version, family, ip)
	line("s=-")
	line("c=IN %s %s", family, ip)
	line("t=0 0")
	if to == nil {
		l.audio(line, "RTP/AVP", laws, eventPayload, dir)
		return []byte(b.String())
	}
	for i, m := range to.lines {
		switch {
		case i != to.media: // refused
			line("m=%s 0 %s %s", word(m.MediaName.Media), word(strings.Join(m.MediaName.Protos, "/")), word(strings.Join(m.MediaName.Formats, " ")))
		case to.secure:
			l.audio(line, "RTP/SAVP", []*law{to.law}, to.event, dir)
			line("a=crypto:%s %s inline:%s", to.tag, to.suite, base64.StdEncoding.EncodeToString(l.localKey))
		default:
			l.audio(line, "RTP/AVP", []*law{to.law}, to.event, dir)
		}
	}
	return []byte(b.String())
}

// word keeps what a peer has written from ending a line.
func word(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }

func (l *Leg) audio(line func(string, ...any), proto string, laws []*law, event uint8, dir Direction) {
	formats := ""
	for _, c := range laws {
		formats += fmt.Sprintf(" %d", c.payload)
	}
	if event != 0 {
		formats += fmt.Sprintf(" %d", event)
	}
	line("m=audio %d %s%s", l.port, proto, formats)
	for _, c := range laws {
		line("a=rtpmap:%d %s/8000", c.payload, c.name)
	}
	if event != 0 {
		line("a=rtpmap:%d telephone-event/8000", event)
		line("a=fmtp:%d 0-16", event)
	}
	line("a=ptime:20")
	line("a=%s", dir)
}
