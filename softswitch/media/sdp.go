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

// Direction is the direction of voice in a session description, as its writer sees it (RFC 3264
// 5.1).
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// Sends reports whether the writer sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Hears reports whether the writer receives.
func (d Direction) Hears() bool { return d == SendRecv || d == RecvOnly }

// reverse returns the direction as the other side sees it.
func (d Direction) reverse() Direction {
	switch d {
	case SendOnly:
		return RecvOnly
	case RecvOnly:
		return SendOnly
	}
	return d
}

// Errors of session descriptions.
var (
	ErrNoAudio  = errors.New("session description has no audio stream")
	ErrNoCodec  = errors.New("session description has neither PCMA nor PCMU")
	ErrNoCrypto = errors.New("session description has no usable SRTP key")
	// ErrPlainKeys is returned for SRTP keys that were sent without encryption.
	ErrPlainKeys = errors.New("SRTP keys are accepted over TLS only")
)

const eventPayload = 101 // payload type of our telephone events, unless the peer chose another

// description holds what we use of a session description.
type description struct {
	address   netip.AddrPort // where to send voice; zero means nowhere
	control   netip.Addr     // where to send reports, if given
	direction Direction
	secure    bool
	suite     string // of the key; tag is the attribute's
	tag       string
	key       []byte
	law       *law  // the first that both sides support
	event     uint8 // payload type of telephone events; 0 means none
	media     int   // index of its m= line
	lines     []*sdp.MediaDescription
}

// read parses a session description (RFC 8866, RFC 4568).
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
			continue // keep the first usable one
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

// formats selects the codec and the payload type of telephone events.
func (d *description) formats(m *sdp.MediaDescription) {
	names := map[string]string{"8": "PCMA", "0": "PCMU"} // static types need no rtpmap
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

// crypto selects the first usable key (RFC 4568 9.1).
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

// write returns our session description. to is the offer it answers, or nil for an offer.
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
		case i != to.media: // refuse other streams
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

// word keeps a peer's text from ending a line.
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
