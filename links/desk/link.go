package desk

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/sip/registrar"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Link is a link to desk phones. It implements proxy.Link. Each life has a registrar of its own.
type Link struct {
	listen []Listening

	mu   sync.Mutex
	cfg  registrar.Config
	life *life // nil while it does not run
	// before has the registrations of the previous life. Telephones do not know of lives, so their
	// registrations must survive (RFC 3261 10.3).
	before map[string][]registrar.Registration
}

// Listening is an address at which telephones register.
type Listening struct {
	Transport string // udp, tcp or tls
	Address   string
	TLS       *tls.Config // for tls
}

// life is one life of a link. It implements registrar.Upcalls.
type life struct {
	telephones *registrar.Server
	log        *slog.Logger
	up         proxy.Upcalls
	fail       context.CancelCauseFunc // ends the life

	mu     sync.Mutex
	open   bool           // it takes requests
	asking sync.WaitGroup // running calls of Request, which start only while it is open
	phones map[string]*phone
	owners map[string]string // the number of the telephone that has a monitor, by our cross reference
	last   int               // last cross reference given
}

// phone is a telephone.
type phone struct {
	can      uacsta.Features
	monitors map[string]*monitor // by our cross reference
	served   bool                // the core knows that it has a session; used by tasks of the telephone's queue only
}

var _ proxy.ConnectionKeeper = (*Link)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: a request that names connections goes to
// the telephone whose device they all have. That telephone has only its own calls, and refuses an
// unknown callID.
func (*Link) KeepsConnections() {}

// New makes a link to the telephones of the users of cfg, with these listeners. It opens nothing before
// Run.
func New(cfg registrar.Config, listen []Listening) *Link {
	cfg.Users = slices.Clone(cfg.Users)
	for i := range cfg.Users {
		cfg.Users[i].UACSTA = registrar.Always
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, listen: listen}
}

// Run implements proxy.Link. The link is ready before any telephone has registered.
func (d *Link) Run(ctx context.Context, up proxy.Upcalls) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	l := d.begin(up, fail)
	defer d.end(l)
	for _, at := range d.listen {
		if err := l.listen(at); err != nil {
			return err
		}
	}
	l.telephones.Start()
	l.mu.Lock()
	l.open = true
	l.mu.Unlock()
	up.Ready()
	<-ctx.Done()
	return context.Cause(ctx)
}

// begin starts a life.
func (d *Link) begin(up proxy.Upcalls, fail context.CancelCauseFunc) *life {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &life{log: d.cfg.Log, up: up, fail: fail, phones: map[string]*phone{}, owners: map[string]string{}}
	cfg := d.cfg
	cfg.Before = d.before
	for _, u := range cfg.Users {
		l.phones[u.Number] = &phone{monitors: map[string]*monitor{}}
	}
	l.telephones, d.life = registrar.New(cfg, l), l
	return l
}

// end ends a life, and waits until everything of it has stopped.
func (d *Link) end(l *life) {
	l.mu.Lock()
	l.open = false
	l.mu.Unlock()
	d.mu.Lock()
	d.life, d.before = nil, l.telephones.Registrations(d.cfg.Users)
	d.mu.Unlock()
	l.telephones.Close()
	l.asking.Wait()
}

// listen opens a listener.
func (l *life) listen(at Listening) (err error) {
	if at.Transport == "udp" {
		_, err = l.telephones.UA().ListenUDP(at.Address)
	} else {
		_, err = l.telephones.UA().ListenTCP(at.Address, at.TLS)
	}
	if err == nil {
		l.log.Info("listening", "transport", "desk/"+at.Transport, "address", at.Address)
	}
	return err
}

// SetPasswords is SetPasswords of [registrar.Server], for this life and the next ones.
func (d *Link) SetPasswords(users []registrar.User) []string {
	d.mu.Lock()
	var changed []string
	next := slices.Clone(d.cfg.Users)
	for i, u := range next {
		if next[i].Password = registrar.PasswordOf(users, u.Number, u.Name); next[i].Password != u.Password {
			changed = append(changed, u.Number)
			delete(d.before, u.Number)
		}
	}
	d.cfg.Users = next
	l := d.life
	d.mu.Unlock()
	if l != nil {
		l.telephones.SetPasswords(users)
	}
	slices.Sort(changed)
	return changed
}

// current returns the running life, or nil.
func (d *Link) current() *life {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.life
}

// Features implements proxy.FeatureLister with what the telephone has said about itself.
func (d *Link) Features(device string) uacsta.Features {
	l := d.current()
	if l == nil {
		return uacsta.Features{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.phones[device]; p != nil {
		return p.can
	}
	return uacsta.Features{}
}

// Request implements proxy.Link: the telephone that the request is about carries it out, after
// those that came before. Its events wait for the response.
func (d *Link) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l := d.current()
	if l == nil || !l.enter() {
		reply(nil, registrar.ErrTelephone)
		return
	}
	defer l.asking.Done()
	number, _, err := l.addressee(req)
	if err != nil {
		reply(nil, err)
		return
	}
	away := true // the telephone has no session
	l.telephones.Request(number, func(n *registrar.Session) (*uacsta.Message, error) {
		away = false
		_, m, err := l.addressee(req) // the telephone may have given its monitor another reference
		if err != nil {
			return nil, err
		}
		if l.keepsAlone(req, number) {
			return nil, errHere
		}
		outward(m, number, n.Own())
		return m, nil
	}, func(res *uacsta.Message, err error) {
		switch {
		case err != nil && l.keepsAlone(req, number):
			res, err = uacsta.Accept(req, uacsta.Edition3), nil
		case away && errors.Is(err, registrar.ErrTelephone) && l.defers(req, reply, number):
			return
		}
		if err == nil && res != nil {
			inward(res, number)
			l.monitors(req, res, number)
		}
		l.deliver(func() { reply(res, err) })
	})
}

// enter reports whether the life accepts a request, and counts it. The caller calls asking.Done when Request
// returns.
func (l *life) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.asking.Add(1)
	}
	return l.open
}

// deliver calls the core. A panic in it ends the life.
func (l *life) deliver(call func()) {
	defer share.Survive(l.log, "telling the core what a telephone does", l.fail)
	call()
}

// Standing implements registrar.Upcalls. It does nothing, because Session tells the core enough.
func (*life) Standing(string, registrar.Standing) {}

// Ask implements registrar.Upcalls. It refuses, because the link is not a switching function for telephones.
func (*life) Ask(string, *registrar.Model, *uacsta.Message) (*uacsta.Message, error) {
	return nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
}

var _ registrar.Upcalls = (*life)(nil)

// plain returns the number in a SIP URI of a telephone. It returns other text unchanged.
func plain(id string) string {
	if u := sip.ParseURI(id); (u.Scheme == "sip" || u.Scheme == "sips") && u.User != "" {
		return u.User
	}
	return id
}
