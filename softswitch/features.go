package softswitch

import (
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// forwarding is a device's settings, one for each type.
type forwarding map[uacsta.ForwardingType]*setting

type setting struct {
	on    bool
	to    string
	rings int // forwardNoAns only
}

const defaultRings = 3

func newForwarding() forwarding {
	return forwarding{
		uacsta.ForwardImmediate: {}, uacsta.ForwardBusy: {}, uacsta.ForwardNoAns: {rings: defaultRings},
	}
}

// target returns where a call goes instead of ringing, "" when it rings.
func (f forwarding) target(busy bool) (string, uacsta.EventCause) {
	if s := f[uacsta.ForwardImmediate]; s.on {
		return s.to, uacsta.CauseCallForwardImmediate
	}
	if s := f[uacsta.ForwardBusy]; s.on && busy {
		return s.to, uacsta.CauseCallForwardBusy
	}
	return "", ""
}

// noAnswer returns where a call goes after how many rings.
func (f forwarding) noAnswer() (string, int) {
	if s := f[uacsta.ForwardNoAns]; s.on {
		return s.to, s.rings
	}
	return "", 0
}

func (c *call) ringTime(rings int) time.Duration { return time.Duration(rings) * c.sw.cfg.RingCycle }

func (s *Switch) getForwarding(req *uacsta.GetForwarding) (any, error) {
	d, err := s.device(req.Device)
	if err != nil {
		return nil, err
	}
	res := uacsta.GetForwardingResponse{}
	for _, kind := range []uacsta.ForwardingType{uacsta.ForwardImmediate, uacsta.ForwardBusy, uacsta.ForwardNoAns} {
		f := d.forwarding[kind]
		item := uacsta.ForwardListItem{ForwardingType: kind, ForwardStatus: f.on}
		if f.to != "" {
			to := uacsta.Dev(f.to)
			item.ForwardDN = &to
		}
		if kind == uacsta.ForwardNoAns {
			item.RingCount = &f.rings
		}
		res.ForwardingList = append(res.ForwardingList, item)
	}
	return res, nil
}

func (s *Switch) setForwarding(req *uacsta.SetForwarding) (any, error) {
	d, err := s.device(req.Device)
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
	if next.on && (!s.Has(next.to) || next.to == d.number) {
		return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidForwardingDestination)
	}
	if req.RingCount != nil && kind == uacsta.ForwardNoAns {
		if *req.RingCount < 1 || *req.RingCount > 100 {
			return nil, uacsta.Refuse(uacsta.Operation, uacsta.InvalidRingCount)
		}
		next.rings = *req.RingCount
	}
	if next != *f {
		*f = next
		s.tellForwarding(d, kind)
	}
	return uacsta.SetForwardingResponse{}, nil
}

func (s *Switch) tellForwarding(d *device, kind uacsta.ForwardingType) {
	f := *d.forwarding[kind]
	for _, ref := range d.refs() {
		ev := uacsta.ForwardingEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(d.number), ForwardingType: kind, ForwardStatus: f.on}
		if f.to != "" {
			to := uacsta.Dev(f.to)
			ev.ForwardTo = &to
		}
		if kind == uacsta.ForwardNoAns {
			ev.RingCount = &f.rings
		}
		msg := uacsta.Encode(ev, uacsta.Edition3)
		s.pending = append(s.pending, func() { s.up.Event(msg) })
	}
}

func (s *Switch) getDoNotDisturb(req *uacsta.GetDoNotDisturb) (any, error) {
	d, err := s.device(req.Device)
	if err != nil {
		return nil, err
	}
	return uacsta.GetDoNotDisturbResponse{DoNotDisturbOn: d.dnd}, nil
}

func (s *Switch) setDoNotDisturb(req *uacsta.SetDoNotDisturb) (any, error) {
	d, err := s.device(req.Device)
	if err != nil {
		return nil, err
	}
	if d.dnd != req.DoNotDisturbOn {
		d.dnd = req.DoNotDisturbOn
		for _, ref := range d.refs() {
			msg := uacsta.Encode(uacsta.DoNotDisturbEvent{MonitorCrossRefID: ref, Device: uacsta.Ext(d.number), DoNotDisturbOn: d.dnd}, uacsta.Edition3)
			s.pending = append(s.pending, func() { s.up.Event(msg) })
		}
	}
	return uacsta.SetDoNotDisturbResponse{}, nil
}
