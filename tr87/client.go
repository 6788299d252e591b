package tr87

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dial configures the session of a [Client].
type Dial struct {
	To, From   string   // SIP URIs of the switching function and of the client
	Proxy      string   // URI of the proxy to send to; "" for none
	Target     string   // Request-URI; "" means To
	Flow       sip.Flow // connection or address the peer opened; zero: resolve the URI
	Line       string   // line to name in private data, as Lync clients do; "" for none
	FromParams string   // more parameters of From, such as Lync's epid
	Username   string   // for digest challenges
	Password   string
	// Account holds the name and password for an application session (ECMA-354). The zero value
	// opens none. Application is the application ID to open it with.
	Account     uacsta.Login
	Application string
	// Event receives each event, and each request of the switching function after the client
	// has answered it: in order, one at a time. It must not block.
	Event func(*uacsta.Message)
	// Ended is called once if the session ends other than by Close. It must not block.
	Ended func(error)
}

// Client is the computing function's role of TR/87: a CSTA session over a SIP dialog. Its
// methods are safe for concurrent use.
type Client struct {
	dial   Dial
	dialog *sip.Dialog

	mu      sync.Mutex
	waiting []waiter // for responses in an INFO of their own
	closing bool
	reset   *time.Timer // renews the application session; nil without one
}

type waiter struct {
	service string
	answer  chan *uacsta.Message
}

// Open opens a session over ua with an INVITE that carries RequestSystemStatus, or
// StartApplicationSession if dial has an account. It returns a [*sip.Refusal] if the INVITE is
// refused, and a [*uacsta.Error] if the switching function refuses the request. It also fails
// if the reported system status is not normal. ctx limits the opening only, not the session.
func Open(ctx context.Context, ua *sip.UA, dial Dial) (*Client, error) {
	c := &Client{dial: dial}
	opening := c.statusRequest()
	granted := waiter{service: uacsta.NameStartApplicationSession, answer: make(chan *uacsta.Message, 1)}
	if dial.Account != (uacsta.Login{}) {
		c.waiting = append(c.waiting, granted)
		defer c.forget(granted)
		start := dial.Account.Opening(dial.Application, uacsta.LoginPlain, sessionTime, uacsta.Edition6, uacsta.Edition3)
		opening = c.withLine(uacsta.Encode(start, uacsta.Edition3)).Bytes()
	}
	d, res, err := ua.Invite(ctx, sip.Invite{
		To: dial.To, Target: dial.Target, From: dial.From, Proxy: dial.Proxy, Flow: dial.Flow, FromParams: dial.FromParams, ContentType: ContentType, Body: opening,
		Headers: []sip.Header{disposition}, Username: dial.Username, Password: dial.Password,
	}, (*dialogSide)(c))
	if err != nil {
		return nil, err
	}
	c.dialog = d
	body := res.Body()
	if len(body) == 0 && dial.Account != (uacsta.Login{}) { // over UDP the response follows the ACK
		select {
		case m := <-granted.answer:
			body = m.Bytes()
		case <-ctx.Done():
			c.Close()
			return nil, ctx.Err()
		}
	}
	if err := c.opened(body); err != nil {
		c.Close()
		return nil, fmt.Errorf("opening the CSTA session: %w", err)
	}
	return c, nil
}

// sessionTime is the requested duration of an application session, which the client renews
// after half of the granted one.
const sessionTime = time.Hour

// opened checks the response to the opening request.
func (c *Client) opened(body []byte) error {
	if c.dial.Account == (uacsta.Login{}) {
		return usable(body)
	}
	m, err := uacsta.Parse(body)
	if err != nil {
		return err
	}
	id, duration, err := m.Granted()
	if err != nil || duration == 0 {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset = time.AfterFunc(duration/2, func() { c.renew(id, duration) })
	return nil
}

// renew resets the timer of the application session (ECMA-354). If that is refused, the server
// closes the session and says so.
func (c *Client) renew(id string, duration time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), duration/2)
	defer cancel()
	_, _ = c.Request(ctx, uacsta.Encode(uacsta.ResetApplicationSessionTimer{SessionID: id, RequestedSessionDuration: int(sessionTime / time.Second)}, uacsta.Edition3))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.reset.Reset(duration / 2)
	}
}

// usable returns an error unless the response reports the normal system status.
func usable(body []byte) error {
	m, err := uacsta.Parse(body)
	if err != nil {
		return err
	}
	if refusal := m.Err(); refusal != nil {
		return refusal
	}
	if status := m.Text("systemStatus"); status != string(uacsta.StatusNormal) {
		return fmt.Errorf("system status is %q, not normal", status)
	}
	return nil
}

// statusRequest returns the body that opens and refreshes the session.
func (c *Client) statusRequest() []byte {
	return c.withLine(uacsta.Encode(uacsta.RequestSystemStatus{}, uacsta.Edition3)).Bytes()
}

func (c *Client) withLine(m *uacsta.Message) *uacsta.Message {
	if c.dial.Line == "" {
		return m
	}
	return WithLine(m, c.dial.Line)
}

// Request sends one request and waits for its response, which arrives in the 200 OK or in an
// INFO of the switching function. Several requests may be outstanding. It returns a
// [*uacsta.Error] if the switching function refuses the request, and a [*sip.Refusal] for a SIP
// error. For a request that has no response it returns nil once the INFO is accepted.
func (c *Client) Request(ctx context.Context, req *uacsta.Message) (*uacsta.Message, error) {
	w := waiter{service: req.Name(), answer: make(chan *uacsta.Message, 1)}
	failed := make(chan error, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	c.mu.Unlock()
	defer c.forget(w)
	c.dialog.Send("INFO", ContentType, req.Bytes(), func(res sip.Result) {
		switch {
		case res.Err != nil:
			failed <- res.Err
		case res.Code()/100 != 2:
			failed <- &sip.Refusal{Response: res.Response}
		case len(res.Response.Body()) == 0 && req.OneWay():
			w.answer <- nil
		case len(res.Response.Body()) > 0:
			m, err := uacsta.Parse(res.Response.Body())
			if err != nil {
				failed <- err
				return
			}
			w.answer <- m
		}
	}, disposition)
	select {
	case m := <-w.answer:
		if m == nil {
			return nil, nil //nolint:nilnil // there is no answer, and nothing went wrong
		}
		if refusal := m.Err(); refusal != nil {
			return nil, refusal
		}
		return m, nil
	case err := <-failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Client) forget(w waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiting {
		if c.waiting[i].answer == w.answer {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return
		}
	}
}

// Close closes the session with BYE. Dial.Ended is not called.
func (c *Client) Close() {
	c.mu.Lock()
	c.closing = true
	if c.reset != nil {
		c.reset.Stop()
	}
	c.mu.Unlock()
	c.dialog.Bye()
}

// dialogSide implements sip.DialogHandler for a Client.
type dialogSide Client

// Ended implements sip.DialogHandler.
func (s *dialogSide) Ended(reason error) {
	c := (*Client)(s)
	c.mu.Lock()
	closing := c.closing
	c.closing = true
	if c.reset != nil {
		c.reset.Stop()
	}
	c.mu.Unlock()
	if !closing && c.dial.Ended != nil {
		c.dial.Ended(reason)
	}
}

// Refresh implements sip.DialogHandler. The re-INVITE requests the system status again.
func (s *dialogSide) Refresh() (string, []byte) { return ContentType, (*Client)(s).statusRequest() }

// Request implements sip.DialogHandler. The request carries an event, a response, or a request
// of the switching function.
func (s *dialogSide) Request(d *sip.Dialog, r *sip.Request) {
	c := (*Client)(s)
	m, _, refusal := readOpening(r)
	switch {
	case refusal != nil:
		d.RespondRefresh(r, *refusal)
		return
	case m == nil:
		d.RespondRefresh(r, sip.Answer{})
		return
	}
	switch m.Kind() {
	case uacsta.Response, uacsta.ErrorCode:
		r.Respond(sip.Answer{})
		c.answered(m)
		return
	case uacsta.Request:
		answer := sip.Answer{}
		if res := uacsta.AnswerTo(m, m.Edition()); res != nil {
			answer = sip.Answer{ContentType: ContentType, Body: res.Bytes()}
		}
		d.RespondRefresh(r, answer)
	default:
		r.Respond(sip.Answer{})
	}
	if c.dial.Event != nil {
		c.dial.Event(m)
	}
}

// answered passes a response from an INFO to the oldest request it matches.
func (c *Client) answered(m *uacsta.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiting {
		if m.Kind() == uacsta.ErrorCode || m.Name() == w.service+"Response" || m.Name() == w.service+"PosResponse" || m.Name() == w.service+"NegResponse" {
			select {
			case w.answer <- m:
			default:
				continue
			}
			return
		}
	}
}
