package desk

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var (
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errReference  = uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
)

// addressee returns the telephone that a request is for, and the request to send to it. It is the
// telephone whose connections or monitor the request names, or else the first of our numbers in it.
// All connections must belong to that telephone: each telephone has callIDs of its own, so it would
// take the callID of another one for one of its own calls.
func (l *life) addressee(req *uacsta.Message) (number string, m *uacsta.Message, err error) {
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

// inOrder returns a request with its elements in the order of the schema, in which the device that
// is acted on comes before others. It returns a request of an unknown form unchanged.
func inOrder(req *uacsta.Message) *uacsta.Message {
	service := uacsta.New(req.Name())
	if service == nil || req.Decode(service) != nil {
		return req
	}
	return uacsta.Encode(service, uacsta.Edition3)
}

// outward returns a request in the form for a telephone, which has its own name for itself.
func outward(m *uacsta.Message, number, own string) {
	m.SetNamespace(uacsta.NamespaceED3)
	for _, id := range m.Devices() {
		if id.ID() == number && own != "" {
			id.SetID(own)
		}
	}
}

// inward returns a message of a telephone with our numbers, in place of its own name and of SIP URIs.
func inward(m *uacsta.Message, number string) {
	for _, id := range m.Devices() {
		id.SetID(plain(id.ID()))
	}
	for _, c := range m.Connections() {
		if c.DeviceID() == "" {
			c.SetDeviceID(number)
		}
	}
}
