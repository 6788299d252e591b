package registrar

import (
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/tasks"
	"github.com/tr87proxy/tr87proxy/sip"
)

const (
	userSubscriptions   = 50    // for each user
	peerSubscriptions   = 20000 // for the telephones of each peer
	maxSubscriptions    = 50000 // in all
	longestSubscription = time.Hour
)

// subscription is the subscription of a telephone to an event package. It handles its dialog.
type subscription struct {
	server *Server
	by     *user  // the subscriber
	model  *Model // of the subscriber; nil if it is not in the table
	of     string // the number whose state it is about
	pkg    *Package
	event  string // value of Event in its NOTIFYs
	place  *share.Entry
	sends  tasks.Queue // sends its NOTIFYs in the order of their versions

	version int // used by tasks only

	// guarded by server.mu
	dialog  *sip.Dialog
	expires time.Time
	sent    map[string]string // last text sent, by the name of the document
	stale   bool              // a task that sends changes is queued
	closed  bool
}

// subscribe handles a SUBSCRIBE that opens a dialog.
func (s *Server) subscribe(r *sip.Request) {
	seal := s.digest.Seal(r)
	u := s.authenticate(r, r.From())
	if u == nil || !s.paced(u, r) {
		return
	}
	event, params, _ := strings.Cut(r.Header("Event"), ";")
	pkg := s.eventPackage(strings.TrimSpace(event))
	if pkg == nil {
		r.Respond(s.badEvent())
		return
	}
	sub := s.subscription(u, pkg)
	if id, ok := (sip.Address{Params: params}).Param("id"); ok { // RFC 6665 8.2.1
		sub.event += ";id=" + id
	}
	sub.model = s.modelOf(r.Header("User-Agent"))
	if pkg.Others != nil {
		sub.of = Number(r.URI())
	}
	wait, fault := lasting(r)
	switch {
	case fault != nil:
		r.Respond(*fault)
		return
	case pkg.Others != nil && !pkg.Others(sub.of):
		r.Respond(sip.Answer{Code: 404})
		return
	case !s.enter(sub, r.Peer().Addr.Addr()):
		r.Respond(sip.Answer{Code: 403, Reason: "Too many subscriptions"})
		return
	}
	d, err := r.Subscribe(sub, sip.Answer{Headers: expiresHeader(wait)})
	if err != nil {
		s.leave(sub)
		return
	}
	s.mu.Lock()
	sub.dialog, sub.expires = d, time.Now().Add(wait)
	holds := s.digest.Holds(u.Name, seal) // else the password has changed since it was proved
	if holds && !sub.closed {
		s.watchers[sub] = struct{}{}
	}
	s.mu.Unlock()
	if !holds {
		s.unsubscribe(sub)
		return
	}
	sub.change(r)
	s.sendAll(sub)
	if wait == 0 { // a fetch (RFC 6665 4.4.3)
		s.unsubscribe(sub)
	}
}

// eventPackage returns the package of this name, or nil.
func (s *Server) eventPackage(event string) *Package {
	for i := range s.cfg.Packages {
		if s.cfg.Packages[i].Event == event {
			return &s.cfg.Packages[i]
		}
	}
	return nil
}

// badEvent refuses a package, and names the supported ones (RFC 6665 4.1.2.2).
func (s *Server) badEvent() sip.Answer {
	a := sip.Answer{Code: 489}
	events := make([]string, 0, len(s.cfg.Packages))
	for _, p := range s.cfg.Packages {
		events = append(events, p.Event)
	}
	if len(events) > 0 {
		a.Headers = []sip.Header{{Name: "Allow-Events", Value: strings.Join(events, ", ")}}
	}
	return a
}

// subscription makes a subscription of a user to the user's own state.
func (s *Server) subscription(by *user, pkg *Package) *subscription {
	sub := &subscription{server: s, by: by, of: by.Number, pkg: pkg, event: pkg.Event, sent: map[string]string{}}
	sub.sends = s.queue("notifying a subscriber", func(error) { sub.fail() })
	return sub
}

// enter takes a place for a subscription of a user at an address. It returns false at the limit.
func (s *Server) enter(sub *subscription, from netip.Addr) bool {
	s.mu.Lock()
	many := sub.by.watching >= userSubscriptions
	if !many {
		sub.by.watching++
	}
	s.mu.Unlock()
	if many {
		return false
	}
	place, err := s.places.Enter(from, true, nil) // its user is authenticated, so it keeps its place
	if err != nil {
		s.mu.Lock()
		sub.by.watching--
		s.mu.Unlock()
		return false
	}
	sub.place = place
	return true
}

// leave gives up the place of a subscription. It returns false if that was done already.
func (s *Server) leave(sub *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.closed {
		return false
	}
	sub.closed = true
	sub.by.watching--
	sub.place.Leave()
	delete(s.watchers, sub)
	return true
}

// fail ends a subscription whose telephone cannot be notified any more.
func (sub *subscription) fail() {
	s := sub.server
	s.leave(sub)
	s.mu.Lock()
	d := sub.dialog
	s.mu.Unlock()
	d.Drop()
}

// lasting returns the lifetime that a SUBSCRIBE asks for.
func lasting(r *sip.Request) (time.Duration, *sip.Answer) {
	value := r.Header("Expires")
	if value == "" {
		return longestSubscription, nil
	}
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return 0, &sip.Answer{Code: 400, Reason: "Malformed Expires"}
	}
	return min(time.Duration(n)*time.Second, longestSubscription), nil
}

func expiresHeader(wait time.Duration) []sip.Header {
	return []sip.Header{{Name: "Expires", Value: strconv.Itoa(int(wait / time.Second))}}
}

// Request implements sip.DialogHandler: a SUBSCRIBE refreshes the subscription, ends it, or asks for a
// change.
func (sub *subscription) Request(d *sip.Dialog, r *sip.Request) {
	s := sub.server
	if r.Method() != "SUBSCRIBE" {
		r.Respond(sip.Answer{Code: 405})
		return
	}
	if s.authenticate(r, r.From()) != sub.by {
		r.Respond(sip.Answer{Code: 403}) // unless it was challenged
		return
	}
	if !s.paced(sub.by, r) {
		return
	}
	wait, fault := lasting(r)
	if fault != nil {
		r.Respond(*fault)
		return
	}
	r.Respond(sip.Answer{Headers: expiresHeader(wait)})
	s.mu.Lock()
	sub.dialog, sub.expires = d, time.Now().Add(wait) // the first may arrive before subscribe continues
	s.mu.Unlock()
	asked := sub.change(r)
	switch {
	case wait == 0:
		s.unsubscribe(sub)
	case asked != "":
		s.repeat(sub, asked)
	default:
		s.sendAll(sub)
	}
}

// change carries out the request in a SUBSCRIBE, and returns the name of the document that it changes, or "" if
// there is no request.
func (sub *subscription) change(r *sip.Request) string {
	if sub.pkg.Change == nil || len(r.Body()) == 0 {
		return ""
	}
	return sub.pkg.Change(sub.by.Number, r.ContentType(), r.Body())
}

// Owner implements [Owner].
func (sub *subscription) Owner() string { return sub.by.Number }

// Refresh implements sip.DialogHandler; subscriptions have no session.
func (sub *subscription) Refresh() (contentType string, body []byte) { return "", nil }

// Ended implements sip.DialogHandler: the telephone no longer knows the subscription.
func (sub *subscription) Ended(error) { sub.server.leave(sub) }

// unsubscribe ends a subscription.
func (s *Server) unsubscribe(sub *subscription) {
	sub.sends.Must(func() {
		if !s.leave(sub) {
			return
		}
		s.mu.Lock()
		d := sub.dialog
		s.mu.Unlock()
		d.Send("NOTIFY", "", nil, func(sip.Result) { d.Drop() },
			sip.Header{Name: "Event", Value: sub.event}, sip.Header{Name: "Subscription-State", Value: "terminated;reason=timeout"})
	})
}

// expireSubscriptions ends subscriptions that have expired.
func (s *Server) expireSubscriptions(now time.Time) {
	s.mu.Lock()
	var expired []*subscription
	for sub := range s.watchers {
		if now.After(sub.expires) {
			expired = append(expired, sub)
		}
	}
	s.mu.Unlock()
	for _, sub := range expired {
		s.unsubscribe(sub)
	}
}

// Changed notifies the subscribers of an extension, to these events, of what has changed since the last NOTIFY.
func (s *Server) Changed(number string, events ...string) {
	s.mu.Lock()
	var list []*subscription
	for sub := range s.watchers {
		if sub.of == number && slices.Contains(events, sub.pkg.Event) {
			list = append(list, sub)
		}
	}
	s.mu.Unlock()
	for _, sub := range list {
		s.sendNew(sub)
	}
}

// later queues a task of a subscription.
func (sub *subscription) later(task func()) {
	if !sub.sends.Do(task) {
		sub.server.Report(slog.LevelWarn, sub.by.Number, "dropped the subscription of a telephone that asks for more than it takes", "event", sub.pkg.Event)
		sub.fail()
	}
}
