package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
	"github.com/tr87proxy/tr87proxy/wire/soap"
)

// Limits of subscriptions.
const (
	maxSubscriptions = 4 // of an association
	maxPushing       = maxSubscriptions * maxOfIdentity
	longestTerm      = time.Hour
	usualTerm        = 10 * time.Minute
	sinkTime         = 10 * time.Second // for a delivery
	firstPause       = time.Second      // after a delivery that failed
	longestPause     = 30 * time.Second
	patience         = 5 * time.Minute // with a sink that takes nothing
	maxRefused       = 10              // events in a row that a sink answers with a fault
)

// subscription pushes the messages of an association to a sink.
type subscription struct {
	a       *association
	id      string
	manager string // URL
	to      soap.Endpoint
	end     *soap.Endpoint
	channel soap.Channel
	client  *http.Client
	stop    context.CancelFunc

	// guarded by the association's mu
	expires time.Time
	timer   *time.Timer
	status  string // of SubscriptionEnd; "": none is sent
	why     string
}

// eventing serves the requests of WS-Eventing.
func (x *exchange) eventing() {
	a := x.own()
	if a == nil {
		return
	}
	defer a.exit()
	switch x.envelope.Body.Name() {
	case "Subscribe":
		x.subscribe(a)
	case "Renew", "GetStatus", "Unsubscribe":
		x.manage(a)
	default:
		x.fail(x.envelope.Fault(soap.Client, "WS-Eventing has no such request"))
	}
}

func (x *exchange) subscribe(a *association) {
	now := time.Now()
	want, fault := x.envelope.Subscription(now)
	if fault != nil {
		x.fail(fault)
		return
	}
	from := x.caller.Opening.Addr
	private := func(sink netip.Addr) bool { return x.server.cfg.Private(from, sink) }
	for _, to := range []*soap.Endpoint{&want.To, want.End} {
		if to != nil && !webhook.MayReach(to.URL.Hostname(), private) {
			x.fail(x.envelope.Unable("events go to public addresses, and on the ports of CSTA-XML to the address of the client; the key soap.private-sinks allows private ones"))
			return
		}
	}
	done, ok := x.server.push(a)
	if !ok {
		x.fail(x.envelope.Unable(fmt.Sprintf("an identity has %d subscriptions at most, with those whose sinks do not know yet that they have ended", maxPushing)))
		return
	}
	id := rand.Text()
	s := &subscription{a: a, id: id, to: want.To, end: want.End, channel: x.envelope.Channel(want)}
	s.client = x.server.clients(private)
	s.manager = strings.TrimSuffix(x.server.base(x.r)+path.Dir(x.r.URL.EscapedPath()), "/") + "/subscriptions/" + id
	granted := term(want.Expires)
	s.expires = now.Add(granted.After)
	ctx, stop := context.WithCancel(x.server.ctx)
	s.stop = stop
	a.mu.Lock()
	if a.gone || len(a.subscriptions) >= maxSubscriptions {
		a.mu.Unlock()
		stop()
		done()
		x.fail(x.envelope.Unable(fmt.Sprintf("a client has %d subscriptions at most", maxSubscriptions)))
		return
	}
	a.subscriptions[id] = s
	s.timer = time.AfterFunc(granted.After, func() { s.expire() })
	last := a.queue.last()
	x.server.group.Go(func() { // Close waits once the association is gone
		defer done()
		s.run(ctx, last)
	})
	a.mu.Unlock()
	x.server.log.Info("subscription began", "front", name, "identity", a.session.Identity().String(), "sink", s.to.URL.Host, "expires", granted.After)
	x.answer("", x.envelope.Subscribed(s.manager, id, granted, now))
}

// push counts a subscription of an association for its identity until done is called, and returns false if it has too many.
func (s *Server) push(a *association) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := a.who
	if s.pushing[who] >= maxPushing {
		return nil, false
	}
	s.pushing[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		less(s.pushing, who)
	}, true
}

// term returns how long a subscription is granted.
func term(asked soap.Expiry) soap.Expiry {
	if asked.After == 0 {
		asked.After = usualTerm
	}
	asked.After = min(asked.After, longestTerm)
	return asked
}

// manage serves Renew, GetStatus and Unsubscribe. The address that the client was given, or its identifier, names the
// subscription.
func (x *exchange) manage(a *association) {
	id := x.envelope.ID
	if at, _ := path.Split(x.r.URL.Path); id == "" && strings.HasSuffix(at, "/subscriptions/") {
		id = path.Base(x.r.URL.Path)
	}
	now := time.Now()
	left, fault := a.manage(id, x.envelope, now)
	if fault != nil {
		x.fail(fault)
		return
	}
	x.answer("", x.envelope.Managed(left, now))
}

// manage carries a request about a subscription out, and returns how long the subscription is still granted.
func (a *association) manage(id string, e *soap.Envelope, now time.Time) (soap.Expiry, *soap.Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.subscriptions[id]
	if s == nil {
		return soap.Expiry{}, e.Unknown()
	}
	left := soap.Expiry{After: max(s.expires.Sub(now), time.Second)}
	switch e.Body.Name() {
	case "Renew":
		var asked soap.Expiry
		for _, c := range e.Body.Children() {
			if c.Name() != "Expires" {
				continue
			}
			var fault *soap.Fault
			if asked, fault = e.Expiry(c, now); fault != nil {
				return left, fault
			}
		}
		left = term(asked)
		s.expires = now.Add(left.After)
		s.timer.Reset(left.After)
	case "Unsubscribe":
		s.finish("", "the client has unsubscribed")
	}
	return left, nil
}

// expire ends a subscription that nobody has renewed.
func (s *subscription) expire() {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	if time.Until(s.expires) <= 0 {
		s.finish("SourceCanceling", "the subscription has expired")
	}
}

// finish ends the subscription. The caller holds the association's mu.
func (s *subscription) finish(status, why string) {
	if s.a.subscriptions[s.id] != s {
		return
	}
	delete(s.a.subscriptions, s.id)
	s.timer.Stop()
	s.status, s.why = status, why
	s.stop()
}

// errFault says that a sink has answered with a fault: it has got the event.
var errFault = errors.New("the sink responds with a fault")

// run delivers messages after a number, one at a time and in order, until the subscription ends.
func (s *subscription) run(ctx context.Context, at uint64) {
	defer share.Survive(s.a.server.log, "pushing events over SOAP", nil)
	defer s.client.CloseIdleConnections()
	defer s.goodbye()
	refused := 0
	for ctx.Err() == nil {
		items, lost, open := s.a.queue.read(ctx, at, 1)
		switch {
		case lost:
			s.fail("the sink did not keep up with the events")
			return
		case len(items) == 0 && !open:
			s.fail("the session has ended")
			return
		case len(items) == 0:
			continue
		}
		err := s.deliver(ctx, items[0])
		switch {
		case errors.Is(err, errFault):
			if refused++; refused == maxRefused {
				s.fail("the sink has answered many events with a fault")
				return
			}
		case err != nil:
			s.fail(err.Error())
			return
		default:
			refused = 0
		}
		at = items[0].number
	}
}

// fail ends the subscription because of its sink.
func (s *subscription) fail(why string) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	s.finish("DeliveryFailure", why)
}

// goodbye tells the sink that the subscription has ended.
func (s *subscription) goodbye() {
	s.a.mu.Lock()
	status, why := s.status, s.why
	s.a.mu.Unlock()
	s.a.server.log.Info("subscription ended", "front", name, "identity", s.a.session.Identity().String(), "sink", s.to.URL.Host, "reason", why)
	if status == "" || s.end == nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.a.server.ctx, sinkTime)
	defer cancel()
	envelope, action := s.channel.End(s.end, s.manager, s.id, status, why)
	_, _ = s.send(ctx, s.end, envelope, action)
}

// deliver sends a message until the sink has it. A sink that cannot be reached gets it again, with growing pauses.
func (s *subscription) deliver(ctx context.Context, i item) error {
	if !s.a.enter() { // a sink that takes events keeps its client's session
		return errors.New("the session has ended")
	}
	defer s.a.exit()
	give := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		envelope, action := s.channel.Event(&s.to, soap.Action(i.edition, i.name), i.text)
		once, cancel := context.WithTimeout(ctx, sinkTime)
		status, err := s.send(once, &s.to, envelope, action)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && status/100 == 2:
			return nil
		case err == nil && status == http.StatusUnsupportedMediaType && s.channel.Version == soap.V12: // the Subscribe was written by other software than the sink
			s.channel.Version = soap.V11
			continue
		case err == nil && (status == http.StatusInternalServerError || status == http.StatusBadRequest):
			return errFault
		case errors.Is(err, webhook.ErrAddress):
			return webhook.ErrAddress
		case err == nil && status/100 == 3:
			return errors.New("the sink redirects, which is not followed")
		case time.Now().After(give):
			return errors.New("the sink has taken no event for long")
		}
		gate.Sleep(ctx, pause)
	}
}

// send sends an envelope once.
func (s *subscription) send(ctx context.Context, to *soap.Endpoint, envelope []byte, action string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL.String(), bytes.NewReader(envelope))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", s.channel.Version.ContentType(action))
	if s.channel.Version == soap.V11 {
		r.Header.Set("SOAPAction", `"`+action+`"`)
	}
	r.Header.Set("User-Agent", "tr87proxy")
	res, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 4096)
	return res.StatusCode, nil
}
