package media

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"github.com/tr87proxy/tr87proxy/internal/share"
)

// association is a DTLS association with a telephone on one of the sockets of a leg. Its handshake makes the keys of
// SRTP (RFC 5764). It is the net.PacketConn that package dtls reads and writes records by.
type association struct {
	leg     *Leg
	index   int // onVoice or onReports
	conn    *net.UDPConn
	client  bool     // we begin the handshake
	prints  []string // one of them is that of the telephone's certificate
	records chan []byte
	ended   chan struct{}
	end     func() // closes ended

	// guarded by leg.mu
	address       netip.AddrPort // of the session description that it was made for
	to            netip.AddrPort // where our records go
	started, done bool           // the handshake
	octets        int            // of the records taken
	failures      int            // of handshakes from elsewhere than the description says
	why           error          // why there are no keys before the handshake
}

// The sockets of a leg. Reports have their own association unless they go with the voice (RFC 5761).
const (
	onVoice = iota
	onReports
)

const (
	maxRecords = 16 // datagrams that wait for an association
	// maxOctets is how many octets of records an association takes, with what is repeated: package dtls would keep
	// megabytes of a handshake.
	maxOctets   = 1 << 16
	maxFailures = 8    // of handshakes from elsewhere
	dtlsMTU     = 1200 // octets; longer handshake messages are sent in fragments
	// resend is the time after which records are sent again that were not answered; it doubles each time. A second,
	// as RFC 6347 4.2.4.1 has it, is heard.
	resend = 400 * time.Millisecond
)

// ErrHandshake is given to [Watcher.Dead]: there are no keys for the voice.
var ErrHandshake = errors.New("no keys by DTLS")

var (
	errNoHello   = errors.New("the telephone has not begun the handshake")
	errSlow      = errors.New("the telephone has not completed the handshake in time")
	errNoProfile = errors.New("the telephone has no SRTP profile in common with us")
)

// associate keeps the association with a telephone, or replaces it if its certificate, its address or its role is
// another now (RFC 8842 4), or if the telephone has closed it. Callers hold l.mu.
func (l *Leg) associate(d *description) {
	client := d.setup == setupPassive
	if a := l.associations[onVoice]; a != nil {
		moved := a.address.IsValid() && d.address.IsValid() && a.address != d.address
		if !moved && !a.over() && slices.Equal(a.prints, d.prints) && (a.client == client || d.setup == setupBoth) {
			if d.address.IsValid() {
				a.address = d.address
			}
			return
		}
	}
	l.uncrypt()
	for i := range l.associations {
		l.associations[i] = l.association(i, client, d.prints, d.address)
	}
}

// association makes an association for a socket.
func (l *Leg) association(socket int, client bool, prints []string, address netip.AddrPort) *association {
	ended := make(chan struct{})
	a := &association{
		leg: l, index: socket, conn: []*net.UDPConn{l.conn, l.control}[socket], client: client, prints: prints, address: address,
		records: make(chan []byte, maxRecords), ended: ended, end: sync.OnceFunc(func() { close(ended) }), why: errNoHello,
	}
	a.to = a.described()
	return a
}

// described returns where the telephone receives records, as its description says, or the zero AddrPort.
func (a *association) described() netip.AddrPort {
	if !a.address.IsValid() {
		return a.address
	}
	return netip.AddrPortFrom(a.address.Addr(), a.address.Port()+uint16(a.index))
}

// again replaces an association by a fresh one. Callers hold leg.mu.
func (a *association) again() *association {
	a.end()
	fresh := a.leg.association(a.index, a.client, a.prints, a.address)
	fresh.failures = a.failures
	a.leg.associations[a.index] = fresh
	return fresh
}

// datagram is one that came too early: a telephone may begin the handshake before we have read its answer, or before
// Begin.
type datagram struct {
	data []byte
	from netip.AddrPort
}

// Begin says that the telephone has been sent an answer. From now on it should send voice, and we begin the handshake of
// DTLS if that is for us to do. We are the client only where the telephone insists: a server first knows that the
// telephone receives at its address, also behind NAT, and that it has our answer.
func (l *Leg) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
}

// begin is Begin for callers that hold l.mu.
func (l *Leg) begin() {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	early := l.early
	l.early = [2]datagram{}
	for i, a := range l.associations {
		if early[i].from.IsValid() {
			l.record(i, early[i].data, early[i].from)
		}
		if a != nil && a.client && a.to.IsValid() && (i == onVoice || !l.peer.mux) {
			a.start()
		}
	}
}

// isRecord reports whether a packet is a record of DTLS (RFC 7983 7).
func isRecord(data []byte) bool { return len(data) > 0 && data[0] >= 20 && data[0] <= 63 }

// Types of records (RFC 6347 4.1).
const (
	changeCipherSpec = 20
	alert            = 21
	handshake        = 22
	application      = 23
)

// sound reports whether a datagram is one of records that an association may take. Of those in clear, which can be
// anybody's, these are the handshake's; package dtls would answer others by an alert, encrypted, which ends the
// telephone's association. alerts is whether it may be an alert in clear, too.
func sound(data []byte, alerts bool) bool {
	for len(data) > 0 {
		if len(data) < recordHeader {
			return false
		}
		kind, plain, size := data[0], data[3] == 0 && data[4] == 0, int(binary.BigEndian.Uint16(data[11:]))
		data = data[recordHeader:]
		if size > len(data) {
			return false
		}
		switch {
		case kind == handshake, kind == changeCipherSpec && size == 1 && data[0] == 1:
		case kind == alert && (alerts || !plain), kind == application && !plain:
		default:
			return false
		}
		data = data[size:]
	}
	return true
}

const recordHeader = 13 // octets

// record passes a record to the association of a socket, or keeps it until Begin. Callers hold l.mu.
func (l *Leg) record(socket int, data []byte, from netip.AddrPort) {
	a := l.associations[socket]
	switch {
	case a != nil && !l.knows(from), a == nil && (!l.awaits || from.Addr() != l.signals):
	case a != nil && !l.began.IsZero():
		a.take(data, from)
	case sound(data, false):
		l.early[socket] = datagram{slices.Clone(data), from}
	}
}

// take passes a record to the handshake, which begins with it where the telephone is the client. Behind NAT, a telephone
// may be elsewhere than its description says, and so may others at its address: the one at the described port comes
// first. Callers hold leg.mu.
func (a *association) take(data []byte, from netip.AddrPort) {
	if a.started && !a.done && from != a.to {
		switch a.described() {
		case a.to:
			return
		case from:
			a = a.again()
		}
	}
	if a.octets+len(data) > maxOctets || !sound(data, a.started && !a.done && from == a.to) {
		return
	}
	select {
	case a.records <- slices.Clone(data):
	default: // the telephone will repeat it
		return
	}
	a.octets += len(data)
	if !a.done {
		a.to = from
	}
	a.start()
}

// start starts the goroutine of the association, once. Callers hold leg.mu.
func (a *association) start() {
	if !a.started && !a.leg.closed {
		a.started = true
		a.leg.group.Go(a.run)
	}
}

// run shakes hands. Afterwards it responds to records that the telephone repeats, until the association ends.
func (a *association) run() {
	defer a.end()
	defer share.Survive(a.leg.engine.cfg.Log, "a handshake for voice", a.failed)
	conn, err := a.shake()
	if err != nil {
		a.failed(err)
		return
	}
	buf := make([]byte, maxPacket)
	for !errors.Is(err, io.EOF) { // nothing else that it reads means anything here
		_, err = conn.Read(buf)
	}
	_ = conn.Close()
}

// shake performs the handshake and makes its keys effective.
func (a *association) shake() (*dtls.Conn, error) {
	conn, err := a.open()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.leg.engine.cfg.Handshake)
	defer cancel()
	switch err = conn.HandshakeContext(ctx); {
	case err == nil:
		err = a.keyed(conn)
	case ctx.Err() != nil:
		err = errSlow
	}
	if err != nil {
		a.end() // before Close, which would tell the telephone
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// over reports whether the association has ended.
func (a *association) over() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// open makes the DTLS connection.
func (a *association) open() (*dtls.Conn, error) {
	options := []dtls.Option{
		dtls.WithCipherSuites(
			dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		),
		dtls.WithSRTPProtectionProfiles(
			dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AES128_CM_HMAC_SHA1_32,
		),
		dtls.WithCertificates(a.leg.engine.identity.certificate),
		dtls.WithMTU(dtlsMTU), dtls.WithFlightInterval(resend),
		dtls.WithInsecureSkipVerify(true), // its fingerprint is what counts
		dtls.WithVerifyPeerCertificate(func(chain [][]byte, _ [][]*x509.Certificate) error { return a.verify(chain) }),
	}
	if a.client {
		list := make([]dtls.ClientOption, 0, len(options))
		for _, o := range options {
			list = append(list, o)
		}
		return dtls.ClientWithOptions(a, a.conn.LocalAddr(), list...)
	}
	list := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	for _, o := range options {
		list = append(list, o)
	}
	return dtls.ServerWithOptions(a, a.conn.LocalAddr(), list...)
}

// verify checks the telephone's certificate, the first of a chain.
func (a *association) verify(chain [][]byte) error {
	if len(chain) == 0 {
		return errStranger
	}
	return verify(chain[0], a.prints)
}

// keyed makes the keys of a completed handshake effective (RFC 5764 4.2).
func (a *association) keyed(conn *dtls.Conn) error {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errNoProfile
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errNoProfile
	}
	if err := a.verify(state.PeerCertificates); err != nil {
		return err
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, a.client); err != nil {
		return err
	}
	in, err := decrypting(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	if err != nil {
		return err
	}
	out, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return err
	}
	l := a.leg
	l.mu.Lock()
	defer l.mu.Unlock()
	a.done = true
	if l.associations[a.index] != a {
		return net.ErrClosed
	}
	if a.index == onReports {
		l.reports = ciphers{in, out}
		return nil
	}
	l.voice = ciphers{in, out}
	if l.relay == nil {
		l.to = a.to
	}
	return nil
}

// failed ends the leg if the handshake was for its voice. Without one for reports there are no reports. A handshake from
// elsewhere than the description says may have been anybody's, so the telephone can still begin its own.
func (a *association) failed(err error) {
	l := a.leg
	l.mu.Lock()
	matters := l.associations[a.index] == a && !l.closed
	if elsewhere := a.to != a.described(); matters && elsewhere && a.failures < maxFailures {
		l.engine.cfg.Log.Debug("a handshake for voice from elsewhere failed", "port", l.port, "peer", a.to.String(), "err", err)
		a.failures++
		a.again().why = err
		matters = false
	}
	l.mu.Unlock()
	switch {
	case !matters:
	case a.index == onVoice:
		l.die(fmt.Errorf("%w: %w", ErrHandshake, err))
	default:
		l.engine.cfg.Log.Debug("no keys for reports about voice", "port", l.port, "err", err)
	}
}

// ReadFrom implements net.PacketConn.
func (a *association) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case data := <-a.records:
		return copy(b, data), a.conn.LocalAddr(), nil
	case <-a.ended:
		return 0, nil, io.EOF
	}
}

// WriteTo implements net.PacketConn. Records go to where the telephone's come from.
func (a *association) WriteTo(b []byte, _ net.Addr) (int, error) {
	if a.over() {
		return 0, net.ErrClosed
	}
	a.leg.mu.Lock()
	to := a.to
	a.leg.mu.Unlock()
	return a.conn.WriteToUDPAddrPort(b, to)
}

// Close implements net.PacketConn.
func (a *association) Close() error {
	a.end()
	return nil
}

// SetReadDeadline implements net.PacketConn: package dtls sets one, in the past, only to end reading for good.
func (a *association) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		a.end()
	}
	return nil
}

// LocalAddr implements net.PacketConn.
func (a *association) LocalAddr() net.Addr { return a.conn.LocalAddr() }

// SetDeadline implements net.PacketConn; package dtls does not call it.
func (a *association) SetDeadline(at time.Time) error { return a.SetReadDeadline(at) }

// SetWriteDeadline implements net.PacketConn: writing does not wait.
func (a *association) SetWriteDeadline(time.Time) error { return nil }
