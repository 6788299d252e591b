package phones

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
)

// binding is one telephone that has registered (RFC 3261 10).
type binding struct {
	contact  string // URI
	instance string // +sip.instance and reg-id (RFC 5626), "" for none
	flow     sip.Flow
	callID   string
	cseq     uint32
	expires  time.Time
	talks    bool
	missed   int  // questions in a row that were not answered
	secure   bool // it came over TLS
	asking   bool
	csta     csta
	static   bool   // it is written in the configuration, and registers not
	agent    string // its header User-Agent
	model    *Model // nil: not in the table
}

// reachable reports whether calls can be sent to it.
func (b *binding) reachable(now time.Time) bool {
	return now.Before(b.expires) && b.missed < 2 && (b.static || b.flow.Alive())
}

// peer says where the telephone is.
func (b *binding) peer() string {
	if b.static {
		return b.contact
	}
	return b.flow.Peer().String()
}

// account finds the user who sends a request, and challenges who has not said so. The
// address of record must be the user's own.
func (s *Server) account(r *sip.Request, of sip.Address) *user {
	name, err := s.digest.Check(r)
	switch {
	case errors.Is(err, accounts.ErrWrong):
		s.cfg.Refused(r.Peer().String(), name, "wrong password")
		s.warnWrong(name, r.Peer())
		return nil
	case errors.Is(err, sip.ErrChallenged):
		return nil
	case err != nil:
		s.cfg.Refused(r.Peer().String(), name, err.Error())
		if s.strangers.ShouldLog(r.Peer().Addr.Addr(), time.Now()) {
			s.log.Warn("telephones are refused after too many wrong passwords", "user", name, "peer", r.Peer().String(), "err", err, "silent", proxy.StrangerPause)
		}
		return nil
	}
	u := s.accounts[name]
	if who := sip.ParseURI(of.URI).User; who != u.Number && who != u.Name {
		if s.paced(u, r) {
			s.report(slog.LevelWarn, u.Number, "a telephone speaks for another", "user", name, "as", share.Clip(who), "peer", r.Peer().String())
			r.Respond(sip.Answer{Code: 403})
		}
		return nil
	}
	return u
}

// guess is a user whose password somebody tries, and from where.
type guess struct {
	user string
	from netip.Prefix
}

// warnWrong says in the log that a telephone's password is wrong: once a second for each user and
// address.
func (s *Server) warnWrong(user string, peer sip.Peer) {
	s.wrong.Log(s.log, slog.LevelWarn, guess{strings.Clone(user), share.Of(peer.Addr.Addr())}, "wrong password of a telephone", "user", user, "peer", peer.String())
}

// heard is what a device makes us say.
type heard struct{ device, what string }

// report says in the log what a device does: of each kind one line a second, with how many were not
// told.
func (s *Server) report(level slog.Level, device, what string, args ...any) {
	s.hush.Log(s.log, level, heard{device, what}, what, append([]any{"device", device}, args...)...)
}

// knows reports whether a request came the way that a telephone of the user has registered.
func (s *Server) knows(name string, r *sip.Request) bool {
	u := s.accounts[name]
	if u == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(u.bindings, func(b *binding) bool { return !b.static && b.flow == r.Flow() })
}

// Telephones register and subscribe so often, each extension from each peer.
const (
	paceRate  = 10 // in a second
	paceBurst = 100
)

// pace is who is at which peer.
type pace struct {
	number string
	from   netip.Prefix
}

// paced reports whether a user's REGISTER or SUBSCRIBE is not one too many, and refuses it if
// it is. It asks after the password is proved: others count nothing against a user.
func (s *Server) paced(u *user, r *sip.Request) bool {
	now, from := time.Now(), r.Peer().Addr.Addr()
	if s.paces.Take(pace{u.Number, share.Of(from)}, paceRate, paceBurst, now) {
		return true
	}
	if s.strangers.ShouldLog(from, now) {
		s.log.Warn("a telephone registers or subscribes too often", "device", u.Number, "peer", r.Peer().String(), "silent", proxy.StrangerPause)
	}
	r.Respond(sip.Answer{Code: 503, Headers: []sip.Header{{Name: "Retry-After", Value: "10"}}})
	return false
}

// register handles REGISTER.
func (s *Server) register(r *sip.Request) {
	seal := s.digest.Seal(r)
	u := s.account(r, r.To())
	if u == nil || !s.paced(u, r) {
		return
	}
	cseq, err := strconv.ParseUint(strings.Fields(r.Header("CSeq"))[0], 10, 32)
	if err != nil {
		r.Respond(sip.Answer{Code: 400})
		return
	}
	contacts, all, answer := s.contacts(r)
	if answer != nil {
		r.Respond(*answer)
		return
	}
	now := time.Now()
	s.mu.Lock()
	if !s.digest.Holds(u.Name, seal) { // it was changed since it was proved
		s.mu.Unlock()
		r.Respond(sip.Answer{Code: 403})
		return
	}
	before := slices.Clone(u.bindings)
	if a := u.update(contacts, all, r, uint32(cseq), s.cfg.MaxContacts, s.modelOf, now); a != nil {
		s.mu.Unlock()
		r.Respond(*a)
		return
	}
	s.flows.note(r.Flow(), u)
	answer = u.listed(now)
	keep := u.kept(s.store.seal(u))
	changed := len(u.bindings) != len(before) || slices.ContainsFunc(u.bindings, func(b *binding) bool { return !slices.Contains(before, b) })
	s.mu.Unlock()
	s.store.keepBindings(u.Number, keep, changed)
	r.Respond(*answer)
	s.left(u, before)
	s.service(u)
	if !r.Flow().Alive() { // it was lost meanwhile, perhaps before it was noted
		s.lost(r.Flow())
	}
}

// wanted is a contact of a REGISTER.
type wanted struct {
	uri, instance string
	expires       time.Duration
}

// modelOf finds a telephone in the table, nil when it is not there.
func (s *Server) modelOf(agent string) *Model {
	for i := range s.cfg.Models {
		if s.cfg.Models[i].Agent.MatchString(agent) {
			return &s.cfg.Models[i]
		}
	}
	return nil
}

// contacts reads the contacts of a REGISTER; all is "*".
func (s *Server) contacts(r *sip.Request) (list []wanted, all bool, fault *sip.Answer) {
	bad := &sip.Answer{Code: 400, Reason: "Malformed Contact or Expires"}
	otherwise := s.cfg.MaxExpires
	if value := r.Header("Expires"); value != "" {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return nil, false, bad
		}
		otherwise = time.Duration(n) * time.Second
	}
	for _, value := range sip.SplitList(r.Values("Contact")) {
		if value == "*" {
			if otherwise != 0 || len(r.Values("Contact")) > 1 {
				return nil, false, bad
			}
			return nil, true, nil
		}
		a := sip.ParseAddress(value)
		w := wanted{uri: a.URI, expires: otherwise}
		if u := sip.ParseURI(a.URI); u.Host == "" || len(a.URI) > 512 {
			return nil, false, bad
		}
		if e, ok := a.Param("expires"); ok {
			n, err := strconv.ParseUint(e, 10, 32)
			if err != nil {
				return nil, false, bad
			}
			w.expires = time.Duration(n) * time.Second
		}
		if instance, ok := a.Param("+sip.instance"); ok {
			id, _ := a.Param("reg-id")
			w.instance = instance + ";" + id
		}
		if w.expires > 0 && w.expires < s.cfg.MinExpires {
			return nil, false, &sip.Answer{Code: 423, Headers: []sip.Header{{Name: "Min-Expires", Value: strconv.Itoa(int(s.cfg.MinExpires / time.Second))}}}
		}
		w.expires = min(w.expires, s.cfg.MaxExpires)
		list = append(list, w)
	}
	return list, false, nil
}

// update changes a user's bindings, all or none (RFC 3261 10.3). Callers hold the
// server's lock.
func (u *user) update(contacts []wanted, all bool, r *sip.Request, cseq uint32, most int, model func(string) *Model, now time.Time) *sip.Answer {
	callID := r.Header("Call-ID")
	next := slices.Clone(u.bindings)
	if all {
		for _, b := range next {
			if b.callID == callID && cseq <= b.cseq {
				return &sip.Answer{Code: 500, Reason: "Overtaken"}
			}
		}
		next = slices.DeleteFunc(next, func(b *binding) bool { return !b.static })
	}
	talks := strings.Contains(strings.Join(r.Values("Allow-Events"), ","), "talk")
	replaced := map[*binding]*binding{}
	for _, w := range contacts {
		i := slices.IndexFunc(next, func(b *binding) bool {
			return w.instance != "" && b.instance == w.instance || b.contact == w.uri
		})
		if i >= 0 && next[i].callID == callID && cseq <= next[i].cseq {
			return &sip.Answer{Code: 500, Reason: "Overtaken"}
		}
		var old *binding
		if i >= 0 {
			old = next[i]
			next = slices.Delete(next, i, i+1)
		}
		if w.expires > 0 {
			fresh := &binding{
				contact: w.uri, instance: w.instance, flow: r.Flow(), callID: callID, cseq: cseq, expires: now.Add(w.expires), talks: talks,
				secure: r.Peer().Secure(), agent: r.Header("User-Agent"), model: model(r.Header("User-Agent")),
			}
			replaced[fresh] = old
			next = append(next, fresh)
		}
	}
	if len(next) > most {
		return &sip.Answer{Code: 403, Reason: "Too many contacts"}
	}
	for i, b := range next {
		if old := replaced[b]; old != nil {
			next[i] = b.instead(old)
		}
	}
	u.bindings = next
	return nil
}

// instead is the binding that one from a REGISTER makes of the one before it: a refresh by
// the same telephone goes on with what there is; another Call-ID, contact or way is a
// telephone that has started anew.
func (b *binding) instead(old *binding) *binding {
	if old.callID != b.callID || old.contact != b.contact || old.flow != b.flow {
		return b
	}
	old.cseq, old.expires, old.talks, old.missed = b.cseq, b.expires, b.talks, 0
	return old
}

// listed is the answer to a REGISTER. Callers hold the server's lock.
func (u *user) listed(now time.Time) *sip.Answer {
	a := &sip.Answer{Code: 200}
	for _, b := range u.bindings {
		if left := b.expires.Sub(now); left > 0 {
			a.Headers = append(a.Headers, sip.Header{Name: "Contact", Value: "<" + b.contact + ">;expires=" + strconv.Itoa(int(left.Round(time.Second)/time.Second))})
		}
	}
	return a
}

// kept is what is kept of a user, under the seal of its password. Callers hold the server's
// lock.
func (u *user) kept(seal string) []kept {
	list := make([]kept, 0, len(u.bindings))
	for _, b := range u.bindings {
		if b.static {
			continue
		}
		k := kept{Contact: b.contact, CallID: b.callID, CSeq: b.cseq, Instance: b.instance, Expires: b.expires, Talks: b.talks, Agent: b.agent, Seal: seal}
		if p := b.flow.Peer(); p.Transport == "UDP" {
			k.Source = p.Addr.String()
		}
		list = append(list, k)
	}
	return list
}

// restore takes up the registrations of before a restart, as far as there is a way to the
// telephone: connections are gone, datagrams find it again.
func (s *Server) restore() {
	now := time.Now()
	for number, list := range s.restored {
		u := s.users[number]
		for _, k := range list {
			source, err := netip.ParseAddrPort(k.Source)
			if u == nil || err != nil || now.After(k.Expires) {
				continue
			}
			if k.Seal != "" && k.Seal != s.store.seal(u) {
				s.log.Info("a registration was made with another password", "device", number)
				continue
			}
			flow, err := s.ua.FlowTo(source)
			if err != nil {
				s.log.Info("no way to a telephone that had registered", "device", number, "err", err)
				continue
			}
			s.mu.Lock()
			if !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.contact == k.Contact }) { // it has not registered anew yet
				u.bindings = append(u.bindings, &binding{
					contact: k.Contact, instance: k.Instance, flow: flow, callID: k.CallID, cseq: k.CSeq, expires: k.Expires, talks: k.Talks, agent: k.Agent, model: s.modelOf(k.Agent),
				})
			}
			s.mu.Unlock()
			s.guard.Succeeded(u.Name, source.Addr())
		}
	}
	s.restored = nil
	for _, u := range s.users {
		if u.Contact != "" {
			s.mu.Lock()
			u.bindings = append(u.bindings, &binding{contact: u.Contact, static: true, expires: now.AddDate(100, 0, 0)})
			s.mu.Unlock()
		}
		s.service(u)
	}
}

// service tells the switch whether a user can be reached.
func (s *Server) service(u *user) {
	u.telling.Lock()
	defer u.telling.Unlock()
	s.mu.Lock()
	now := time.Now()
	reachable, talks, physical := false, u.Talks, false
	for _, b := range u.bindings {
		if b.reachable(now) {
			reachable = true
			physical = physical || b.csta.client != nil
			talks = talks || b.talks || physical || b.model != nil && b.model.Answer != nil
		}
	}
	changed := reachable != u.inUse || talks != u.talks || physical != u.physical
	logged := reachable != u.inUse
	u.inUse, u.talks, u.physical = reachable, talks, physical
	s.mu.Unlock()
	if logged {
		s.log.Info("telephone", "device", u.Number, "reachable", reachable)
	}
	if changed {
		s.sw.InService(u.Number, reachable, talks)
		s.sw.SetPhysical(u.Number, physical)
	}
}

// expire takes out registrations whose time is over.
func (s *Server) expire(now time.Time) {
	for _, u := range s.users {
		s.mu.Lock()
		before := slices.Clone(u.bindings)
		u.bindings = slices.DeleteFunc(u.bindings, func(b *binding) bool { return !now.Before(b.expires) })
		gone := len(u.bindings) < len(before)
		keep := u.kept(s.store.seal(u))
		s.mu.Unlock()
		if gone {
			s.store.keepBindings(u.Number, keep, true)
			s.left(u, before)
			s.service(u)
		}
	}
}

// flows are the users who have registered over each connection, until it is lost. The server's lock
// guards it.
type flows map[sip.Flow]map[*user]struct{}

// note notes that a user has registered. The way of datagrams is never lost.
func (f flows) note(flow sip.Flow, u *user) {
	if flow.Peer().Transport == "UDP" || !slices.ContainsFunc(u.bindings, func(b *binding) bool { return b.flow == flow }) {
		return
	}
	if f[flow] == nil {
		f[flow] = map[*user]struct{}{}
	}
	f[flow][u] = struct{}{}
}

// lost takes out registrations whose connection has gone (RFC 5626 5.3).
func (s *Server) lost(f sip.Flow) {
	s.mu.Lock()
	users := s.flows[f]
	delete(s.flows, f)
	s.mu.Unlock()
	if len(users) == 0 {
		return
	}
	s.spawn(func() {
		for u := range users {
			s.mu.Lock()
			before := slices.Clone(u.bindings)
			u.bindings = slices.DeleteFunc(u.bindings, func(b *binding) bool { return b.flow == f })
			has := len(u.bindings) < len(before)
			s.mu.Unlock()
			if has {
				s.left(u, before)
				s.service(u)
			}
		}
	})
}

const (
	qualifyWait = 4 * time.Second
	maxAsking   = 100 // questions under way
)

// qualify asks every telephone whether it is there.
func (s *Server) qualify() {
	type question struct {
		u *user
		b *binding
	}
	var ask []question
	s.mu.Lock()
	for _, u := range s.users {
		for _, b := range u.bindings {
			if !b.asking {
				b.asking = true
				ask = append(ask, question{u, b})
			}
		}
	}
	s.mu.Unlock()
	s.spawn(func() {
		room := make(chan struct{}, maxAsking)
		for _, q := range ask {
			room <- struct{}{}
			asked := s.spawn(func() {
				s.askWhether(q.u, q.b)
				<-room
			})
			if !asked {
				return
			}
		}
	})
}

func (s *Server) askWhether(u *user, b *binding) {
	ctx, cancel := context.WithTimeout(s.ctx, qualifyWait)
	defer cancel()
	_, err := s.ua.Request(ctx, "OPTIONS", sip.Invite{To: b.contact, From: s.address("tr87proxy", b), Flow: b.flow})
	s.mu.Lock()
	if b.asking = false; err == nil {
		b.missed = 0
	} else {
		b.missed++
	}
	s.mu.Unlock()
	s.service(u)
}

// address is a URI at this server, as a telephone knows it; at the telephone's own host for
// one that does not register.
func (s *Server) address(number string, b *binding) string {
	host := s.cfg.Advertise
	switch {
	case b.static:
		host = sip.ParseURI(b.contact).Host
	case host == "":
		host = b.flow.Peer().Local.Addr().String()
	}
	if number == "" {
		number = "anonymous"
	}
	return sip.UserURI(number, host)
}
