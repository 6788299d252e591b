package cstaxml

import (
	"regexp"
	"slices"
	"time"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Dialect is what one kind of switching function wants to be told otherwise than the
// others. Everything else is the same for all.
type Dialect struct {
	Port, TLSPort string         // of addresses without one
	Edition       uacsta.Edition // of ECMA-323, that it is written to in
	Version       string         // its name in StartApplicationSession; "" for the edition's namespace
	Session       bool           // wants an application session, login or not
	Login         uacsta.LoginForm
	Duration      time.Duration  // of the application session, asked for
	Register      bool           // tells its status only to who has sent SystemRegister
	CallMonitors  bool           // tells of a device's calls on a monitor of the type call
	DeviceIDs     bool           // knows devices by identifiers that it gives out (GetDeviceId)
	Bracketed     *regexp.Regexp // how it writes a number among other things; its first group is the number
	Types         []typeOfNumber // the first that fits counts
}

// typeOfNumber is an attribute that a device identifier wants.
type typeOfNumber struct {
	path   string // where the device stands
	device *regexp.Regexp
	value  string
}

var (
	anyDevice = regexp.MustCompile(``)
	anyNumber = regexp.MustCompile(`^\+?[0-9*#]+$`)
	named     = regexp.MustCompile(`^0[12].*[^0-9]`)
)

// dialects are those that are known, by the name in the configuration.
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

// DialectNames lists the dialects.
func DialectNames() []string {
	names := make([]string, 0, len(dialects))
	for name := range dialects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// DialectOf returns a dialect by its name; false when it is not known.
func DialectOf(name string) (Dialect, bool) {
	d, known := dialects[name]
	return d, known
}

// write brings a request, whose devices are numbers, into the dialect.
func (d *Dialect) write(req *uacsta.Message) {
	if d.CallMonitors && req.Name() == uacsta.NameMonitorStart {
		req.SetMonitorType(uacsta.MonitorCall)
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

// read brings the devices of what the switching function sent into plain numbers.
func (d *Dialect) read(m *uacsta.Message) {
	if d.Bracketed == nil {
		return
	}
	for _, device := range m.Devices() {
		if number := d.Bracketed.FindStringSubmatch(device.ID()); number != nil {
			device.SetID(number[1])
		}
	}
}
