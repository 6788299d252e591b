package softswitch

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Phones are the real telephones and lines of a switch, and the voice of its calls. The
// switch says how its calls stand; whoever implements this makes telephones and voice
// follow, and says by the methods of [Switch] what telephones do by themselves.
type Phones interface {
	// Changed tells how calls and features stand at the end of a change. It is called with
	// the switch locked, in order: it must not block, nor call the switch.
	Changed(Change)
	// Serve carries out a service on a telephone itself, one of those that Physical has
	// been said of; reply is called once, on another goroutine or this one.
	Serve(number string, req *uacsta.Message, reply func(*uacsta.Message, error))
}

// Change is what one change of the switch leaves behind.
type Change struct {
	Calls    []View
	Features []Features
	// Voice is what is to be done with the voice of calls, besides joining who talks.
	Voice []Voice
}

// View is how a call stands.
type View struct {
	Call    string
	Parties []Party // in the order in which they came; none: the call is over
	Calling string  // who called
	Name    string  // of who called, if it is a device of the switch
	Called  string  // what was dialled
}

// Party is one device's part in a call.
type Party struct {
	Key    int // of the connection; it keeps it when it goes into another call
	Device string
	State  uacsta.LocalConnectionState
	Number string // shown to others: the device's, or that of whoever is beyond a trunk
	// Phone reports whether a real telephone, or line, stands behind it.
	Phone bool
	Rings bool // the telephone is to ring, or the number beyond the line to be called
	Auto  bool // it is to go off-hook by itself
	// Silent reports whether it only listens.
	Silent bool
	// Queue reports whether the call waits here; Announce names what is played meanwhile.
	Queue    bool
	Announce string
	Refused  bool              // its user knows nothing of the call
	Cause    uacsta.EventCause // why it failed
	Leg      any               // what Dial or Arrive were given
}

// Voice is a message to play or record in a call, the end of one, or digits to send.
type Voice struct {
	Call   string
	Key    int
	Play   string // message
	Record string // message
	Stop   string // message that is to end
	Digits string
	Limit  time.Duration // of Play and Record; 0: none
	Tone   time.Duration // of each of Digits
	Pause  time.Duration
}

// Features are the settings of an extension that outlive a restart, and the states of its
// agents.
type Features struct {
	Device      string
	DND         DND
	Forwardings []Forwarding
	Waiting     bool
	WaitingFrom string
	Agents      []AgentState `json:"-"`
	Monitored   bool         `json:"-"` // some client watches it
}

// DND is do not disturb, with whom it concerns: no callers and nil: everybody.
type DND struct {
	On                 bool
	Internal, External *bool    `json:",omitempty"`
	Callers            []string `json:",omitempty"`
}

// Forwarding is one type of forwarding.
type Forwarding struct {
	Type  uacsta.ForwardingType
	On    bool
	To    string
	Rings int
}

// AgentState is the state of an agent at the extension.
type AgentState struct {
	ID, Group string
	State     uacsta.AgentState
	Reason    string // why it is not ready, a number of the telephone's maker
}

// Attach gives the switch its telephones, before Run.
func (s *Switch) Attach(p Phones) { s.phones = p }

// touch notes that how a call stands is to be told.
func (c *call) touch() {
	if c.sw.phones != nil && !slices.Contains(c.sw.touched, c) {
		c.sw.touched = append(c.sw.touched, c)
	}
}

// report tells the telephones what has changed.
func (s *Switch) report() {
	if s.phones == nil || len(s.touched)+len(s.changed)+len(s.voice) == 0 {
		return
	}
	change := Change{Voice: s.voice}
	for _, c := range s.touched {
		change.Calls = append(change.Calls, c.view())
	}
	for _, d := range s.changed {
		change.Features = append(change.Features, d.features())
	}
	s.touched, s.changed, s.voice = nil, nil, nil
	s.phones.Changed(change)
}

func (c *call) view() View {
	v := View{Call: c.id, Calling: c.calling, Called: c.called, Name: c.callingName()}
	for _, x := range c.connections {
		p := Party{
			Key: x.order, Device: x.device.number, State: x.state, Number: x.number(), Phone: x.device.real, Rings: x.told, Auto: x.auto,
			Silent: x.silent, Queue: x.state == uacsta.Queued, Refused: x.outside(), Cause: x.cause, Leg: x.leg,
		}
		if q := x.device.queue; q != nil {
			p.Announce = q.Announcement
		}
		if x.device.trunk != nil && x.device.real {
			p.Rings = x.farEndRings()
		}
		v.Parties = append(v.Parties, p)
	}
	return v
}

func (d *device) features() Features {
	f := Features{Device: d.number, DND: DND{On: d.dnd.on}, Waiting: d.waiting.on, WaitingFrom: d.waiting.from, Monitored: len(d.monitors) > 0}
	if o := d.dnd.origin; o != nil {
		f.DND.Internal, f.DND.External = o.Internal, o.External
	}
	for _, caller := range d.dnd.callers {
		f.DND.Callers = append(f.DND.Callers, caller.ID)
	}
	for _, kind := range forwardings {
		set := d.forwarding[kind]
		f.Forwardings = append(f.Forwardings, Forwarding{Type: kind, On: set.on, To: set.to, Rings: set.rings})
	}
	for _, a := range d.agents {
		reason := uacsta.Encode(uacsta.AgentNotReadyEvent{Common: a.private}, uacsta.Edition3).PrivateText("AgentNotReadyReasonValue")
		f.Agents = append(f.Agents, AgentState{ID: a.id, Group: a.group.number, State: a.state, Reason: reason})
	}
	return f
}

// FeaturesOf returns an extension's settings.
func (s *Switch) FeaturesOf(number string) (Features, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[number]
	if d == nil || !d.station() {
		return Features{}, false
	}
	return d.features(), true
}

// Restore sets an extension's settings as they were, before Run. Those of a device that is
// none any more, or whose destinations are gone, are left out.
func (s *Switch) Restore(f Features) {
	d := s.devices[f.Device]
	if d == nil || !d.station() {
		return
	}
	d.dnd = doNotDisturb{on: f.DND.On}
	if f.DND.Internal != nil || f.DND.External != nil {
		d.dnd.origin = &uacsta.CallOrigination{Internal: f.DND.Internal, External: f.DND.External}
	}
	for _, caller := range f.DND.Callers {
		d.dnd.callers = append(d.dnd.callers, uacsta.Dev(caller))
	}
	d.waiting = messageWaiting{on: f.Waiting, from: f.WaitingFrom}
	for _, was := range f.Forwardings {
		if set := d.forwarding[was.Type]; set != nil && (was.To == "" || s.target(was.To, nil) != nil) {
			*set = setting{on: was.On, to: was.To, rings: was.Rings}
		}
	}
}

// InService says whether a telephone or line can be reached. Its monitors are told; talks
// says whether it can be made to answer a call that rings (NOTIFY talk).
func (s *Switch) InService(number string, reachable, talks bool) {
	s.do(func() {
		d := s.devices[number]
		if d == nil {
			return
		}
		d.talks = talks
		if d.away == !reachable {
			return
		}
		d.away = !reachable
		if d.away {
			s.tell(d, uacsta.OutOfServiceEvent{Device: uacsta.Ext(number), Cause: uacsta.CauseNormal})
		} else {
			s.tell(d, uacsta.BackInServiceEvent{Device: uacsta.Ext(number), Cause: uacsta.CauseNormal})
		}
	})
}

// Dial is a telephone that calls a number: it returns the key of its connection.
func (s *Switch) Dial(number, called string, leg any) (key int, err error) {
	s.do(func() {
		d := s.devices[number]
		if d == nil || !d.station() || called == "" {
			err = errDestination
			return
		}
		if refusal := s.mayCall(d, false); refusal != nil {
			err = refusal
			return
		}
		x := s.initiate(d, called, uacsta.CauseNormal)
		x.leg, key = leg, x.order
		x.originate(uacsta.CauseNewCall)
	})
	return key, err
}

// Arrive is a call from the network over a line.
func (s *Switch) Arrive(trunk, caller, called string, leg any) (key int, err error) {
	s.do(func() {
		d := s.devices[trunk]
		if d == nil || d.trunk == nil {
			err = errDestination
			return
		}
		if refusal := s.mayCall(d, false); refusal != nil {
			err = refusal
			return
		}
		x := s.initiate(d, called, uacsta.CauseNewCall)
		x.leg, key = leg, x.order
		if caller != "" {
			x.call.calling = caller
		}
		x.originate(uacsta.CauseNewCall)
	})
	return key, err
}

// by runs a change of one connection; false when there is none of this key.
func (s *Switch) by(number string, key int, change func(*connection)) bool {
	found := false
	s.do(func() {
		if d := s.devices[number]; d != nil {
			if i := slices.IndexFunc(d.connections, func(x *connection) bool { return x.order == key }); i >= 0 {
				found = true
				change(d.connections[i])
			}
		}
	})
	return found
}

// Lifted is a telephone that answers, or the far end of a line. It fails when the call is
// not there any more.
func (s *Switch) Lifted(number string, key int) error {
	err := error(errNoAnswer)
	s.by(number, key, func(x *connection) {
		if err = x.lift(); err != nil && x.talking() {
			err = nil // it was put into the call before it was lifted
		}
	})
	return err
}

// HungUp is a telephone that leaves a call.
func (s *Switch) HungUp(number string, key int) { s.by(number, key, (*connection).release) }

// Declined is a telephone that does not take a call, or a line that does not bring it
// through.
func (s *Switch) Declined(number string, key int, cause uacsta.EventCause) {
	s.by(number, key, func(x *connection) { x.declined(cause) })
}

func (x *connection) declined(cause uacsta.EventCause) {
	c := x.call
	switch {
	case !x.rings() || x.state == uacsta.Initiated || c.predictive != nil:
		x.clear(cause)
	case x.group != nil && x.group.queue != nil:
		x.group.queue.missed(x)
	case x.group != nil:
		x.group.hunt.declined(x)
	default:
		if s := x.device.forwarding.applies(c, whenBusy); s != nil && cause == uacsta.CauseBusy && x.device.station() {
			x.sendOn(s.to, uacsta.CauseCallForwardBusy)
			return
		}
		x.refused = true
		c.failAt(x, cause)
	}
}

// declined rings the next member of the group instead; when nobody is left, the group is
// busy.
func (h *hunt) declined(x *connection) {
	c, group := x.call, x.group
	at := slices.Index(h.members, x.device)
	if h.free(c, at+1, len(h.members)-1-at) >= 0 { // each member is tried once
		h.next(x)
		return
	}
	others := slices.ContainsFunc(c.others(x), func(y *connection) bool { return y.group == group })
	x.leave()
	c.tellCleared(x, uacsta.CauseBusy)
	if !others {
		c.refuse(group, uacsta.CauseBusy)
	}
}

// Refer is a telephone's user who sends the other party of a call to a number.
func (s *Switch) Refer(number string, key int, to string) error {
	err := error(errNoAnswer)
	s.by(number, key, func(x *connection) {
		held := x.state == uacsta.Hold // telephones hold before they transfer
		if held && x.device.active() == nil {
			x.become(uacsta.Connected)
		}
		_, err = s.singleStepTransferCall(&uacsta.SingleStepTransferCall{ActiveCall: x.id(), TransferredTo: uacsta.Dev(to)})
		if err != nil && held {
			x.become(uacsta.Hold)
		}
	})
	return err
}

// Join is a telephone's user who leaves the other parties of two calls to each other.
func (s *Switch) Join(number string, one, other int) error {
	err := error(errConnection)
	s.by(number, one, func(x *connection) {
		i := slices.IndexFunc(x.device.connections, func(y *connection) bool { return y.order == other })
		if i < 0 {
			return
		}
		held, active := x, x.device.connections[i]
		if active.state == uacsta.Hold && held.state != uacsta.Hold {
			held, active = active, held
		}
		both := active.state == uacsta.Hold && x.device.active() == nil // telephones may hold both of them
		if both {
			active.become(uacsta.Connected)
		}
		_, err = s.transferCall(&uacsta.TransferCall{HeldCall: held.id(), ActiveCall: active.id()})
		if err != nil && both {
			active.become(uacsta.Hold)
		}
	})
	return err
}

// PickUp is a telephone that takes the call that rings at another one.
func (s *Switch) PickUp(number, from string, key int, leg any) error {
	err := error(errConnection)
	s.by(from, key, func(x *connection) {
		by := s.devices[number]
		if by == nil {
			return
		}
		if x.state != uacsta.Alerting || !s.picksUp(by, x.device) {
			err = errState
			return
		}
		if refusal := by.free(x.call); refusal != nil {
			err = refusal
			return
		}
		c := x.call
		x.pickedUp(by)
		if y := c.of(by); y != nil {
			y.leg = leg
		}
		err = nil
	})
	return err
}

// Recall brings a call on hold back to a telephone whose user has hung up: it rings.
func (s *Switch) Recall(number string, key int) {
	s.by(number, key, func(x *connection) {
		if x.state == uacsta.Hold {
			x.become(uacsta.Alerting)
			x.alert(uacsta.CauseRecall)
		}
	})
}

// Digit is a key that a telephone's user pressed in a call.
func (s *Switch) Digit(number string, key int, digit rune) {
	s.by(number, key, func(x *connection) {
		event := uacsta.DtmfDetectedEvent{OverConnection: x.id(), DtmfChar: string(digit), Cause: uacsta.CauseNormal}
		s.emit(x.call, nil, event)
		s.stopOnDigit(x.call)
	})
}

// Connection returns the identifier of a connection.
func (s *Switch) Connection(number string, key int) (id uacsta.ConnectionID, ok bool) {
	ok = s.by(number, key, func(x *connection) { id = x.id() })
	return id, ok
}

// Perform carries out a service for a telephone, as Request does for a computing function.
// service is a struct of a request; the answer is one, too.
func (s *Switch) Perform(service any) error {
	_, err := s.Ask(uacsta.Encode(service, uacsta.Edition3))
	return err
}

// Ask is Perform with a message and its answer.
func (s *Switch) Ask(req *uacsta.Message) (res *uacsta.Message, err error) {
	defer s.core.outbox.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perform(req, func(m *uacsta.Message, why error) { res, err = m, why })
	return res, err
}
