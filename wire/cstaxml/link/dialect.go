package link

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect says how one make of switching function differs from the others.
type Dialect struct {
	Port, TLSPort string           // of addresses without a port
	Edition       uacsta.Edition   // of ECMA-323 to speak
	Version       string           // protocol version in StartApplicationSession; "": the namespace of the edition
	Session       bool             // requires an application session, even without a login
	Login         uacsta.LoginForm // of the login in StartApplicationSession
	Duration      time.Duration    // of the application session to request
	Register      bool             // sends SystemStatus only after SystemRegister
	CallMonitors  bool             // reports the calls of a device on a monitor of the type call
	DeviceIDs     bool             // identifies devices by identifiers that GetDeviceId returns
	Bracketed     *regexp.Regexp   // matches a device identifier with a number within it, its first group
	Types         []typeOfNumber   // attributes of devices; the first that matches applies
}

// typeOfNumber is a typeOfNumber attribute that a device identifier needs.
type typeOfNumber struct {
	path   string // of the device in the request
	device *regexp.Regexp
	value  string
}

var (
	anyDevice = regexp.MustCompile(``)
	anyNumber = regexp.MustCompile(`^\+?[0-9*#]+$`)
	named     = regexp.MustCompile(`^0[12].`) // a trunk or a queue: 0120 and 02sales are the names 20 and sales
)

// dialects are the known dialects, by their name in the configuration.
var dialects = map[string]Dialect{
	"plain":  {Port: "8882", TLSPort: "8883", Edition: uacsta.Edition3, Login: uacsta.LoginPlain, Duration: 10 * time.Minute},
	"mx-one": {Port: "8882", TLSPort: "8883", Edition: uacsta.Edition3, Login: uacsta.LoginAvaya, Duration: 10 * time.Minute},
	"openscape": {
		Port: "1040", TLSPort: "1040", Edition: 4, Login: uacsta.LoginPlain, Duration: 10 * time.Minute, Register: true,
		Bracketed: regexp.MustCompile(`^N<(\+?[0-9]+)>`),
		Types: []typeOfNumber{
			{"monitorObject/deviceObject", anyNumber, "dialingNumber"},
			{"callingDevice", anyNumber, "explicitPublic:subscriber"},
		},
	},
	"freeswitch": {
		Port: "3000", TLSPort: "3000", Edition: uacsta.Edition3, Login: uacsta.LoginPlain, Duration: 10 * time.Minute,
		Types: []typeOfNumber{
			{"monitorObject/deviceObject", named, "deviceNumber"}, {"monitorObject/deviceObject", anyDevice, "dialingNumber"},
			{"snapshotObject", named, "deviceNumber"}, {"snapshotObject", anyDevice, "dialingNumber"},
		},
	},
	"dmcc": {
		Port: "4721", TLSPort: "4722", Edition: uacsta.Edition3, Version: uacsta.NamespaceED3 + "/priv5", Session: true, Login: uacsta.LoginAvaya,
		Duration: 3 * time.Minute, CallMonitors: true, DeviceIDs: true,
	},
}

// DialectNames returns the names of the dialects, sorted.
func DialectNames() []string {
	names := make([]string, 0, len(dialects))
	for name := range dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DialectOf returns the dialect with a name; false if there is none.
func DialectOf(name string) (Dialect, bool) {
	d, known := dialects[name]
	return d, known
}

// write brings a request, whose devices are numbers, into the dialect.
func (d *Dialect) write(req *uacsta.Message) {
	if d.CallMonitors && req.Name() == uacsta.NameMonitorStart {
		req.Default("monitorType", string(uacsta.MonitorCall))
	}
	for _, device := range req.Devices() {
		for _, t := range d.Types {
			if device.Path() == t.path && t.device.MatchString(device.ID()) {
				device.SetType(t.value)
				break
			}
		}
	}
}

// typedDevices are the identifiers of devices that the core names with a typeOfNumber. The core gets back what it names: to
// it, a device number is another device than a number with the same digits.
type typedDevices struct {
	mu  sync.Mutex
	ids map[string]bool
}

const maxTypedDevices = 10000 // the core names no more devices of a link in its monitors

// learn takes the devices that a request of the core acts on; those of connections come from what it got. Others, which any
// client may name, do not count.
func (t *typedDevices) learn(req *uacsta.Message) {
	service := uacsta.ServiceOf(req.Name())
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, device := range req.Devices() {
		switch id := device.ID(); {
		case device.InConnection || service.Role(device.Path()) != uacsta.Subject:
		case device.Type() == "":
			delete(t.ids, id)
		case len(t.ids) < maxTypedDevices:
			if t.ids == nil {
				t.ids = map[string]bool{}
			}
			t.ids[strings.Clone(id)] = true // the original would keep its whole message in memory
		}
	}
}

func (t *typedDevices) has(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ids[id]
}

// read turns the devices of a message of the switching function into plain numbers: a type that write would give the
// device says no more than its number. Devices that the core names with their type keep it.
func (d *Dialect) read(m *uacsta.Message, typed *typedDevices) {
	if d.Bracketed == nil && d.Types == nil {
		return
	}
	for _, device := range m.Devices() {
		if d.Bracketed != nil {
			if number := d.Bracketed.FindStringSubmatch(device.ID()); number != nil {
				device.SetID(number[1])
			}
		}
		given := func(t typeOfNumber) bool { return t.value == device.Type() && t.device.MatchString(device.ID()) }
		if slices.ContainsFunc(d.Types, given) && !typed.has(device.ID()) {
			device.Set(device.ID(), "")
		}
	}
}
