package phones

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/internal/share"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Desk is a link to desk phones that stand at another switch and hold, beside the account of
// their line there, one with us that serves only uaCSTA: they register here, and each is the
// switching function of its own number. It implements proxy.Link. Each life has a server of its own.
type Desk struct {
	listen []Listening

	mu   sync.Mutex
	cfg  Config
	life *deskLife // nil: it does not run
	// kept are the registrations of the life before: a telephone that was promised one does not
	// know of lives (RFC 3261 10.3).
	kept map[string][]kept
}

// Listening is an address that telephones register at.
type Listening struct {
	Transport string // udp, tcp or tls
	Address   string
	TLS       *tls.Config
}

// deskLife is one life of a link to desk phones.
type deskLife struct {
	server *Server
	up     proxy.Upcalls
	fail   context.CancelCauseFunc // ends it

	mu     sync.Mutex
	open   bool           // it takes requests
	asking sync.WaitGroup // calls of Request that go on; begun while it is open
	phones map[string]*deskPhone
	owners map[string]string // the number of the telephone that has a monitor, by our cross reference
	last   int               // cross reference that was given
}

// deskPhone is a telephone as its link knows it.
type deskPhone struct {
	can      uacsta.Features
	monitors map[string]*deskMonitor // by our cross reference
}

// deskMonitor is a monitor at a telephone.
type deskMonitor struct {
	local string          // the telephone's cross reference; "": it is to be started anew
	start *uacsta.Message // that made it, as the core wrote it
}

var _ proxy.ConnectionKeeper = (*Desk)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: a request that names connections goes to
// the telephone whose device they all have ([deskLife.addressee]), which has no calls but its own, and
// refuses a callID that it does not know.
func (*Desk) KeepsConnections() {}

// NewDesk makes a link. Of cfg, what concerns calls does not count, nor do files.
func NewDesk(cfg Config, listen []Listening) *Desk {
	cfg.Trunks, cfg.State, cfg.Music, cfg.Messages = nil, "", "", ""
	cfg.Users = slices.Clone(cfg.Users)
	for i := range cfg.Users {
		cfg.Users[i].UACSTA = Always
	}
	cfg.defaults()
	return &Desk{cfg: cfg, listen: listen}
}

// Run implements proxy.Link. It is ready before any telephone is there.
func (d *Desk) Run(ctx context.Context, up proxy.Upcalls) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	l, err := d.begin(up, fail)
	if err != nil {
		return err
	}
	defer d.end(l)
	for _, at := range d.listen {
		if err := l.server.listen(at); err != nil {
			return err
		}
	}
	l.server.start()
	l.server.converse(time.Now())
	l.mu.Lock()
	l.open = true
	l.mu.Unlock()
	up.Ready()
	<-ctx.Done()
	return context.Cause(ctx)
}

// begin makes a life.
func (d *Desk) begin(up proxy.Upcalls, fail context.CancelCauseFunc) (*deskLife, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cfg := d.cfg
	var err error
	if cfg.Switch, err = softswitch.New(softswitch.Config{}); err != nil { // it has no devices: here nobody calls
		return nil, err
	}
	l := &deskLife{up: up, fail: fail, phones: map[string]*deskPhone{}, owners: map[string]string{}}
	if l.server, err = New(cfg); err != nil {
		return nil, err
	}
	for _, u := range cfg.Users {
		l.phones[u.Number] = &deskPhone{monitors: map[string]*deskMonitor{}}
	}
	l.server.desk, l.server.restored, d.life = l, d.kept, l
	return l, nil
}

// end ends a life: nothing of it goes on when it returns.
func (d *Desk) end(l *deskLife) {
	l.mu.Lock()
	l.open = false
	l.mu.Unlock()
	d.mu.Lock()
	d.life, d.kept = nil, l.server.registrations(d.cfg.Users)
	d.mu.Unlock()
	l.server.Close()
	l.asking.Wait()
}

// listen listens at an address.
func (s *Server) listen(at Listening) (err error) {
	if at.Transport == "udp" {
		_, err = s.ua.ListenUDP(at.Address)
	} else {
		_, err = s.ua.ListenTCP(at.Address, at.TLS)
	}
	if err == nil {
		s.log.Info("listening", "transport", "desk/"+at.Transport, "address", at.Address)
	}
	return err
}

// registrations are those that were made with the passwords that hold now, with those of before that
// have not been taken up.
func (s *Server) registrations(users []User) map[string][]kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]kept{}
	for number, u := range s.users {
		if u.password() == passwordOf(users, number, u.Name) {
			all[number] = append(u.kept(""), s.restored[number]...)
		}
	}
	return all
}

// SetPasswords is as that of [Server].
func (d *Desk) SetPasswords(users []User) []string {
	d.mu.Lock()
	var changed []string
	now := slices.Clone(d.cfg.Users)
	for i, u := range now {
		if now[i].Password = passwordOf(users, u.Number, u.Name); now[i].Password != u.Password {
			changed = append(changed, u.Number)
			delete(d.kept, u.Number)
		}
	}
	d.cfg.Users = now
	l := d.life
	d.mu.Unlock()
	if l != nil {
		l.server.SetPasswords(users)
	}
	slices.Sort(changed)
	return changed
}

// now returns the life that is; nil: there is none.
func (d *Desk) now() *deskLife {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.life
}

// Features implements proxy.FeatureLister: what the telephone has said of itself.
func (d *Desk) Features(device string) uacsta.Features {
	l := d.now()
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

// leastServices are offered for a telephone that does not say what it can: what every one is
// known to have.
var leastServices = uacsta.Features{
	Services: []string{
		uacsta.NameRequestSystemStatus, uacsta.NameMonitorStart, uacsta.NameMonitorStop, uacsta.NameSnapshotDevice, uacsta.NameMakeCall,
		uacsta.NameAnswerCall, uacsta.NameClearConnection,
	},
	Events: []string{
		uacsta.NameDeliveredEvent, uacsta.NameEstablishedEvent, uacsta.NameConnectionClearedEvent, uacsta.NameOriginatedEvent, uacsta.NameFailedEvent,
	},
}

// Request implements proxy.Link: the telephone that the request is about carries it out, after
// those that came before. What the telephone tells meanwhile is told after the answer.
func (d *Desk) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	l := d.now()
	if l == nil || !l.enter() {
		reply(nil, errTelephone)
		return
	}
	defer l.asking.Done()
	number, _, err := l.addressee(req)
	if err != nil {
		reply(nil, err)
		return
	}
	l.server.request(l.server.users[number], func(own string) (*uacsta.Message, error) {
		_, m, err := l.addressee(req) // the telephone may have given its monitor another reference
		if err != nil {
			return nil, err
		}
		if l.keepsAlone(req, number) {
			return nil, errHere
		}
		outward(m, number, own)
		return m, nil
	}, func(res *uacsta.Message, err error) {
		if err != nil && l.keepsAlone(req, number) {
			res, err = uacsta.Accept(req, uacsta.Edition3), nil
		}
		if err == nil && res != nil {
			l.inward(res, number)
			l.monitors(req, res, number)
		}
		l.tell(func() { reply(res, err) })
	})
}

// enter reports whether requests are taken, and notes one that is; asking is to be told when it has
// returned.
func (l *deskLife) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.asking.Add(1)
	}
	return l.open
}

// tell tells the core something. A panic there ends the life.
func (l *deskLife) tell(what func()) {
	defer share.Survive(l.server.log, "what a telephone tells", l.fail)
	what()
}

// outward writes a request as a telephone gets it, with its own name for itself.
func outward(m *uacsta.Message, number, own string) {
	m.SetNamespace(uacsta.NamespaceED3)
	for _, id := range m.Devices() {
		if id.ID() == number && own != "" {
			id.SetID(own)
		}
	}
}

// addressee finds the telephone that a request is about, and the request as it gets it: the one
// whose connections it names, or whose monitor, or the first of our numbers in it. Every
// connection must be one of that telephone, for each has callIDs of its own: that of another one
// would be taken for a call that the telephone happens to have.
func (l *deskLife) addressee(req *uacsta.Message) (number string, m *uacsta.Message, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m = req.Clone()
	if connections := req.Connections(); len(connections) > 0 {
		number = connections[0].DeviceID()
		for _, c := range connections {
			if c.DeviceID() != number || l.phones[number] == nil {
				return "", nil, errConnection
			}
		}
		return number, m, nil
	}
	if ref := req.CrossRef(); ref != "" && len(req.Devices()) == 0 {
		if number = l.owners[ref]; number == "" {
			return "", nil, errReference
		}
		m.SetCrossRef(l.phones[number].monitors[ref].local)
		return number, m, nil
	}
	for _, id := range inOrder(req).Devices() {
		if l.phones[id.ID()] != nil {
			return id.ID(), m, nil
		}
	}
	return "", nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
}

var (
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errReference  = uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
)

// inOrder is a request with its elements in the order of the schema, where the device that
// something is done to stands before others; as it is when it is of no form that is known.
func inOrder(req *uacsta.Message) *uacsta.Message {
	service := uacsta.New(req.Name())
	if service == nil || req.Decode(service) != nil {
		return req
	}
	return uacsta.Encode(service, uacsta.Edition3)
}

// inward writes what a telephone says in our numbers: its own, and those in SIP URIs.
func (l *deskLife) inward(m *uacsta.Message, number string) {
	plain := func(id string) string {
		if u := sip.ParseURI(id); (u.Scheme == "sip" || u.Scheme == "sips") && u.User != "" {
			return u.User
		}
		return id
	}
	for _, id := range m.Devices() {
		id.SetID(plain(id.ID()))
	}
	for _, c := range m.Connections() {
		if c.DeviceID() == "" {
			c.SetDeviceID(number)
		}
	}
}

// monitors keeps the cross references apart that telephones give, each for itself: ours are numbers
// of this life.
func (l *deskLife) monitors(req, res *uacsta.Message, number string) {
	switch req.Name() {
	case uacsta.NameMonitorStart:
		if local := res.CrossRef(); local != "" {
			l.mu.Lock()
			l.last++
			ref := strconv.Itoa(l.last)
			l.owners[ref], l.phones[number].monitors[ref] = number, &deskMonitor{local: local, start: req.Clone()}
			l.mu.Unlock()
			res.SetCrossRef(ref)
		}
	case uacsta.NameMonitorStop:
		l.drop(req.CrossRef(), number)
	}
}

var errHere = errors.New("the telephone is not asked")

// keepsAlone reports whether a request stops a monitor that the telephone must not be asked to stop: it
// has lost it, or it has one monitor for two of ours.
func (l *deskLife) keepsAlone(req *uacsta.Message, number string) bool {
	if req.Name() != uacsta.NameMonitorStop {
		return false
	}
	l.mu.Lock()
	one := l.phones[number].monitors[req.CrossRef()]
	l.mu.Unlock()
	return one != nil && (one.local == "" || len(l.watched(number, one.local)) > 1)
}

// drop forgets a monitor of a telephone.
func (l *deskLife) drop(ref, number string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, ref)
	delete(l.phones[number].monitors, ref)
}

// watched are our cross references of the monitors that a telephone knows by one of its own.
func (l *deskLife) watched(number, local string) (refs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, m := range l.phones[number].monitors {
		if m.local == local && local != "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

// event takes an event of a telephone, in the order in which it tells them.
func (l *deskLife) event(u *user, m *uacsta.Message) {
	if !u.asks.soon(func() { l.pass(u.Number, m) }) {
		l.server.report(slog.LevelWarn, u.Number, "a telephone tells more than can be passed on: its session ends")
		l.server.spawn(func() { l.server.hangUp(u, nil) })
	}
}

// pass passes an event of a telephone on, under our cross references. Only tasks of the telephone's
// queue call up.
func (l *deskLife) pass(number string, m *uacsta.Message) {
	refs := l.watched(number, m.CrossRef())
	if len(refs) == 0 {
		l.server.log.Debug("event of a telephone that nobody watches", "device", number, "event", m.Name())
		return
	}
	l.inward(m, number)
	for _, ref := range refs {
		copied := m.Clone()
		copied.SetCrossRef(ref)
		l.tell(func() { l.up.Event(copied) })
	}
}

// serves tells whether a telephone has a session, when that has changed: its monitors are made
// again, and told.
func (l *deskLife) serves(u *user) {
	client, _ := l.server.session(u.Number)
	was := u.served
	if client == was {
		return
	}
	u.served, u.mute = client, nil
	l.mu.Lock()
	own := slices.SortedFunc(maps.Keys(l.phones[u.Number].monitors), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, ref := range own {
		l.phones[u.Number].monitors[ref].local = ""
	}
	l.mu.Unlock()
	if was != nil {
		for _, ref := range own {
			l.tell(func() {
				l.up.Event(uacsta.Encode(uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(u.Number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
			})
		}
	}
	if client != nil {
		l.begin(u, client, own)
	}
}

// begin asks a telephone that has a session what it can, and starts its monitors again.
func (l *deskLife) begin(u *user, client conversation, own []string) {
	can := leastServices
	if services := l.server.services(u.Number); len(services) > 0 {
		can.Services = services
	}
	if res, err := l.server.ask(time.Now().Add(tellPatience), u, client, uacsta.Encode(uacsta.GetCSTAFeatures{}, uacsta.Edition3)); err == nil {
		can = res.Features()
	}
	l.mu.Lock()
	l.phones[u.Number].can = can
	l.mu.Unlock()
	for _, ref := range own {
		if err := l.again(u, ref, client); err != nil {
			l.server.log.Warn("a telephone takes no monitor any more", "device", u.Number, "err", err)
			l.tell(func() {
				_ = l.up.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)) // the core has no reason to refuse
			})
			l.drop(ref, u.Number)
			continue
		}
		l.tell(func() {
			l.up.Event(uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(u.Number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
		})
	}
}

// services are what the table says that a telephone can.
func (s *Server) services(number string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.users[number].bindings {
		if b.csta.client != nil && b.model != nil {
			return b.model.Services
		}
	}
	return nil
}

// again starts a monitor anew at a telephone that has lost it.
func (l *deskLife) again(u *user, ref string, client conversation) error {
	l.mu.Lock()
	one := l.phones[u.Number].monitors[ref]
	l.mu.Unlock()
	_, own := l.server.session(u.Number)
	m := one.start.Clone()
	outward(m, u.Number, own)
	res, err := l.server.ask(time.Now().Add(cstaPatience), u, client, m)
	if err != nil {
		return err
	}
	local := res.CrossRef()
	if local == "" {
		return errReference
	}
	l.mu.Lock()
	one.local = local
	l.mu.Unlock()
	return nil
}
