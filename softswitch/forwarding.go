package softswitch

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// forwarding holds a device's settings by type (ECMA-269 clause 22, forwarding types).
type forwarding map[uacsta.ForwardingType]*setting

type setting struct {
	on    bool
	to    string
	rings int // for the no-answer types
}

// forwardings lists the types in the order of responses. ranks says which calls each concerns.
var forwardings = []uacsta.ForwardingType{
	uacsta.ForwardImmediate, uacsta.ForwardBusy, uacsta.ForwardNoAns, uacsta.ForwardDND,
	uacsta.ForwardImmInt, uacsta.ForwardImmExt, uacsta.ForwardBusyInt, uacsta.ForwardBusyExt,
	uacsta.ForwardNoAnsInt, uacsta.ForwardNoAnsExt, uacsta.ForwardDNDInt, uacsta.ForwardDNDExt,
}

// rank is a reason to forward: the type for internal calls, for external calls, and for both.
type rank struct{ internal, external, any uacsta.ForwardingType }

var (
	immediately = rank{uacsta.ForwardImmInt, uacsta.ForwardImmExt, uacsta.ForwardImmediate}
	whenBusy    = rank{uacsta.ForwardBusyInt, uacsta.ForwardBusyExt, uacsta.ForwardBusy}
	notAnswered = rank{uacsta.ForwardNoAnsInt, uacsta.ForwardNoAnsExt, uacsta.ForwardNoAns}
	undisturbed = rank{uacsta.ForwardDNDInt, uacsta.ForwardDNDExt, uacsta.ForwardDND}
)

func newForwarding() forwarding {
	f := forwarding{}
	for _, kind := range forwardings {
		f[kind] = &setting{}
		if hasRings(kind) {
			f[kind].rings = defaultRings
		}
	}
	return f
}

// applies returns the setting that applies to a call, or nil. A type for internal or external
// calls takes precedence over the type for all.
func (f forwarding) applies(c *call, r rank) *setting {
	special := r.internal
	if c.trunkIn != nil {
		special = r.external
	}
	for _, kind := range []uacsta.ForwardingType{special, r.any} {
		if s := f[kind]; s != nil && s.on {
			return s
		}
	}
	return nil
}

// diverts returns the destination of a call that does not ring at the device, and the cause, or
// "".
func (d *device) diverts(c *call) (string, uacsta.EventCause) {
	if s := d.forwarding.applies(c, immediately); s != nil {
		return s.to, uacsta.CauseCallForwardImmediate
	}
	if s := d.forwarding.applies(c, undisturbed); s != nil && d.dnd.refuses(c) {
		return s.to, uacsta.CauseDoNotDisturb
	}
	if s := d.forwarding.applies(c, whenBusy); s != nil && d.busy() && !d.dnd.refuses(c) {
		return s.to, uacsta.CauseCallForwardBusy
	}
	return "", ""
}

// noAnswer returns the destination on no answer and the number of rings before it, or "".
func (f forwarding) noAnswer(c *call) (string, int) {
	if s := f.applies(c, notAnswered); s != nil {
		return s.to, s.rings
	}
	return "", 0
}

// getForwarding implements Get Forwarding (ECMA-269 clause 22). Types for internal or external
// calls only are listed after they have been set once.
func (s *Switch) getForwarding(req *uacsta.GetForwarding) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetForwardingResponse{}
	for i, kind := range forwardings {
		f := d.forwarding[kind]
		if i > 2 && !f.on && f.to == "" {
			continue
		}
		item := uacsta.ForwardListItem{ForwardingType: kind, ForwardStatus: f.on, ForwardDN: f.destination()}
		if hasRings(kind) {
			item.RingCount = &f.rings
		}
		res.ForwardingList = append(res.ForwardingList, item)
	}
	return res, nil
}

func (f *setting) destination() *uacsta.DeviceID {
	if f.to == "" {
		return nil
	}
	to := uacsta.Dev(f.to)
	return &to
}

const maxRings = 100

// setForwarding implements Set Forwarding (ECMA-269 clause 22).
func (s *Switch) setForwarding(req *uacsta.SetForwarding) (any, error) {
	d, err := s.extension(req.Device)
	if err != nil {
		return nil, err
	}
	kind := req.ForwardingType
	if kind == "" {
		kind = uacsta.ForwardImmediate
	}
	f := d.forwarding[kind]
	if f == nil {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidForwardingType)
	}
	next := *f
	next.on = req.ActivateForward
	if req.ForwardDN != nil {
		next.to = req.ForwardDN.ID
	}
	if target := s.target(next.to, nil); next.on && (target == nil || target == d || !target.callable()) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidForwardingDestination)
	}
	if hasRings(kind) {
		if req.RingDuration != nil { // seconds
			seconds := min(*req.RingDuration, int(time.Hour*24/time.Second)) // a huge number must not overflow
			next.rings = int((time.Duration(seconds)*time.Second + s.cfg.RingCycle - 1) / s.cfg.RingCycle)
		}
		if req.RingCount != nil {
			next.rings = *req.RingCount
		}
		if next.rings < 1 || next.rings > maxRings {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidRingCount)
		}
	}
	if next != *f {
		*f = next
		event := uacsta.ForwardingEvent{Device: uacsta.Ext(d.number), ForwardingType: kind, ForwardStatus: next.on, ForwardTo: next.destination()}
		if hasRings(kind) {
			event.RingCount = &next.rings
		}
		s.notify(d, event)
	}
	return uacsta.SetForwardingResponse{}, nil
}

// hasRings reports whether a type forwards on no answer.
func hasRings(kind uacsta.ForwardingType) bool {
	return kind == notAnswered.any || kind == notAnswered.internal || kind == notAnswered.external
}
