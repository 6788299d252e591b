package proxy

import (
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Outlook is what a request would do. Devices and numbers are canonical.
type Outlook struct {
	Service      string
	Devices      []Ruling // one for each device that the request acts on
	Destinations []string // where it would send calls
	Connections  []uacsta.ConnectionID
	Link         string // that would carry it out; "": the core itself, or none
	Refusal      error  // why the core would refuse it; nil: it would not
}

// Ruling is what policy decides on one device of a request.
type Ruling struct {
	Device   string // "": the request names none
	Decision policy.Decision
	Trials   []policy.Trial // the rules that were tried before
}

// Outlook returns what a request would do and what policy decides on it. It carries nothing out, counts against no rate
// and is not audited. A switching function may still refuse the request, and digits that were dialled before do not count.
// Outlook takes ownership of req.
func (s *Session) Outlook(req *uacsta.Message) Outlook {
	look := Outlook{Service: req.Name()}
	if req.Kind() != uacsta.Request || req.OneWay() || !req.Known() || s.locked() {
		look.Refusal = uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported)
		return look
	}
	o, err := s.readInto(object{service: req.Name(), action: ActionOf(req.Name()), trial: true}, req)
	look.Connections, look.Destinations, look.Refusal = o.connections, texts(o.destinations...), err
	if err != nil {
		return look
	}
	asked := o.subjects
	if len(asked) == 0 && len(o.destinations) > 0 {
		asked = []policy.Number{{}}
	}
	svc, rules := uacsta.ServiceOf(o.service), s.proxy.policy()
	for _, device := range asked {
		d, trials := s.explain(rules, s.wishOf(&o, device))
		look.Devices = append(look.Devices, Ruling{device.String(), d, trials})
		switch {
		case d.Allowed || look.Refusal != nil:
		case d.Destination != "":
			look.Refusal = uacsta.Refuse(uacsta.Operation, svc.Refusal(uacsta.Destination))
		default:
			look.Refusal = uacsta.Refuse(uacsta.Operation, svc.Refusal(uacsta.Subject))
		}
	}
	if d := s.mayPresent(&o); !d.Allowed {
		look.Devices = append(look.Devices, Ruling{Device: o.presented.String(), Decision: d})
		look.Refusal = uacsta.Refuse(uacsta.Operation, svc.Refusal(uacsta.Subject))
	}
	if look.Refusal == nil && len(o.subjects) > 0 {
		t := s.proxy.route(o.subjects[0])
		switch {
		case t == nil:
			look.Refusal = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
		case !t.isUp():
			look.Link, look.Refusal = t.name, errLinkDown
		default:
			look.Link = t.name
		}
	}
	return look
}

// View is a device as one client may use it.
type View struct {
	Device string     // the canonical number of the device
	Link   LinkStatus // the link that serves it
	Description
	Features uacsta.Features // of a link that does not say what it supports: every service, and no events
}

// View returns which services and events of a device this client may use. device is as the client writes it. The error
// wraps ErrForbidden, ErrUnknownLine, or policy.ErrNumber.
func (s *Session) View(device string) (View, error) {
	n, err := s.proxy.numbers().Parse(device, "")
	if err != nil {
		return View{}, err
	}
	n = s.proxy.own(n)
	if !s.may(policy.Observe, n) {
		return View{}, ErrForbidden
	}
	t := s.proxy.route(n)
	if t == nil {
		return View{}, ErrUnknownLine
	}
	v := View{Device: n.String(), Link: t.linkStatus()}
	written, _ := outward(t.numbers.Load().Out, n.String())
	if lister, ok := t.link.(FeatureLister); ok {
		v.Features = lister.Features(written)
	} else {
		v.Features.Services = uacsta.Services()
	}
	if describer, ok := t.link.(Describer); ok {
		v.Description = describer.Describe(written)
	}
	rules, ask := s.proxy.policy(), s.wish(policy.Observe, n)
	v.Features.Services = slices.DeleteFunc(slices.Clone(v.Features.Services), func(name string) bool {
		ask.Service, ask.Action = name, ActionOf(name)
		return !s.decide(rules, ask).Allowed
	})
	return v, nil
}

// In returns the connections that the client has a right to observe in a call, as far as the core and the link know them.
func (s *Session) In(callID string) []uacsta.ConnectionID {
	rights := s.rightsIn(uacsta.NameSnapshotCall, "snapshotObject", callID)
	list := make([]uacsta.ConnectionID, 0, len(rights))
	for _, x := range rights {
		list = append(list, x.ID)
	}
	return list
}

// MayObserve reports whether an identity that comes by a front may observe a device, by its canonical number.
func (p *Proxy) MayObserve(who policy.Identity, front, device string) bool {
	n, err := p.numbers().Parse(device, "")
	return err == nil && p.policy().Decide(policy.Request{Who: who, Front: front, Action: policy.Observe, Device: n, At: time.Now()}).Allowed
}

// Rights is what a client may observe by the rules of one moment. They are equal (==) until the rules change.
type Rights struct {
	session *Session
	rules   *rules
}

// Rights returns what the client may observe by the rules that hold now.
func (s *Session) Rights() Rights { return Rights{s, s.proxy.rules.Load()} }

// MayObserve reports whether the client may observe a device, by its canonical number.
func (r Rights) MayObserve(device string) bool {
	n, err := r.rules.numbers.Parse(device, "")
	return err == nil && r.session.mayBy(r.rules, policy.Observe, n)
}

// MayObserve reports whether the client may observe a device now, by its canonical number.
func (s *Session) MayObserve(device string) bool { return s.Rights().MayObserve(device) }
