package phones

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/sip"
	"github.com/tr87proxy/tr87proxy/softswitch"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Desk is a link to desk phones that stand at another switch and hold, beside the account of
// their line there, one with us that serves only uaCSTA: they register here, and each is the
// switching function of its own number. It implements proxy.Link.
type Desk struct {
	server *Server
	listen []Listening

	mu    sync.Mutex
	up    proxy.Upcalls
	refs  map[string]*deskMonitor // by our cross reference
	able  map[string]uacsta.Features
	known map[string]bool // numbers
}

// Listening is an address that telephones register at.
type Listening struct {
	Transport string // udp, tcp or tls
	Address   string
	TLS       *tls.Config
}

// deskMonitor is a monitor at a telephone.
type deskMonitor struct {
	number string
	local  string          // the telephone's cross reference
	start  *uacsta.Message // that made it, as the core wrote it
}

var _ proxy.ConnectionKeeper = (*Desk)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: a request that names connections goes to
// the telephone whose device they all have ([Desk.addressee]), which has no calls but its own, and
// refuses a callID that it does not know.
func (*Desk) KeepsConnections() {}

// NewDesk makes a link. Of cfg, what concerns calls does not count.
func NewDesk(cfg Config, listen []Listening) (*Desk, error) {
	sw, err := softswitch.New(softswitch.Config{}) // it has no devices: here nobody calls
	if err != nil {
		return nil, err
	}
	d := &Desk{listen: listen, refs: map[string]*deskMonitor{}, able: map[string]uacsta.Features{}, known: map[string]bool{}}
	cfg.Switch = sw
	cfg.Users = slices.Clone(cfg.Users)
	for i := range cfg.Users {
		cfg.Users[i].UACSTA = Always
		d.known[cfg.Users[i].Number] = true
	}
	if d.server, err = New(cfg); err != nil {
		return nil, err
	}
	d.server.desk = d
	return d, nil
}

// Run implements proxy.Link.
func (d *Desk) Run(ctx context.Context, up proxy.Upcalls) error {
	ua := d.server.ua
	for ; len(d.listen) > 0; d.listen = d.listen[1:] { // what serves already stays when another fails
		var err error
		l := d.listen[0]
		if l.Transport == "udp" {
			_, err = ua.ListenUDP(l.Address)
		} else {
			_, err = ua.ListenTCP(l.Address, l.TLS)
		}
		if err != nil {
			return err
		}
		d.server.log.Info("listening", "transport", "desk/"+l.Transport, "address", l.Address)
	}
	d.mu.Lock()
	d.up = up
	d.mu.Unlock()
	up.Ready()
	d.server.Run(ctx)
	return ctx.Err()
}

// SetPasswords is as that of [Server].
func (d *Desk) SetPasswords(users []User) []string { return d.server.SetPasswords(users) }

// Close ends a link that was never run.
func (d *Desk) Close() { d.server.Close() }

// Features implements proxy.FeatureLister: what the telephone has said of itself.
func (d *Desk) Features(device string) uacsta.Features {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.able[device]
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
	number, _, err := d.addressee(req)
	if err != nil {
		reply(nil, err)
		return
	}
	d.server.request(d.server.users[number], func(own string) (*uacsta.Message, error) {
		_, m, err := d.addressee(req) // the telephone may have given its monitor another reference
		if err != nil {
			return nil, err
		}
		outward(m, number, own)
		return m, nil
	}, func(res *uacsta.Message, err error) {
		if err == nil && res != nil {
			d.inward(res, number)
			d.monitors(req, res, number)
		}
		reply(res, err)
	})
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
func (d *Desk) addressee(req *uacsta.Message) (number string, m *uacsta.Message, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m = req.Clone()
	if connections := req.Connections(); len(connections) > 0 {
		number = connections[0].DeviceID()
		for _, c := range connections {
			if c.DeviceID() != number || !d.known[number] {
				return "", nil, errConnection
			}
		}
		return number, m, nil
	}
	if one := d.refs[req.CrossRef()]; one != nil && len(req.Devices()) == 0 {
		m.SetCrossRef(one.local)
		return one.number, m, nil
	}
	for _, id := range inOrder(req).Devices() {
		if d.known[id.ID()] {
			return id.ID(), m, nil
		}
	}
	return "", nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
}

var errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)

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
func (d *Desk) inward(m *uacsta.Message, number string) {
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

// monitors keeps the cross references apart that telephones give, each for itself.
func (d *Desk) monitors(req, res *uacsta.Message, number string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch req.Name() {
	case uacsta.NameMonitorStart:
		if local := res.CrossRef(); local != "" {
			ref := number + "/" + local
			d.refs[ref] = &deskMonitor{number: number, local: local, start: req.Clone()}
			res.SetCrossRef(ref)
		}
	case uacsta.NameMonitorStop:
		delete(d.refs, req.CrossRef())
	}
}

// event takes an event of a telephone, in the order in which it tells them.
func (d *Desk) event(u *user, m *uacsta.Message) {
	if !u.asks.soon(func() { d.pass(u.Number, m) }) {
		d.server.report(slog.LevelWarn, u.Number, "a telephone tells more than can be passed on: its session ends")
		d.server.spawn(func() { d.server.hangUp(u, nil) })
	}
}

// pass passes an event of a telephone on, under our cross reference. Only tasks of the telephone's
// queue call up.
func (d *Desk) pass(number string, m *uacsta.Message) {
	d.mu.Lock()
	up, ref := d.up, ""
	for own, one := range d.refs {
		if one.number == number && one.local == m.CrossRef() {
			ref = own
		}
	}
	d.mu.Unlock()
	if up == nil || ref == "" {
		d.server.log.Debug("event of a telephone that nobody watches", "device", number, "event", m.Name())
		return
	}
	copied := m.Clone()
	d.inward(copied, number)
	copied.SetCrossRef(ref)
	up.Event(copied)
}

// serves tells whether a telephone has a session, when that has changed: its monitors are made
// again, and told.
func (d *Desk) serves(u *user) {
	client, _ := d.server.session(u.Number)
	was := u.served
	if client == was {
		return
	}
	u.served = client
	d.mu.Lock()
	up := d.up
	var own []string
	for ref, one := range d.refs {
		if one.number == u.Number {
			own = append(own, ref)
		}
	}
	d.mu.Unlock()
	if up == nil {
		return
	}
	if was != nil {
		for _, ref := range own {
			up.Event(uacsta.Encode(uacsta.OutOfServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(u.Number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
		}
	}
	if client != nil {
		d.begin(u, client, up, own)
	}
}

// begin asks a telephone that has a session what it can, and starts its monitors again.
func (d *Desk) begin(u *user, client conversation, up proxy.Upcalls, own []string) {
	ctx, cancel := context.WithTimeout(d.server.ctx, 2*cstaPatience)
	defer cancel()
	can := leastServices
	if services := d.server.services(u.Number); len(services) > 0 {
		can.Services = services
	}
	if res, err := client.Request(ctx, uacsta.Encode(uacsta.GetCSTAFeatures{}, uacsta.Edition3)); err == nil {
		can = res.Features()
	}
	d.mu.Lock()
	d.able[u.Number] = can
	d.mu.Unlock()
	for _, ref := range own {
		if err := d.again(ctx, ref, client); err != nil {
			d.server.log.Warn("a telephone takes no monitor any more", "device", u.Number, "err", err)
			_ = up.Request(uacsta.Encode(uacsta.MonitorStop{MonitorCrossRefID: ref}, uacsta.Edition3)) // the core has no reason to refuse
			d.mu.Lock()
			delete(d.refs, ref)
			d.mu.Unlock()
			continue
		}
		up.Event(uacsta.Encode(uacsta.BackInServiceEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(u.Number), Cause: uacsta.CauseNormal}, uacsta.Edition3))
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
func (d *Desk) again(ctx context.Context, ref string, client conversation) error {
	d.mu.Lock()
	one := d.refs[ref]
	d.mu.Unlock()
	if one == nil {
		return nil // it was stopped meanwhile
	}
	_, own := d.server.session(one.number)
	m := one.start.Clone()
	outward(m, one.number, own)
	res, err := client.Request(ctx, m)
	if err != nil {
		return err
	}
	if res.CrossRef() == "" || strings.Contains(res.CrossRef(), "/") {
		return fmt.Errorf("cross reference %q", res.CrossRef())
	}
	d.mu.Lock()
	one.local = res.CrossRef()
	d.mu.Unlock()
	return nil
}
