package softswitch

import (
	"cmp"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Phones controls the real telephones and lines of a switch and the voice of its calls. The
// switch reports the state of its calls; the implementation makes telephones and voice follow.
// It reports what telephones do by calling methods of [Switch].
type Phones interface {
	// Changed reports the state of changed calls and features at the end of a change. The
	// switch calls it in order and with its lock held: it must neither block nor call the
	// switch.
	Changed(Change)
	// Serve carries out one of the services of ECMA-269 clause 21 on a telephone for which
	// SetPhysical was called. It calls reply exactly once, on any goroutine.
	Serve(number string, req *uacsta.Message, reply func(*uacsta.Message, error))
	// Telephones returns the telephones behind an extension.
	Telephones(number string) []proxy.Telephone
}

// Change is the result of one change of the switch.
type Change struct {
	Calls    []View
	Features []Features
	// Voice lists actions on the voice of calls, in addition to connecting the parties.
	Voice []Voice
}

// View is the state of a call.
type View struct {
	Call    string
	Parties []Party // in order of joining; empty if the call has ended
	Calling uacsta.ExtendedDeviceID
	Inside  bool   // the calling device is one of the switch
	Name    string // of the calling device, if it is one of the switch
	Private bool   // the calling device withholds its number from the network
	Called  string // number dialled
	// Redirecting is the device of the switch that has sent the call on last, "" for none, and Cause why. With Discreet
	// it withholds its number from the network.
	Redirecting string
	Cause       uacsta.EventCause
	Discreet    bool
	// Sounds are for a party that is alone in the call, as the devices there have them.
	Sounds
}

// Party is one device in a call.
type Party struct {
	Key    int // identifies the connection, also after it moved to another call
	Device string
	State  uacsta.LocalConnectionState
	Number string // shown to others: one of the device's, or the one beyond a trunk; "" if it is not known or withheld
	Name   string // of the device, unless the party is beyond a trunk
	// Phone reports whether it is a real telephone or line.
	Phone bool
	Rings bool // the telephone must ring, or the number beyond the line must be called
	Auto  bool // the telephone must go off-hook by itself
	// Silent reports whether the party listens only.
	Silent  bool
	Queue   bool              // the call waits here
	Refused bool              // the user does not notice the call
	Cause   uacsta.EventCause // of the failure
	Leg     any               // passed to Dial, Arrive or PickUp
}

// Voice is an action on the voice of a call: start or stop a message, or send digits.
type Voice struct {
	Call string
	Key  int
	// Message is the number of the message to play, record or stop.
	Message int
	Play    string // file to play
	Record  string // file to record into
	Stop    bool   // stop the message
	Digits  string
	Limit   time.Duration // of Play and Record; 0 means none
	Tone    time.Duration // duration of each digit
	Pause   time.Duration
}

// Features holds an extension's settings, which outlive a restart, and the states of its
// agents.
type Features struct {
	Device      string
	DND         DND
	Forwardings []Forwarding
	Waiting     bool
	WaitingFrom string
	Private     bool         `json:",omitempty"` // its calls do not show its number to the network
	Agents      []AgentState `json:"-"`
	Monitored   bool         `json:"-"` // a client monitors it
}

// DND is the setting of do not disturb. Without callers and with nil it applies to every call.
type DND struct {
	On                 bool
	Internal, External *bool    `json:",omitempty"`
	Callers            []string `json:",omitempty"`
}

// Forwarding is the setting of one type of forwarding.
type Forwarding struct {
	Type  uacsta.ForwardingType
	On    bool
	To    string
	Rings int
}

// AgentState is the state of an agent at an extension.
type AgentState struct {
	ID, Group string
	State     uacsta.AgentState
	Reason    string // of state not ready: a number in private data
}

// Attach sets the telephones of the switch. Call it before Run.
func (s *Switch) Attach(p Phones) { s.phones = p }

// touch marks the call for the next report to Phones.
func (c *call) touch() {
	if c.sw.phones != nil && !slices.Contains(c.sw.touched, c) {
		c.sw.touched = append(c.sw.touched, c)
	}
}

// report passes the changes to Phones.
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
	v := View{
		Call: c.id, Calling: c.calling.who, Inside: c.caller() != nil, Private: c.private, Called: c.called, Name: c.callingName(), Redirecting: c.redirecting,
		Sounds: c.sounds(),
	}
	if d := c.sw.devices[c.redirecting]; d != nil {
		v.Discreet = d.private
	}
	if n := len(c.history); n > 0 && c.history[n-1].OldDeviceID.NumberDialed.ID == c.redirecting {
		v.Cause = c.history[n-1].EventCause
	}
	for _, x := range c.connections {
		p := Party{
			Key: x.order, Device: x.device.number, State: x.state, Number: cmp.Or(x.presented, x.end().who.Device.ID), Phone: x.device.real, Rings: x.ringing, Auto: x.auto,
			Silent: x.silent, Queue: x.state == uacsta.Queued, Refused: x.outside(), Cause: x.cause, Leg: x.leg,
		}
		if x.device.trunk == nil {
			p.Name = x.device.name
		}
		if x.device.trunk != nil && x.device.real {
			p.Rings = x.farEndRings()
		}
		v.Parties = append(v.Parties, p)
	}
	return v
}

func (d *device) features() Features {
	f := Features{Device: d.number, DND: DND{On: d.dnd.on}, Waiting: d.waiting.on, WaitingFrom: d.waiting.from, Private: d.private, Monitored: len(d.monitors) > 0}
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

// FeaturesOf returns an extension's features, or false if there is no such extension.
func (s *Switch) FeaturesOf(number string) (Features, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[number]
	if d == nil || !d.station() {
		return Features{}, false
	}
	return d.features(), true
}

// Restore sets an extension's features. Call it before Run. It ignores unknown devices and
// destinations.
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
	d.waiting, d.private = messageWaiting{on: f.Waiting, from: f.WaitingFrom}, f.Private
	for _, was := range f.Forwardings {
		if set := d.forwarding[was.Type]; set != nil && (was.To == "" || s.target(was.To, nil) != nil) {
			*set = setting{on: was.On, to: was.To, rings: was.Rings}
		}
	}
}

// InService reports whether a telephone or line is reachable, and sends the event to monitors.
// talks reports whether it can be made to answer a ringing call (NOTIFY talk).
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
			s.notify(d, uacsta.OutOfServiceEvent{Device: uacsta.Ext(number), Cause: uacsta.CauseNormal})
		} else {
			s.notify(d, uacsta.BackInServiceEvent{Device: uacsta.Ext(number), Cause: uacsta.CauseNormal})
		}
	})
}

// Dial reports that a telephone calls a number. The switch holds the active connection with the key
// aside, which the telephone leaves for this call; 0 for none. With private, the call does not show
// its caller to the network. leg is returned in Party.Leg. Dial returns the key of the new connection, or a [*uacsta.Error].
func (s *Switch) Dial(number, called string, aside int, private bool, leg any) (key int, err error) {
	s.do(func() {
		d := s.devices[number]
		if d == nil || !d.station() || called == "" {
			err = errDestination
			return
		}
		left := d.leaves(aside)
		if refusal := s.mayCall(d, true, left); refusal != nil { // its user has lifted it
			err = refusal
			return
		}
		if left != nil {
			left.hold(uacsta.CauseNormal)
		}
		x := s.initiate(d, called, uacsta.CauseNormal)
		x.leg, key = leg, x.order
		x.call.private = x.call.private || private
		x.originate(uacsta.CauseNewCall)
	})
	return key, err
}

// Arrival is what the network says of a call that comes in over a line.
type Arrival struct {
	Called string // number of the network
	// Caller is who calls: notKnown if the network gives no number, restricted if the caller withholds it.
	Caller uacsta.ExtendedDeviceID
	// Redirected is who sent the call here last; notRequired if nobody did.
	Redirected uacsta.RedirectionDeviceID
	Cause      uacsta.EventCause // why; "" if it is not known
}

// Arrive reports a call from the network over a line. leg is returned in Party.Leg. It returns
// the key of the line's connection, or a [*uacsta.Error].
func (s *Switch) Arrive(trunk string, a Arrival, leg any) (key int, err error) {
	s.do(func() {
		d := s.devices[trunk]
		if d == nil || d.trunk == nil {
			err = errDestination
			return
		}
		if refusal := s.mayCall(d, false, nil); refusal != nil {
			err = refusal
			return
		}
		x := s.arriving(d, a).initiate(d, uacsta.CauseNewCall)
		x.leg, key = leg, x.order
		x.originate(uacsta.CauseNewCall)
	})
	return key, err
}

// by changes one connection. It returns false if there is none with this key.
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

// Answered reports that a telephone, or the far end of a line, answered. The switch holds the
// active connection with the key aside, which the telephone leaves for this call; 0 for none. It
// fails if the call no longer exists, or if the device talks in another one.
func (s *Switch) Answered(number string, key, aside int) error {
	err := error(errNoAnswer)
	s.by(number, key, func(x *connection) {
		if left := x.device.leaves(aside); left != nil && x.state == uacsta.Alerting {
			left.hold(uacsta.CauseNormal)
		}
		if err = x.lift(); err != nil && x.talking() {
			err = nil // it was already put into the call
		}
	})
	return err
}

// HungUp reports that a telephone left a call, and why; "" for nothing special.
func (s *Switch) HungUp(number string, key int, cause uacsta.EventCause) {
	s.by(number, key, func(x *connection) { x.release(cause) })
}

// Declined reports that a telephone does not take a call, or that a line could not complete it.
func (s *Switch) Declined(number string, key int, cause uacsta.EventCause) {
	s.by(number, key, func(x *connection) { x.declined(cause) })
}

func (x *connection) declined(cause uacsta.EventCause) {
	c := x.call
	switch {
	case !x.rings() || x.state == uacsta.Initiated:
		x.clear(cause)
	case x.group != nil && x.group.queue != nil:
		x.group.queue.missed(x)
	case x.group != nil:
		x.group.hunt.declined(x)
	case x.goesOn(cause):
	case x.dropsOut(cause):
	default:
		rejected := cause == uacsta.CauseBusy || cause == uacsta.CauseCallCancelled // by the user
		if s := x.device.forwarding.applies(c, whenBusy); s != nil && rejected && x.device.station() && x.among == 0 {
			x.sendOn(s.to, uacsta.CauseCallForwardBusy)
			return
		}
		if x.goFurther() {
			return
		}
		x.refused = true
		c.failAt(x, cause)
	}
}

// declined rings the next member of the group. After the last one the group is busy.
func (h *hunt) declined(x *connection) {
	c, group := x.call, x.group
	at := slices.Index(h.members, x.device)
	if h.free(c, at+1, len(h.members)-1-at) >= 0 { // try each member once
		h.next(x)
		return
	}
	others := slices.ContainsFunc(c.others(x), func(y *connection) bool { return y.group == group })
	x.leave()
	c.notifyCleared(x, uacsta.CauseBusy)
	if !others {
		c.refuse(group, uacsta.CauseBusy)
	}
}

// Refer reports that a telephone's user transfers the other party to a number, or to a park device. If nobody takes the
// call, it returns to the telephone: leg is returned in Party.Leg of its new connection, and the reason in Party.Cause.
func (s *Switch) Refer(number string, key int, to string, leg any) error {
	err := error(errNoAnswer)
	s.by(number, key, func(x *connection) {
		back := x.returnsTo(leg)
		err = x.asActive(func() (err error) { // telephones hold a call before they transfer it
			if p := s.devices[to]; p != nil && p.park {
				_, err = s.parkCall(&uacsta.ParkCall{Parking: x.id(), ParkTo: uacsta.Dev(to)})
			} else {
				_, err = s.transferAtOnce(&uacsta.SingleStepTransferCall{ActiveCall: x.id(), TransferredTo: uacsta.Dev(to)}, back)
			}
			return err
		})
	})
	return err
}

// Join reports that a telephone's user joins the other parties of two calls and leaves. If the party of the call other
// has not answered and does not take the call, it returns to the telephone like that of [Switch.Refer].
func (s *Switch) Join(number string, one, other int, leg any) error {
	err := error(errConnection)
	s.by(number, one, func(x *connection) {
		i := slices.IndexFunc(x.device.connections, func(y *connection) bool { return y.order == other })
		if i < 0 {
			return
		}
		back, far := x.returnsTo(leg), x.device.connections[i].call.others(x.device.connections[i])
		held, active := x, x.device.connections[i]
		if active.state == uacsta.Hold && held.state != uacsta.Hold {
			held, active = active, held
		}
		both := active.state == uacsta.Hold && x.device.active() == nil // telephones may hold both calls
		if both {
			active.become(uacsta.Connected)
		}
		_, err = s.transferCall(&uacsta.TransferCall{HeldCall: held.id(), ActiveCall: active.id()})
		if err != nil && both {
			active.become(uacsta.Hold)
		}
		if err == nil && len(far) == 1 && far[0].alerts() {
			far[0].call.returning = back
		}
	})
	return err
}

// PickUp reports that a telephone picks up the call with this key that rings at the device
// from.
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
		if refusal := by.mayEnter(x.call); refusal != nil {
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

// Recall makes a held call ring at a telephone whose user has hung up.
func (s *Switch) Recall(number string, key int) {
	s.by(number, key, func(x *connection) {
		if x.state == uacsta.Hold {
			x.alert(uacsta.CauseRecall)
		}
	})
}

// Digit reports a key pressed in a call.
func (s *Switch) Digit(number string, key int, digit rune) {
	s.by(number, key, func(x *connection) { s.heard(x, digit, devicesOf(x.call.connections)) })
}

// heard has the devices detect a digit that x sends. It stops the messages that end at a digit.
func (s *Switch) heard(x *connection, digit rune, at []*device) {
	s.emitAt(x.call, at, uacsta.DtmfDetectedEvent{OverConnection: x.id(), DtmfChar: string(digit), Cause: uacsta.CauseNormal})
	x.call.silence(func(m *message) bool { return m.onDigit }, uacsta.CauseDTMFDigitDetected)
}

// Connection returns the identifier of a connection.
func (s *Switch) Connection(number string, key int) (id uacsta.ConnectionID, ok bool) {
	ok = s.by(number, key, func(x *connection) { id = x.id() })
	return id, ok
}

// State returns the state of a connection, or "" if there is none with this key.
func (s *Switch) State(number string, key int) (state uacsta.LocalConnectionState) {
	s.by(number, key, func(x *connection) { state = x.state })
	return state
}

// Perform carries out a service for a telephone, as Request does for the core. service is a
// request struct of package uacsta.
func (s *Switch) Perform(service any) error {
	_, err := s.Ask(uacsta.Encode(service, uacsta.Edition3))
	return err
}

// Ask carries out a service like Perform and returns its response.
func (s *Switch) Ask(req *uacsta.Message) (res *uacsta.Message, err error) {
	defer s.core.outbox.Flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perform(req, func(m *uacsta.Message, why error) { res, err = m, why })
	return res, err
}
