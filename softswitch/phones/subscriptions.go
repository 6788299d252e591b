package phones

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/sip"
)

// The event packages that telephones may subscribe to (RFC 6665).
const (
	featurePackage = "as-feature-event"
	waitingPackage = "message-summary" // RFC 3842
	dialogPackage  = "dialog"          // RFC 4235
)

const (
	userSubscriptions   = 50    // of one user
	peerSubscriptions   = 20000 // of the telephones of one peer
	maxSubscriptions    = 50000 // in all
	longestSubscription = time.Hour
)

// subscription is a telephone that wants to know of its features, or of who is called. It
// stands for it in its dialog.
type subscription struct {
	server *Server
	by     *user // who subscribed
	of     *user // whom it is about
	event  string
	place  *share.Entry
	tells  queue // of what it is told, so that it comes in the order of its versions

	// of tasks
	version int

	// guarded by server.mu
	dialog  *sip.Dialog
	expires time.Time
	sent    map[string]string // what it was told last, by document
	stale   bool              // a task will look what has changed
	over    bool
}

// subscribe handles a SUBSCRIBE that opens a dialog.
func (s *Server) subscribe(r *sip.Request) {
	u := s.account(r, r.From())
	if u == nil || !s.paced(u, r) {
		return
	}
	event, _, _ := strings.Cut(r.Header("Event"), ";")
	sub := s.subscription(u, strings.TrimSpace(event))
	switch sub.event {
	case featurePackage, waitingPackage:
	case dialogPackage:
		s.mu.Lock()
		sub.of = s.users[number(r.URI())]
		s.mu.Unlock()
	default:
		r.Respond(sip.Answer{Code: 489, Headers: []sip.Header{{Name: "Allow-Events", Value: strings.Join([]string{featurePackage, waitingPackage, dialogPackage}, ", ")}}})
		return
	}
	wait, fault := lasting(r)
	switch {
	case fault != nil:
		r.Respond(*fault)
		return
	case sub.of == nil:
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
	if !sub.over {
		s.watchers[sub] = struct{}{}
	}
	s.mu.Unlock()
	sub.changed(r)
	s.tellAll(sub)
	if wait == 0 { // only a question (RFC 6665 4.4.3)
		s.unsubscribe(sub)
	}
}

// subscription makes what a user subscribes to; about the user itself until more is known.
func (s *Server) subscription(by *user, event string) *subscription {
	sub := &subscription{server: s, by: by, of: by, event: event, sent: map[string]string{}}
	sub.tells = s.queue("telling a telephone", func(error) { sub.fail() })
	return sub
}

// enter takes a place for a subscription of a user at an address.
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
	place, err := s.places.Enter(from, true, nil) // its user is known: it does not give way
	if err != nil {
		s.mu.Lock()
		sub.by.watching--
		s.mu.Unlock()
		return false
	}
	sub.place = place
	return true
}

// leave ends what is kept of a subscription; false when that has ended already.
func (s *Server) leave(sub *subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.over {
		return false
	}
	sub.over = true
	sub.by.watching--
	sub.place.Leave()
	delete(s.watchers, sub)
	return true
}

// fail ends a subscription that cannot be told any more.
func (sub *subscription) fail() {
	s := sub.server
	s.leave(sub)
	s.mu.Lock()
	d := sub.dialog
	s.mu.Unlock()
	d.Drop()
}

// lasting reads how long a subscription is to last.
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

// Request implements sip.DialogHandler: the subscription is refreshed, ended, or, of
// features, changes something.
func (sub *subscription) Request(d *sip.Dialog, r *sip.Request) {
	s := sub.server
	if r.Method() != "SUBSCRIBE" {
		r.Respond(sip.Answer{Code: 405})
		return
	}
	if s.account(r, r.From()) != sub.by {
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
	sub.dialog, sub.expires = d, time.Now().Add(wait) // the first may come before subscribe goes on
	s.mu.Unlock()
	asked := sub.changed(r)
	switch {
	case wait == 0:
		s.unsubscribe(sub)
	case asked != "":
		s.repeat(sub, asked)
	default:
		s.tellAll(sub)
	}
}

// Refresh implements sip.DialogHandler; subscriptions have no session.
func (sub *subscription) Refresh() (contentType string, body []byte) { return "", nil }

// Ended implements sip.DialogHandler: the telephone knows nothing of it any more.
func (sub *subscription) Ended(error) { sub.server.leave(sub) }

// unsubscribe ends a subscription.
func (s *Server) unsubscribe(sub *subscription) {
	sub.tells.must(func() {
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

// expireSubscriptions ends those whose time is over.
func (s *Server) expireSubscriptions(now time.Time) {
	s.mu.Lock()
	var over []*subscription
	for sub := range s.watchers {
		if now.After(sub.expires) {
			over = append(over, sub)
		}
	}
	s.mu.Unlock()
	for _, sub := range over {
		s.unsubscribe(sub)
	}
}

// document is one thing that a subscription is told.
type document struct{ name, kind, text string }

// documents are all that a subscription is to know.
func (s *Server) documents(sub *subscription) []document {
	switch sub.event {
	case featurePackage:
		return s.featureDocuments(sub.of)
	case waitingPackage:
		return []document{s.waitingDocument(sub)}
	}
	return []document{s.dialogDocument(sub)}
}

// later has a telephone told something, behind all that it was told before.
func (sub *subscription) later(tell func()) {
	if !sub.tells.do(tell) {
		sub.server.report(slog.LevelWarn, sub.by.Number, "a telephone asks for more than it takes: its subscription ends", "event", sub.event)
		sub.fail()
	}
}

// tellAll sends everything.
func (s *Server) tellAll(sub *subscription) {
	sub.later(func() { s.tell(sub, s.documents(sub)) })
}

// tellNew sends what has changed since.
func (s *Server) tellNew(sub *subscription) {
	s.mu.Lock()
	waits := sub.stale
	sub.stale = true
	s.mu.Unlock()
	if waits {
		return
	}
	sub.later(func() {
		s.mu.Lock()
		sub.stale = false
		s.mu.Unlock()
		var fresh []document
		for _, d := range s.documents(sub) {
			s.mu.Lock()
			if sub.sent[d.name] != d.text {
				fresh = append(fresh, d)
			}
			s.mu.Unlock()
		}
		if len(fresh) > 0 {
			s.tell(sub, fresh)
		}
	})
}

// repeat sends one document, changed or not: the telephone has asked for a change of it. It sends
// none of a feature that the user does not have.
func (s *Server) repeat(sub *subscription, name string) {
	sub.later(func() {
		s.tell(sub, slices.DeleteFunc(s.documents(sub), func(d document) bool { return d.name != name }))
	})
}

// tell sends documents as one NOTIFY. It is called by tasks of the subscription.
func (s *Server) tell(sub *subscription, documents []document) {
	s.mu.Lock()
	if sub.over {
		s.mu.Unlock()
		return
	}
	for _, d := range documents {
		sub.sent[d.name] = d.text
	}
	version := sub.version
	sub.version++
	left := max(time.Until(sub.expires).Round(time.Second), 0)
	d := sub.dialog
	s.mu.Unlock()
	state := fmt.Sprintf("active;expires=%d", left/time.Second)
	kind, body := "", ""
	switch len(documents) {
	case 0:
	case 1:
		kind, body = documents[0].kind, strings.Replace(documents[0].text, `version="VERSION"`, fmt.Sprintf(`version="%d"`, version), 1)
	default:
		kind = `multipart/mixed;boundary=fks`
		var b strings.Builder
		for _, doc := range documents {
			fmt.Fprintf(&b, "--fks\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s\r\n", doc.kind, len(doc.text), doc.text)
		}
		b.WriteString("--fks--\r\n")
		body = b.String()
	}
	d.Send("NOTIFY", kind, []byte(body), nil, sip.Header{Name: "Event", Value: sub.event}, sip.Header{Name: "Subscription-State", Value: state})
}

// watching returns the subscriptions to an event of a user.
func (s *Server) watching(of string, events ...string) []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*subscription
	for sub := range s.watchers {
		if sub.of.Number == of && slices.Contains(events, sub.event) {
			list = append(list, sub)
		}
	}
	return list
}
