package tests

import (
	"bytes"
	"cmp"
	octets "encoding/binary"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// telephone is a handset that does by itself what every telephone does: it says that it rings, answers re-INVITEs, takes
// the end of a call, and obeys NOTIFY talk and hold, and Call-Info answer-after. A test presses its keys.
type telephone struct {
	*handset
	arrived chan *leg    // calls that come in
	auto    atomic.Bool  // it answers calls at once
	rejects atomic.Int32 // it refuses calls at once, with this status; 0: it rings
	deaf    atomic.Bool  // it ignores NOTIFY talk and hold
	voice   net.PacketConn

	state     sync.Mutex
	voiceless bool            // it sends no voice
	legs      map[string]*leg // by Call-ID
}

// leg is a call of a telephone.
type leg struct {
	*sipDialog
	phone *telephone
	tag   string
	asked *asking    // our INVITE
	turn  sync.Mutex // held while a request of ours is out

	// phone.state guards what follows.
	status    int    // the last status that was sent for the INVITE: 180 and the like while it rings, 200 once answered, above: it failed
	acked     bool   // of a call that came: the caller knows that it is answered
	over      bool   // it is cleared
	offered   bool   // a re-INVITE of the other side waits for its ACK
	holds     bool   // this telephone holds it
	far       string // what the other side says of its voice: sendrecv, sendonly, recvonly, inactive
	media     string // where the other side takes voice
	sequence  uint16 // of RTP
	clock     uint32
	sound     byte // what every octet of its voice is
	pressed   []keyPacket
	digits    string       // keys that came as telephone events
	listening map[byte]int // packets of the sounds of telephones that have come
	music     int          // packets of other sound that have come
}

// newTelephone connects a telephone over UDP.
func newTelephone(t *testing.T, server int, number, password string) *telephone {
	t.Helper()
	return newHandset(t, "udp", server, number, password).alive()
}

// alive has a handset behave as a telephone by itself.
func (h *handset) alive() *telephone {
	h.t.Helper()
	voice, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	p := &telephone{handset: h, voice: voice, arrived: make(chan *leg, 1000), legs: map[string]*leg{}}
	h.t.Cleanup(func() { _ = voice.Close() })
	go p.serve()
	go p.listenToVoice()
	go p.speak()
	return p
}

// serve answers requests until the test ends.
func (p *telephone) serve() {
	for {
		select {
		case m := <-p.inbox:
			p.state.Lock()
			l := p.legs[m.header("Call-ID")]
			p.state.Unlock()
			switch {
			case l != nil:
				l.take(m)
			case m.method() == "INVITE" && m.tag("To") == "":
				p.arrives(m)
			case m.method() == "NOTIFY", m.method() == "MESSAGE":
				p.answer(m, 200, nil, "")
			case m.method() != "ACK":
				p.answer(m, 481, nil, "")
			}
		case <-p.t.Context().Done():
			return
		}
	}
}

// arrives takes a call in.
func (p *telephone) arrives(m *sipText) {
	l := &leg{sipDialog: p.answered(m, random()), phone: p, sound: silence, listening: map[byte]int{}}
	l.tag = l.local[strings.LastIndex(l.local, "=")+1:]
	p.state.Lock()
	p.legs[l.callID] = l
	l.hears(m.body)
	p.state.Unlock()
	switch code := int(p.rejects.Load()); {
	case code != 0:
		l.decline(code)
	case p.auto.Load(), strings.Contains(m.header("Call-Info"), "answer-after=0"):
		l.accept()
	default:
		l.says(180, "")
	}
	p.arrived <- l
}

// says answers the INVITE of a call that came.
func (l *leg) says(code int, body string) {
	p := l.phone
	p.state.Lock()
	if l.over || l.status >= 200 {
		p.state.Unlock()
		return
	}
	l.status, l.over = code, code >= 300
	p.state.Unlock()
	p.reply(l.invite, code, l.tag, body)
}

func (l *leg) accept()          { l.says(200, l.description()) }
func (l *leg) decline(code int) { l.says(code, "") }

var voicePort = regexp.MustCompile(`(?m)^m=audio (\d+) `)

// hears takes a session description of the other side. The caller holds phone.state.
func (l *leg) hears(body string) {
	port, address := voicePort.FindStringSubmatch(body), voiceAddress.FindStringSubmatch(body)
	if port == nil || address == nil {
		return
	}
	l.media, l.far = net.JoinHostPort(address[1], port[1]), "sendrecv"
	for _, way := range []string{"sendonly", "recvonly", "inactive"} {
		if strings.Contains(body, "a="+way) {
			l.far = way
		}
	}
}

var voiceAddress = regexp.MustCompile(`(?m)^c=IN IP4 ([\d.]+)`)

var descriptions atomic.Int64

// description says which voice the telephone wants.
func (l *leg) description() string {
	l.phone.state.Lock()
	defer l.phone.state.Unlock()
	way := map[string]string{"sendonly": "recvonly", "inactive": "inactive"}[l.far]
	switch {
	case l.holds && way == "":
		way = "sendonly"
	case l.holds:
		way = "inactive"
	case way == "":
		way = "sendrecv"
	}
	port := l.phone.voice.LocalAddr().(*net.UDPAddr).Port
	return strings.Replace(description(port, way), "o=- 1 1 ", fmt.Sprintf("o=- 1 %d ", descriptions.Add(1)), 1)
}

// take takes a request within the call.
func (l *leg) take(m *sipText) {
	p := l.phone
	switch m.method() {
	case "ACK":
		p.state.Lock()
		l.acked, l.offered = l.acked || l.status == 200, false
		l.hears(m.body)
		p.state.Unlock()
	case "INVITE", "UPDATE":
		p.state.Lock()
		l.hears(m.body)
		l.offered = m.method() == "INVITE"
		p.state.Unlock()
		if m.body == "" && m.method() == "UPDATE" {
			p.answer(m, 200, nil, "")
			return
		}
		p.answer(m, 200, []string{sdpHeader}, l.description())
	case "BYE":
		p.answer(m, 200, nil, "")
		p.state.Lock()
		l.over = true
		p.state.Unlock()
	case "CANCEL":
		p.answer(m, 200, nil, "")
		l.decline(487)
	case "NOTIFY":
		p.answer(m, 200, nil, "")
		l.told(m)
	default:
		p.answer(m, 200, nil, "")
	}
}

// told takes a NOTIFY.
func (l *leg) told(m *sipText) {
	p := l.phone
	event, _, _ := strings.Cut(m.header("Event"), ";")
	switch {
	case p.deaf.Load():
	case event == "talk":
		p.state.Lock()
		holds := l.holds
		p.state.Unlock()
		if holds {
			go func() { _ = l.describe(false) }()
			return
		}
		if l.invite != nil {
			l.accept()
		}
	case event == "hold":
		go func() { _ = l.describe(true) }()
	}
}

// request sends a request within the call, and returns its final response.
func (l *leg) request(method string, headers []string, body string) (*sipText, error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	asked := l.begin(method, headers, body)
	limit := time.After(patience)
	for {
		select {
		case m := <-asked.answers:
			if m.code() < 200 {
				continue
			}
			if method == "INVITE" {
				l.ack(m)
			}
			if m.code() < 300 {
				l.phone.state.Lock()
				l.hears(m.body)
				l.phone.state.Unlock()
				return m, nil
			}
			return m, fmt.Errorf("%s of %s: %s", method, l.phone.number, m.start)
		case <-limit:
			return nil, fmt.Errorf("no answer to %s of %s", method, l.phone.number)
		}
	}
}

func (l *leg) mustRequest(method string, headers []string, body string) {
	l.phone.t.Helper()
	if _, err := l.request(method, headers, body); err != nil {
		l.phone.t.Fatal(err)
	}
}

// describe holds the call, or takes it back, by a re-INVITE.
func (l *leg) describe(hold bool) error {
	l.phone.state.Lock()
	l.holds = hold
	l.phone.state.Unlock()
	_, err := l.request("INVITE", []string{sdpHeader}, l.description())
	return err
}

// dials calls a number. The call goes on by itself.
func (p *telephone) dials(number string) *leg {
	p.t.Helper()
	l := &leg{sipDialog: p.dialog(number), phone: p, sound: silence, listening: map[byte]int{}}
	p.state.Lock()
	p.legs[l.callID] = l
	p.state.Unlock()
	body := l.description()
	l.asked = l.begin("INVITE", []string{sdpHeader}, body)
	go l.await(body)
	return l
}

// await takes the responses to our INVITE, which has a session description.
func (l *leg) await(body string) {
	responses := l.asked.answers
	for {
		select {
		case m := <-responses:
			if !strings.HasSuffix(m.header("CSeq"), "INVITE") { // that to CANCEL
				continue
			}
			l.turn.Lock()
			if m.code() >= 200 {
				if m.code() < 300 {
					l.follow(m)
				}
				l.ack(m)
			} else if m.tag("To") != "" {
				l.follow(m)
			}
			if credentials := l.credentials(m, "INVITE"); credentials != "" && l.number == 1 {
				l.asked = l.begin("INVITE", []string{sdpHeader, credentials}, body)
				responses = l.asked.answers
				l.turn.Unlock()
				continue
			}
			l.turn.Unlock()
			l.phone.state.Lock()
			l.status, l.over = m.code(), m.code() >= 300
			l.hears(m.body)
			l.phone.state.Unlock()
			if m.code() >= 200 {
				return
			}
		case <-l.phone.t.Context().Done():
			return
		}
	}
}

// until waits until something holds of the call.
func (l *leg) until(what string, holds func() bool) *leg {
	l.phone.t.Helper()
	waitFor(l.phone.t, what+" at "+l.phone.number, func() bool {
		l.phone.state.Lock()
		defer l.phone.state.Unlock()
		return holds()
	})
	return l
}

// rings waits for a call, and returns it while it rings, unless the telephone answers or refuses by itself.
func (p *telephone) rings() *leg {
	p.t.Helper()
	select {
	case l := <-p.arrived:
		return l
	case <-time.After(patience):
		p.t.Fatalf("%s does not ring", p.number)
		return nil
	}
}

// silent fails the test when a call has come that nobody expected.
func (p *telephone) silent() {
	p.t.Helper()
	select {
	case l := <-p.arrived:
		p.t.Errorf("%s rings: %s", p.number, l.invite.header("From"))
	default:
	}
}

// answers lifts the receiver, and waits until the caller knows.
func (l *leg) answers() *leg {
	l.phone.t.Helper()
	l.accept()
	return l.answeredHere()
}

// answeredHere waits until a call that came is answered, by whatever.
func (l *leg) answeredHere() *leg {
	l.phone.t.Helper()
	return l.until("the ACK", func() bool { return l.acked })
}

// ringing waits until the other side of a call of ours rings.
func (l *leg) ringing() *leg {
	l.phone.t.Helper()
	return l.until("ringing", func() bool { return l.status == 180 || l.status == 183 })
}

// up waits until a call of ours is answered.
func (l *leg) up() *leg {
	l.phone.t.Helper()
	l.until("the answer", func() bool { return l.status >= 200 })
	if l.status != 200 {
		l.phone.t.Fatalf("the call of %s fails with %d", l.phone.number, l.status)
	}
	return l
}

// fails waits until a call of ours has failed, and returns the status.
func (l *leg) fails() int {
	l.phone.t.Helper()
	l.until("the failure", func() bool { return l.status >= 300 })
	return l.status
}

// ends waits until the call is cleared.
func (l *leg) ends() {
	l.phone.t.Helper()
	l.until("the end of the call", func() bool { return l.over })
}

// lives reports whether the call is answered and not cleared.
func (l *leg) lives() bool {
	l.phone.state.Lock()
	defer l.phone.state.Unlock()
	return l.status == 200 && !l.over
}

// hangsUp clears the call: BYE, CANCEL, or 486 to a call that rings here.
func (l *leg) hangsUp() {
	l.phone.t.Helper()
	l.phone.state.Lock()
	status, over := l.status, l.over
	l.phone.state.Unlock()
	switch {
	case over:
		l.phone.t.Errorf("%s hangs up what is cleared", l.phone.number)
	case status == 200:
		l.mustRequest("BYE", nil, "")
		l.phone.state.Lock()
		l.over = true
		l.phone.state.Unlock()
	case l.invite != nil:
		l.decline(486)
	default:
		l.ringing() // before that there is nothing to cancel
		l.turn.Lock()
		head, _, _ := strings.Cut(l.asked.text, "\r\n\r\n")
		l.turn.Unlock()
		var lines []string
		for line := range strings.SplitSeq(head, "\r\n") {
			name, _, _ := strings.Cut(line, ":")
			switch {
			case strings.HasPrefix(line, "INVITE "):
				lines = append(lines, strings.Replace(line, "INVITE", "CANCEL", 1))
			case name == "CSeq":
				lines = append(lines, strings.Replace(line, "INVITE", "CANCEL", 1))
			case slices.Contains([]string{"Via", "From", "To", "Call-ID", "Max-Forwards"}, name):
				lines = append(lines, line)
			}
		}
		l.phone.write(strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n"))
		l.ends()
	}
}

// hold puts the call on hold by hand.
func (l *leg) hold() {
	l.phone.t.Helper()
	if err := l.describe(true); err != nil {
		l.phone.t.Fatal(err)
	}
}

// retrieve takes the call back by hand.
func (l *leg) retrieve() {
	l.phone.t.Helper()
	if err := l.describe(false); err != nil {
		l.phone.t.Fatal(err)
	}
}

// held waits until the other side holds: it sends voice only, or none.
func (l *leg) held() {
	l.phone.t.Helper()
	l.until("hold", func() bool { return !l.offered && (l.far == "sendonly" || l.far == "inactive") })
}

// retrieved waits until the other side does not hold.
func (l *leg) retrieved() {
	l.phone.t.Helper()
	l.until("the end of hold", func() bool { return !l.offered && l.far == "sendrecv" })
}

// refer transfers the call to a number, blindly.
func (l *leg) refer(number string) {
	l.phone.t.Helper()
	l.mustRequest("REFER", []string{"Refer-To: <sip:" + number + "@" + cmp.Or(l.phone.domain, l.phone.server) + ">", "Referred-By: " + l.local}, "")
}

// referTo transfers the call to the other party of another, which may ring.
func (l *leg) referTo(other *leg) {
	l.phone.t.Helper()
	other.turn.Lock()
	to := fmt.Sprintf("Refer-To: <%s?Replaces=%s>", strings.Trim(strings.Split(other.remote, ";")[0], "<>"), other.replacesEscaped())
	other.turn.Unlock()
	l.mustRequest("REFER", []string{to, "Referred-By: " + l.local}, "")
}

// replacesEscaped names the call in the URI of a REFER.
func (l *leg) replacesEscaped() string {
	tag := func(party string) string { return tagParameter.FindStringSubmatch(party)[1] }
	return fmt.Sprintf("%s%%3Bto-tag%%3D%s%%3Bfrom-tag%%3D%s", l.callID, tag(l.remote), tag(l.local))
}

// info presses keys that go by INFO.
func (l *leg) info(keys string) {
	l.phone.t.Helper()
	for _, key := range keys {
		l.mustRequest("INFO", []string{"Content-Type: application/dtmf-relay"}, fmt.Sprintf("Signal=%c\r\nDuration=160\r\n", key))
	}
}

const eventType, voiceType, silence, eventKeys = 101, 8, 0xD5, "0123456789*#ABCD"

// speak sends the voice and the keys of all calls, a packet every 20 ms, as telephones do: FreeSWITCH does nothing with a
// call from which no voice comes.
func (p *telephone) speak() {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
			p.state.Lock()
			for _, l := range p.legs {
				if l.status == 200 && !l.over && !p.voiceless {
					l.send()
				}
			}
			p.state.Unlock()
		case <-p.t.Context().Done():
			return
		}
	}
}

// send sends the next packet. The caller holds phone.state.
func (l *leg) send() {
	to, err := net.ResolveUDPAddr("udp", l.media)
	if err != nil {
		return
	}
	kind, stamp, payload := []byte{0x80, voiceType}, l.clock, bytes.Repeat([]byte{l.sound}, 160)
	if len(l.pressed) > 0 { // the stamp of an event is that of its first packet
		press := l.pressed[0]
		l.pressed = l.pressed[1:]
		kind[1], stamp, payload = eventType, l.clock-uint32(160*press.nth), press.payload
		if press.nth == 0 {
			kind[1] |= 0x80
		}
	}
	l.sequence++
	l.clock += 160
	packet := octets.BigEndian.AppendUint16(kind, l.sequence)
	packet = octets.BigEndian.AppendUint32(packet, stamp)
	packet = octets.BigEndian.AppendUint32(packet, 0x1234)
	_, _ = l.phone.voice.WriteTo(append(packet, payload...), to)
}

// keyPacket is one packet of a telephone event (RFC 4733).
type keyPacket struct {
	nth     int // of its event
	payload []byte
}

// press presses keys that go with the voice, and waits until they are sent. FreeSWITCH may drop what comes with the first
// packets.
func (l *leg) press(keys string) {
	l.phone.t.Helper()
	l.until("the first voice", func() bool { return l.sequence > settledVoice })
	var packets []keyPacket
	for _, key := range keys {
		code := strings.IndexRune(eventKeys, key)
		if code < 0 {
			l.phone.t.Fatalf("there is no key %c", key)
		}
		for i := range 8 {
			length, flags := min(i+1, 5)*160, byte(10)
			if i >= 5 { // the end, three times
				flags |= 0x80
			}
			packets = append(packets, keyPacket{i, octets.BigEndian.AppendUint16([]byte{byte(code), flags}, uint16(length))})
		}
	}
	l.phone.state.Lock()
	l.pressed = append(l.pressed, packets...)
	l.phone.state.Unlock()
	l.until("the last key", func() bool { return len(l.pressed) == 0 })
}

// listenToVoice notes the keys and the voice that come.
func (p *telephone) listenToVoice() {
	buffer := make([]byte, 2000)
	var last uint32
	for {
		n, from, err := p.voice.ReadFrom(buffer)
		if err != nil {
			return
		}
		if n < 16 {
			continue
		}
		p.state.Lock()
		for _, l := range p.legs {
			if l.media != from.String() || l.over {
				continue
			}
			switch kind, stamp := buffer[1]&0x7f, octets.BigEndian.Uint32(buffer[4:]); {
			case kind == voiceType && bytes.Count(buffer[12:n], buffer[12:13]) == n-12:
				l.listening[buffer[12]]++
			case kind == voiceType:
				l.music++
			case kind == eventType && buffer[13]&0x80 != 0 && stamp != last && int(buffer[12]) < len(eventKeys):
				last = stamp
				l.digits += eventKeys[buffer[12] : buffer[12]+1]
			}
		}
		p.state.Unlock()
	}
}

// hearsKeys waits until keys have come as telephone events.
func (l *leg) hearsKeys(keys string) {
	l.phone.t.Helper()
	l.until("the keys "+keys, func() bool { return strings.Contains(l.digits, keys) })
}

// hearsMusic waits until music, a tone or a message comes from now on.
func (l *leg) hearsMusic() {
	l.phone.t.Helper()
	l.phone.state.Lock()
	before := l.music
	l.phone.state.Unlock()
	l.until("music", func() bool { return l.music > before+1 })
}

var sounds atomic.Int32

// settledVoice is how many packets pass before FreeSWITCH does what it is told in a call: it waits for ten.
const settledVoice = 12

// hearEachOther waits until what each of two telephones says comes to the other one, undecoded.
func hearEachOther(a, b *leg) {
	a.phone.t.Helper()
	for _, pair := range [][2]*leg{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		sound := byte(sounds.Add(1)%100) + 1
		from.until("the call", func() bool { from.sound = sound; return true })
		to.until("voice of "+from.phone.number, func() bool { return to.listening[sound] > settledVoice })
	}
}

// unregister ends the registration of a telephone.
func (p *telephone) unregister() {
	p.t.Helper()
	if m := p.register(0); m.code() != 200 {
		p.t.Fatal(m.start)
	}
}
