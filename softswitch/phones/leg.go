package phones

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch/media"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const sdpType = "application/sdp"

// leg is a dialog with one telephone, or with a trunk, and its voice. Tasks send everything to the
// telephone, in order. The server's lock guards its state.
type leg struct {
	server *Server
	device string // extension or trunk
	trunk  *trunk // nil: an extension's telephone
	voice  *media.Leg
	tasks  *tasks.Queue  // of its extension, or its own for a trunk
	over   chan struct{} // closed when the leg is closed

	count   sync.Mutex
	waiting int  // its tasks in the queue
	closed  bool // it takes no more tasks

	// guarded by server.mu
	key                 int // key of the connection that it carries
	up                  bool
	auto                bool      // its INVITE asked the telephone to answer automatically
	rang                string    // the call that it rings for
	early               bool      // it has early media
	sent                bool      // it was sent an answer to its offer
	held                bool      // its user holds the call
	ended               bool      // nothing more is sent
	second              time.Time // the second in which keys were counted
	keys                int
	slow                bool   // too many tasks wait, which has been logged
	rejected            bool   // the switch knows that it ends
	callID              string // Call-ID of its dialog; "" until it has one
	localTag, remoteTag string
	referral            *referral // it stays until its telephone knows what became of this transfer
	lobby               *media.Room
	lobbied             bool

	// used by tasks only
	dialog     *sip.Dialog
	winner     *fork           // the telephone that answered
	invitation *sip.Invitation // INVITE of a calling telephone, until it is answered
	offered    bool            // the INVITE had no offer, so our response has one
	answer     []byte          // answer to its offer
	said       int             // code of the last provisional response
	refusal    *ending         // why the call fails, while the announcement of that is heard
	wants      media.Direction // last direction offered to the telephone
	asking     bool            // a re-INVITE is outstanding
	next       media.Direction // what to offer after it
	talked     bool
	resumed    bool                              // the telephone was told to retrieve the call
	aside      bool                              // the switch holds the call because its user took another one
	shows      string                            // the number that the telephone shows
	brief      bool                              // it ends once it is answered
	refers     int                               // how many REFERs have come
	telephone  string                            // identifies the telephone among those of the extension
	cancels    map[*fork]context.CancelCauseFunc // cancel the INVITEs without a final response
	further    []sip.Invite                      // to send if the trunk's peer refuses the one before
	tried      map[string]bool                   // Request-URIs that the trunk's peer has redirected to
	worst      *failure                          // the most informative one of its telephones; nil before the first
	hungUp     bool
}

// fork is one of the telephones that ring for a leg. It handles the dialog with this telephone.
type fork struct {
	*leg
	request sip.Invite // that it was sent
	// used by tasks only
	left    bool   // its dialog has ended
	session []byte // last session description in a provisional response
	tag     string // To tag of that
}

// newLeg opens a leg of a device. address is the source of its signalling. The caller must end it or dispose of
// it.
func (s *Server) newLeg(device string, t *trunk, address netip.Addr) (*leg, error) {
	l := &leg{
		server: s, device: device, trunk: t, over: make(chan struct{}),
		cancels: map[*fork]context.CancelCauseFunc{}, wants: media.SendRecv,
	}
	s.mu.Lock()
	line := s.line(device)
	s.mu.Unlock()
	if l.tasks = line.tasks; t != nil { // the calls of a trunk have nothing to do with each other
		l.tasks = s.legTasks()
	}
	var err error
	if l.voice, err = s.engine.Open(address, l); err != nil {
		return nil, err
	}
	l.voice.Encrypt(s.cfg.Encryption[device])
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.group.Add(1) // until it closes, because it may start goroutines
		s.all[l] = struct{}{}
		line.legs[l] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		l.voice.Close()
		return nil, sip.ErrShutdown
	}
	return l, nil
}

// do queues a task of the leg. The tasks of all legs of an extension run one after the other: what its
// telephone sends in several calls is handled in the order in which it came. do returns false, and drops the
// task, if too many wait.
func (l *leg) do(task func()) bool {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	return l.queue(task)
}

// queue is do for callers that hold the server's lock.
func (l *leg) queue(task func()) bool {
	if l.enter(task, l.tasks.Do) {
		return true
	}
	if !l.slow && !l.ended {
		l.slow = true
		l.server.log.Warn("dropped work for a telephone that has too much waiting", "device", l.device)
	}
	return false
}

// must is do without a limit, for essential tasks. It returns false if the leg has ended.
func (l *leg) must(task func()) bool { return l.enter(task, l.tasks.Must) }

// enter adds a task to the queue by put, unless the leg is closed.
func (l *leg) enter(task func(), put func(func()) bool) bool {
	l.count.Lock()
	defer l.count.Unlock()
	taken := !l.closed && put(func() { l.perform(task) })
	if taken {
		l.waiting++
	}
	return taken
}

// perform runs a task, and closes the leg afterwards if it has nothing left to do. A panic ends the leg alone.
func (l *leg) perform(task func()) {
	l.count.Lock()
	l.waiting--
	l.count.Unlock()
	defer l.settle()
	defer share.Survive(l.server.log, "a telephone's call", l.fail)
	task()
}

// settle closes the leg if it has nothing left to do.
func (l *leg) settle() {
	if !l.finished() {
		return
	}
	l.count.Lock()
	closes := l.waiting == 0 && !l.closed
	l.closed = l.closed || closes
	l.count.Unlock()
	if closes {
		l.close()
	}
}

// fail ends the leg after a panic in one of its tasks.
func (l *leg) fail(error) {
	for f, cancel := range l.cancels { // their responses are no longer handled
		cancel(endNormal.reason)
		delete(l.cancels, f)
	}
	l.hangUp(endNormal)
	l.gone("")
}

// finished reports whether the leg has nothing left to do.
func (l *leg) finished() bool {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	return l.ended && l.hungUp && len(l.cancels) == 0
}

// close releases the resources of the leg. A task calls it when the leg is finished, with none of
// its INVITEs outstanding.
func (l *leg) close() {
	s := l.server
	defer s.group.Done()
	s.mu.Lock()
	delete(s.all, l)
	delete(s.line(l.device).legs, l)
	if s.legs[l.key] == l {
		delete(s.legs, l.key)
	}
	lobby := l.lobby
	close(l.over)
	s.mu.Unlock()
	l.takeBack()
	l.voice.Close()
	if lobby != nil {
		lobby.Close()
	}
}

// ending is why a leg ends, in terms of SIP.
type ending struct {
	code    int              // for a call that was not answered
	headers []sip.Header     // beside the code
	reason  sip.CancelReason // for a call that rings, so that it does not count as missed
}

var (
	endNormal    = ending{code: 480}
	endElsewhere = ending{code: 480, reason: `SIP;cause=200;text="Call completed elsewhere"`}
)

// end ends the leg with CANCEL, BYE or an error response. The switch knows of it already.
func (l *leg) end(why ending) {
	l.server.mu.Lock()
	l.rejected = true
	l.server.mu.Unlock()
	l.must(func() { l.hangUp(why) })
}

func (l *leg) hangUp(why ending) {
	l.server.mu.Lock()
	l.ended = true
	l.server.mu.Unlock()
	l.hungUp = true
	for _, cancel := range l.cancels {
		cancel(why.reason)
	}
	switch {
	case len(l.cancels) > 0 && l.winner == nil: // cancelled
	case l.invitation != nil:
		if l.refusal != nil {
			why = *l.refusal
		}
		l.invitation.Reject(sip.Answer{Code: why.code, Headers: why.headers})
		l.invitation = nil
	case l.dialog != nil:
		l.dialog.Bye()
		l.dialog = nil
	}
}

// gone reports to the switch that the telephone has left the call, unless the switch knows. cause is why; "" for nothing
// special.
func (l *leg) gone(cause uacsta.EventCause) {
	s := l.server
	s.mu.Lock()
	tell, ref := !l.rejected, l.referral
	key := l.detach()
	s.mu.Unlock()
	if tell {
		s.sw.HungUp(l.device, key, cause)
	}
	if ref != nil {
		s.sw.Keep(ref.device, ref.party, l)
	}
}

// detach separates the leg from its connection, which will be cleared. Callers hold the server's
// lock.
func (l *leg) detach() (key int) {
	s := l.server
	l.rejected, l.ended = true, true
	if s.legs[l.key] == l {
		delete(s.legs, l.key)
		s.leaving[l.key] = true
	}
	return l.key
}

// Ended implements sip.DialogHandler: the dialog of a telephone that was called counts if it is the one that
// answered.
func (f *fork) Ended(reason error) {
	if errors.Is(reason, sip.ErrLocalBye) {
		return
	}
	f.must(func() {
		if f.left = true; f.winner == f {
			f.dialog, f.hungUp = nil, true
			f.gone(ended(reason))
		}
	})
}

// Ended implements sip.DialogHandler: the calling telephone has ended its call.
func (l *leg) Ended(reason error) {
	if errors.Is(reason, sip.ErrLocalBye) {
		return
	}
	l.must(func() {
		l.dialog, l.hungUp = nil, true
		l.gone(ended(reason))
	})
}

// Owner implements registrar.Owner.
func (l *leg) Owner() string {
	if l.trunk != nil {
		return ""
	}
	return l.device
}

// Refresh implements sip.DialogHandler: it offers the current voice again.
func (l *leg) Refresh() (contentType string, body []byte) {
	l.server.log.Debug("session refreshed", "device", l.device, "connection", l.keyNow())
	return sdpType, l.voice.Offer(l.voice.Flow())
}

// Dead implements media.Watcher: no voice has come for too long, or none may be sent.
func (l *leg) Dead(reason error) {
	if errors.Is(reason, media.ErrHandshake) {
		l.server.log.Warn("cleared a call: no keys for the voice of its telephone", "device", l.device, "err", reason)
	} else {
		l.server.log.Warn("cleared a call: no voice from its telephone", "device", l.device, "err", reason)
	}
	l.must(func() {
		l.hangUp(endNormal)
		l.gone("")
	})
}

// Digit implements media.Watcher: the user pressed a key.
func (l *leg) Digit(digit rune) {
	s, now := l.server, time.Now()
	s.mu.Lock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.keys = now, 0
	}
	l.keys++
	key, count := l.key, l.keys
	s.mu.Unlock()
	switch {
	case count <= maxKeys:
		s.sw.Digit(l.device, key, digit)
	case count == maxKeys+1:
		s.log.Warn("dropped keys that a telephone sends faster than anybody presses them", "device", l.device)
	}
}

// maxKeys is how many keys of one telephone in a second become events.
const maxKeys = 40

// speaker returns the peer that sends session descriptions in the leg's dialog.
func (l *leg) speaker() media.Peer {
	if l.dialog == nil {
		return media.Peer{}
	}
	return speaks(l.dialog.Peer())
}

// speaks returns a SIP peer in the form that package media uses.
func speaks(p sip.Peer) media.Peer { return media.Peer{Addr: p.Addr.Addr(), Secure: p.Secure()} }

// progress sends a calling telephone a provisional response.
func (l *leg) progress(code int) {
	if l.invitation == nil || l.said == code || l.said == 183 && code == 180 {
		return
	}
	l.said = code
	a := sip.Answer{Code: code}
	if code == 183 {
		l.answer = l.matched()
		a.ContentType, a.Body = sdpType, l.answer
		l.server.mu.Lock()
		l.sent = true
		l.server.mu.Unlock()
	}
	d, err := l.invitation.Progress(l, a)
	if err == nil {
		l.named(d)
	}
	if code == 183 {
		l.voice.Begin()
	}
}

// announce has a calling telephone hear an announcement before its call fails, which then calls fails.
func (l *leg) announce(clip *audio.Clip, why ending, fails func()) {
	if l.invitation == nil || l.refusal != nil {
		return
	}
	l.refusal = &why
	l.progress(183)
	time.AfterFunc(clip.Duration(), func() { l.must(fails) })
}

// accept answers a calling telephone.
func (l *leg) accept() {
	if l.invitation == nil {
		return
	}
	in := l.invitation
	l.invitation = nil
	body := l.matched()
	if l.offered {
		body = l.voice.Propose(media.SendRecv, in.Peer().Secure())
	}
	var headers []sip.Header
	if number, name := l.talksWith(); number != "" {
		headers = l.asserted(number, name)
	}
	d, err := in.Accept(l, sip.Answer{ContentType: sdpType, Body: body, Headers: headers})
	if err != nil {
		l.hungUp = true
		l.gone("")
		return
	}
	l.dialog = d
	l.named(d)
	if !l.offered {
		l.voice.Begin()
	}
	s := l.server
	s.mu.Lock()
	l.up = true
	l.early = l.early || !l.offered
	key := l.key
	s.mu.Unlock()
	s.kickKey(key)
	if !l.offered { // else the ACK says it
		l.agreed()
	}
}

// named stores the Call-ID and tags of the dialog, by which other telephones can replace it.
func (l *leg) named(d *sip.Dialog) {
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	if l.ended {
		return
	}
	l.callID = d.CallID()
	l.localTag, l.remoteTag = d.Tags()
	l.server.changed[l.device] = true
}
