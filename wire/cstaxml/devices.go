package cstaxml

import (
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/internal/gate"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// deviceIDs are the identifiers by which a server knows the devices of its switch,
// instead of their numbers: it is asked for each (Avaya's GetDeviceId), once.
type deviceIDs struct {
	switchName string

	mu      sync.Mutex
	conn    *Conn             // that they were got on
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

// name puts identifiers in the place of the numbers of monitored, asking and other own
// devices in a request and sends it, once all are known; if one cannot be had, fail is
// told why. Where calls go to is given as a number.
func (d *deviceIDs) name(conn *Conn, req *uacsta.Message, send func(*uacsta.Message), fail func(error)) {
	var missing string
	d.mu.Lock()
	if d.conn != conn { // identifiers are those of a session
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

// ofSwitch are the places where a request names a device that something is done to.
var ofSwitch = map[string]bool{
	"monitorObject/deviceObject": true, "snapshotObject": true, "callingDevice": true, "device": true,
}

// ask gets the identifier of a number and goes on with what waits for it in asked.
func (d *deviceIDs) ask(conn *Conn, number string, asked map[string][]func(error)) {
	req := uacsta.NewMessage(namespaceAvaya, "GetDeviceId", "switchName", d.switchName, "extension", number)
	conn.Request(req, func(res *uacsta.Message, err error) {
		id := ""
		if err == nil {
			id = strings.Clone(res.Text("device")) // as a part of the answer it would keep all of that
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

// read puts numbers in the place of identifiers.
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
