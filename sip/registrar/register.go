package registrar

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

// register handles REGISTER.
func (s *Server) register(r *sip.Request) {
	seal := s.digest.Seal(r)
	u := s.authenticate(r, r.To())
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
	if !s.digest.Holds(u.Name, seal) { // the password has changed since it was proved
		s.mu.Unlock()
		r.Respond(sip.Answer{Code: 403})
		return
	}
	before := slices.Clone(u.bindings)
	crowded, a := s.update(u, contacts, all, r, uint32(cseq), now)
	if a != nil {
		s.mu.Unlock()
		r.Respond(*a)
		return
	}
	s.flows.note(r.Flow(), u)
	answer = u.listed(now)
	stored := s.stored(u)
	changed := len(u.bindings) != len(before) || slices.ContainsFunc(u.bindings, func(b *binding) bool { return !slices.Contains(before, b) })
	s.mu.Unlock()
	s.keep(u, stored, changed)
	s.restand(u) // first, so that who has the response can be called
	r.Respond(*answer)
	for _, b := range crowded {
		s.Report(slog.LevelInfo, u.Number, "dropped the registration of a telephone to make room for another", "contact", share.Clip(b.contact))
	}
	s.left(u, before)
	if !r.Flow().Alive() { // it was lost meanwhile, perhaps before it was stored
		s.lost(r.Flow())
	}
}

// wanted is a contact of a REGISTER.
type wanted struct {
	uri, instance string
	expires       time.Duration
}

// contacts returns the contacts of a REGISTER. all is true for "*", which removes all bindings and stands alone
// (RFC 3261 10.3).
func (s *Server) contacts(r *sip.Request) (list []wanted, all bool, fault *sip.Answer) {
	bad := &sip.Answer{Code: 400, Reason: "Malformed Contact"}
	otherwise := s.cfg.MaxExpires
	if value := r.Header("Expires"); value != "" {
		otherwise = lifetime(value)
	}
	values := sip.SplitList(r.Values("Contact"))
	if slices.Contains(values, "*") {
		if otherwise != 0 || len(values) > 1 {
			return nil, false, bad
		}
		return nil, true, nil
	}
	for _, value := range values {
		w, ok := contact(value, otherwise)
		if !ok {
			return nil, false, bad
		}
		if w.expires > 0 && w.expires < s.cfg.MinExpires {
			return nil, false, &sip.Answer{Code: 423, Headers: []sip.Header{{Name: "Min-Expires", Value: strconv.Itoa(int(s.cfg.MinExpires / time.Second))}}}
		}
		w.expires = min(w.expires, s.cfg.MaxExpires)
		list = append(list, w)
	}
	return list, false, nil
}

// contact parses one contact. Without a lifetime of its own, it has that of the request.
func contact(value string, expires time.Duration) (w wanted, ok bool) {
	a := sip.ParseAddress(value)
	w = wanted{uri: a.URI, expires: expires}
	if u := sip.ParseURI(a.URI); u.Host == "" || len(a.URI) > 512 {
		return w, false
	}
	if e, ok := a.Param("expires"); ok {
		w.expires = lifetime(e)
	}
	if instance, ok := a.Param("+sip.instance"); ok {
		id, _ := a.Param("reg-id")
		w.instance = instance + ";" + id
	}
	return w, true
}

// lifetime returns the time in a header Expires or a parameter expires, in seconds. A malformed one stands for an
// hour (RFC 3261 10.2.1.1, 20.19), one above 2^32-1 s for that.
func lifetime(text string) time.Duration {
	seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return time.Hour
	}
	return time.Duration(seconds) * time.Second
}

// overtaken refuses a REGISTER that arrives after a later one (RFC 3261 10.3).
var overtaken = &sip.Answer{Code: 500, Reason: "Overtaken"}

// update changes a user's bindings, all or none (RFC 3261 10.3). It returns those that had to make room for others.
// Callers hold the server's lock.
func (s *Server) update(u *user, contacts []wanted, all bool, r *sip.Request, cseq uint32, now time.Time) (crowded []*binding, fault *sip.Answer) {
	callID := r.Header("Call-ID")
	next := slices.Clone(u.bindings)
	if all {
		for _, b := range next {
			if b.callID == callID && cseq <= b.cseq {
				return nil, overtaken
			}
		}
		next = slices.DeleteFunc(next, func(b *binding) bool { return !b.static })
	}
	talks := strings.Contains(strings.Join(r.Values("Allow-Events"), ","), "talk")
	agent := r.Header("User-Agent")
	replaced := map[*binding]*binding{}
	for _, w := range contacts {
		i := slices.IndexFunc(next, func(b *binding) bool {
			return w.instance != "" && b.instance == w.instance || b.contact == w.uri
		})
		if i >= 0 && next[i].callID == callID && cseq <= next[i].cseq {
			return nil, overtaken
		}
		var old *binding
		if i >= 0 {
			old = next[i]
			next = slices.Delete(next, i, i+1)
		}
		if w.expires > 0 {
			fresh := &binding{
				contact: w.uri, instance: w.instance, flow: r.Flow(), callID: callID, cseq: cseq, expires: now.Add(w.expires), seen: now, talks: talks,
				agent: agent, model: s.modelOf(agent),
			}
			replaced[fresh] = old
			next = append(next, fresh)
		}
	}
	if len(replaced) > s.cfg.MaxContacts {
		return nil, &sip.Answer{Code: 403, Reason: "Too many contacts"}
	}
	if surplus := len(next) - s.cfg.MaxContacts; surplus > 0 {
		crowded = dispensable(next, replaced, now)
		crowded = crowded[:min(surplus, len(crowded))]
		next = slices.DeleteFunc(next, func(b *binding) bool { return slices.Contains(crowded, b) })
	}
	for i, b := range next {
		if old := replaced[b]; old != nil {
			next[i] = b.instead(old)
		}
	}
	u.bindings = next
	return crowded, nil
}

// dispensable returns the bindings that may make room for fresh ones, in this order: those that cannot be reached come
// first, then those that have not registered for longest.
func dispensable(all []*binding, fresh map[*binding]*binding, now time.Time) []*binding {
	list := slices.DeleteFunc(slices.Clone(all), func(b *binding) bool {
		_, isFresh := fresh[b]
		return isFresh || b.static
	})
	slices.SortStableFunc(list, func(a, b *binding) int {
		if reachable := a.reachable(now); reachable != b.reachable(now) {
			if reachable {
				return 1
			}
			return -1
		}
		return a.seen.Compare(b.seen)
	})
	return list
}

// instead returns the binding after a REGISTER that replaces another one. The same telephone refreshes the old
// binding, which keeps its session. With another Call-ID, contact or flow, the telephone has restarted.
func (b *binding) instead(old *binding) *binding {
	if old.callID != b.callID || old.contact != b.contact || old.flow != b.flow {
		return b
	}
	old.cseq, old.expires, old.seen, old.talks, old.missed = b.cseq, b.expires, b.seen, b.talks, 0
	return old
}

// listed returns the response to a REGISTER, with all bindings. Callers hold the server's lock.
func (u *user) listed(now time.Time) *sip.Answer {
	a := &sip.Answer{Code: 200}
	for _, b := range u.bindings {
		if left := b.expires.Sub(now); left > 0 {
			a.Headers = append(a.Headers, sip.Header{Name: "Contact", Value: "<" + b.contact + ">;expires=" + strconv.Itoa(int(left.Round(time.Second)/time.Second))})
		}
	}
	return a
}
