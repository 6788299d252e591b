package link

import (
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
	"github.com/tr87proxy/tr87proxy/wire/cstaxml"
)

// deviceIDs are the device identifiers of a server that does not identify devices by their numbers. It is asked for each
// of them once (Avaya's GetDeviceId).
type deviceIDs struct {
	switchName string

	mu      sync.Mutex
	conn    *cstaxml.Conn     // that the identifiers are valid on
	ids     map[string]string // by number
	numbers map[string]string // by identifier
	asked   map[string][]func(error)
}

const (
	namespaceAvaya = "http://www.avaya.com/csta"
	maxDeviceIDs   = 50000
	maxDeviceID    = 1024 // octets
)

func newDeviceIDs(switchName string) *deviceIDs { return &deviceIDs{switchName: switchName} }

// name replaces the numbers of the switch's own devices in a request by their identifiers and sends it, once it has asked
// for those that it does not know. It calls fail if the server does not give one. The destination of a call stays a
// number.
func (d *deviceIDs) name(conn *cstaxml.Conn, req *uacsta.Message, send func(*uacsta.Message), fail func(error)) {
	var missing string
	d.mu.Lock()
	if d.conn != conn { // identifiers are valid in one session
		d.conn = conn
		d.ids, d.numbers, d.asked = map[string]string{}, map[string]string{}, map[string][]func(error){}
	}
	for _, device := range req.Devices() {
		if !ofSwitch[device.Path()] && !device.InConnection {
			continue
		}
		number := device.ID()
		id, known := d.ids[number]
		_, given := d.numbers[number]
		switch {
		case known:
			device.SetID(id)
			device.SetType("other")
		case !given && !device.InConnection && missing == "":
			missing = number
		}
	}
	if missing == "" {
		d.mu.Unlock()
		send(req)
		return
	}
	waiting, asking := d.asked[missing]
	d.asked[missing] = append(waiting, func(err error) {
		if err != nil {
			fail(err)
			return
		}
		d.name(conn, req, send, fail)
	})
	asked := d.asked
	d.mu.Unlock()
	if !asking {
		d.ask(conn, missing, asked)
	}
}

// ofSwitch are the paths in a request of devices that are the switch's own.
var ofSwitch = map[string]bool{
	"monitorObject/deviceObject": true, "snapshotObject": true, "callingDevice": true, "device": true,
}

// ask asks for the identifier of a number, and goes on with the requests in asked that wait for it.
func (d *deviceIDs) ask(conn *cstaxml.Conn, number string, asked map[string][]func(error)) {
	req := uacsta.NewMessage(namespaceAvaya, "GetDeviceId", "switchName", d.switchName, "extension", number)
	conn.Request(req, func(res *uacsta.Message, err error) {
		id := ""
		if err == nil {
			id = strings.Clone(res.Text("device")) // a substring would keep the whole response in memory
		}
		if err == nil && (id == "" || len(id) > maxDeviceID) {
			err = uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID)
		}
		d.mu.Lock()
		switch {
		case err != nil:
		case d.conn != conn:
			err = gate.ErrClosed
		case len(d.ids) >= maxDeviceIDs:
			err = gate.ErrTooManyWaiting
		default:
			kept := strings.Clone(number)
			d.ids[kept], d.numbers[id] = id, kept
		}
		waiting := asked[number]
		delete(asked, number)
		d.mu.Unlock()
		for _, next := range waiting {
			next(err)
		}
	})
}

// read replaces identifiers by numbers.
func (d *deviceIDs) read(m *uacsta.Message) {
	devices := m.Devices()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, device := range devices {
		if number, known := d.numbers[device.ID()]; known {
			device.SetID(number)
		}
	}
}
