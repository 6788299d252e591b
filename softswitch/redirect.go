package softswitch

import "github.com/tr87proxy/tr87proxy/uacsta"

// destination is a number that a device sends a call to.
type destination struct {
	number string
	by     string // the device, whose rights count
}

// Redirect reports that a telephone sends the call that rings there to one of several numbers, best first. Each gets the
// call if the one before it cannot be called, is busy or does not answer. Redirect fails if none can be called.
func (s *Switch) Redirect(number string, key int, to []string) error {
	err := error(errConnection)
	s.by(number, key, func(x *connection) {
		if refusal := x.mayDeflect(); refusal != nil {
			err = refusal
			return
		}
		var list []destination
		for _, n := range to {
			if d := s.target(n, nil); d != nil && d.callable() && x.call.admits(d) {
				list = append(list, destination{n, number})
			}
		}
		if len(list) == 0 {
			err = errDestination
			return
		}
		err = nil
		first := list[0]
		list = append(list[1:], x.call.further...)
		x.call.further = list[:min(len(list), maxDiversions)]
		x.sendOn(first.number, uacsta.CauseRedirected)
	})
	return err
}

// tryFurther sends a call on that cannot go where a telephone has redirected it, to that telephone's next destination.
// divert reports that the call leaves the device that does not take it, nil if that is not known; from is the connection
// that fails if the next one cannot take the call either. It returns false if there is no further destination.
func (c *call) tryFurther(divert func(to string), from *connection) bool {
	if len(c.further) == 0 {
		return false
	}
	next := c.further[0]
	c.further = c.further[1:]
	if divert != nil {
		divert(next.number)
	}
	c.redirecting = next.by
	c.present(from, next.number, uacsta.CauseRedirected)
	return true
}

// goFurther is tryFurther for a call that rings at a connection, which leaves the call.
func (x *connection) goFurther() bool {
	if len(x.call.further) == 0 {
		return false
	}
	x.leave()
	x.stopOthers()
	return x.call.tryFurther(func(to string) { x.divert(to, uacsta.CauseRedirected) }, x.call.remaining())
}
