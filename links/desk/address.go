package desk

import (
	"github.com/tr87proxy/tr87proxy/uacsta"
)

var (
	errConnection = uacsta.Refuse(uacsta.Operation, uacsta.InvalidConnectionID)
	errReference  = uacsta.Refuse(uacsta.Operation, uacsta.InvalidMonitorCrossRefID)
)

// addressee finds the telephone that a request is about, and the request as it gets it: the one
// whose connections it names, or whose monitor, or the first of our numbers in it. Every
// connection must be one of that telephone, for each has callIDs of its own: that of another one
// would be taken for a call that the telephone happens to have.
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

// inOrder is a request with its elements in the order of the schema, where the device that
// something is done to stands before others; as it is when it is of no form that is known.
func inOrder(req *uacsta.Message) *uacsta.Message {
	service := uacsta.New(req.Name())
	if service == nil || req.Decode(service) != nil {
		return req
	}
	return uacsta.Encode(service, uacsta.Edition3)
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

// inward writes a message of a telephone in our numbers: its own, and those in SIP URIs.
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
