package softswitch

import (
	"time"

	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Which connection an identifier stands for: it may lack one half, or have the callID that a call had before it was
// transferred.

// FindConnections implements proxy.ConnectionFinder.
func (s *Switch) FindConnections(service, element string, id uacsta.ConnectionID) []proxy.Candidate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.candidates(service, element, id)
}

func (s *Switch) candidates(service, element string, id uacsta.ConnectionID) []proxy.Candidate {
	var found []*connection
	switch {
	case id.CallID != "" && id.DeviceID.ID != "":
		if x, err := s.find(id, errConnection); err == nil {
			found = []*connection{x}
		}
	case id.CallID != "":
		if c := s.callNow(id.CallID); c != nil {
			found = c.connections
		}
	default:
		if d := s.devices[id.DeviceID.ID]; d != nil {
			found = d.connections
		}
	}
	list := make([]proxy.Candidate, 0, len(found))
	for _, x := range found {
		if x.hidden() && len(found) > 1 { // clients cannot mean it
			continue
		}
		list = append(list, proxy.Candidate{ID: x.id(), Fits: x.fits(service, element)})
	}
	return list
}

// complete adds the callID to connections of a telephone's request that are a device alone, if they stand for one
// connection. The core has completed the requests of clients.
func (s *Switch) complete(req *uacsta.Message) {
	for _, c := range req.Connections() {
		if device := c.DeviceID(); c.CallID() == "" && device != "" {
			if x, ok := proxy.Only(s.candidates(req.Name(), c.Name(), uacsta.Conn("", device))); ok {
				c.SetCallID(x.CallID)
			}
		}
	}
}

// fits reports whether the connection's state permits a service that names it in an element of its request.
func (x *connection) fits(service, element string) bool {
	switch service {
	case uacsta.NameAlternateCall, uacsta.NameConferenceCall, uacsta.NameReconnectCall, uacsta.NameTransferCall:
		if element == "heldCall" {
			return x.state == uacsta.Hold
		}
		return x == x.device.active()
	}
	may := requirements[service]
	return may == nil || may(x) == nil
}

// former maps the callIDs that calls had before they became others by a transfer or conference. Clients may use them for
// a while: a request can cross the event.
type former struct {
	into  map[string]formerCall
	order []string // callIDs, oldest first
}

type formerCall struct {
	id    string // of the resulting call
	until time.Time
}

const (
	formerTime = 5 * time.Second
	maxFormer  = 1000
)

// add records that a call has become another one.
func (f *former) add(id, into string, now time.Time) {
	for len(f.order) > 0 && (len(f.order) >= maxFormer || !now.Before(f.into[f.order[0]].until)) {
		delete(f.into, f.order[0])
		f.order = f.order[1:]
	}
	if f.into == nil {
		f.into = map[string]formerCall{}
	}
	f.into[id] = formerCall{into, now.Add(formerTime)}
	f.order = append(f.order, id)
}

// callNow returns the call with a callID, or the one that this call has become, or nil.
func (s *Switch) callNow(id string) *call {
	now := time.Now()
	for {
		if c := s.calls[id]; c != nil {
			return c
		}
		was, known := s.former.into[id]
		if !known || !now.Before(was.until) {
			return nil
		}
		id = was.id
	}
}
