package softswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// What users do at their telephones beyond dialling, answering and transfer: hold, a second call, parking.

// Holds reports that a telephone's user holds a call, or takes it back. It does nothing if the
// connection is in that state already. It returns a [*uacsta.Error] if the user cannot take the
// call back because the device talks in another one.
func (s *Switch) Holds(number string, key int, held bool) (err error) {
	s.by(number, key, func(x *connection) {
		switch {
		case held && x.mayHold() == nil:
			x.hold(uacsta.CauseNormal)
		case held || x.state != uacsta.Hold:
		default:
			if refusal := x.mayRetrieve(); refusal != nil {
				err = refusal
				return
			}
			x.retrieve(uacsta.CauseNormal)
		}
	})
	return err
}

// leaves returns the device's active connection if it has this key and can be held, else nil.
func (d *device) leaves(key int) *connection {
	if x := d.active(); x != nil && x.order == key && x.mayHold() == nil {
		return x
	}
	return nil
}

// asActive carries out a service on a connection that may be on hold, as if it were active. A refused one leaves it on
// hold.
func (x *connection) asActive(service func() error) error {
	held := x.state == uacsta.Hold
	if held && x.device.active() == nil {
		x.become(uacsta.Connected)
	}
	err := service()
	if err != nil && held {
		x.become(uacsta.Hold)
	}
	return err
}

// Park reports that a telephone dials a park device. If a call is parked there, the telephone
// fetches it; leg is returned in Party.Leg of its new connection. Otherwise the one call that the
// telephone holds is parked there. park is whether the number is that of a park device that one of
// these applies to, fetched whether a call was fetched.
func (s *Switch) Park(number, at string, leg any) (park, fetched bool, err error) {
	s.do(func() {
		d, p := s.devices[number], s.devices[at]
		if d == nil || p == nil || !p.park {
			return
		}
		if len(p.connections) > 0 {
			park, fetched = true, true
			x := p.connections[0]
			if refusal := d.mayEnter(x.call); refusal != nil {
				err = refusal
				return
			}
			c := x.call
			x.pickedUp(d)
			c.of(d).leg = leg
			return
		}
		if len(d.connections) != 1 || d.connections[0].state != uacsta.Hold {
			return
		}
		park = true
		x := d.connections[0]
		err = x.asActive(func() error {
			_, err := s.parkCall(&uacsta.ParkCall{Parking: x.id(), ParkTo: uacsta.Dev(at)})
			return err
		})
	})
	return park, fetched, err
}
