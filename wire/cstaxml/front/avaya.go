package front

import (
	"errors"
	"regexp"
	"strings"
	"sync"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

const namespaceAvaya = "http://www.avaya.com/csta"

// avaya is what the clients of Avaya's DMCC say beyond the standard. They name a device by an identifier that they ask for:
// number, name and address of the switch, and instance, with colons between.
type avaya struct {
	of       *association
	sessions *resumable

	mu    sync.Mutex
	rest  string            // of identifiers of devices that the client has not named; "": it has named none, and numbers do
	named map[string]string // identifiers that the client uses, by number

	record       *record           // of the application session; nil: there is none
	inner, outer map[string]string // references of resumed monitors: the core's by the client's, the client's by the core's
}

const maxNamed = 10000 // devices of one client

func newAvaya(s *Server, a *association) vocabulary {
	return &avaya{of: a, sessions: s.resumable, named: map[string]string{}}
}

var (
	avayaDevice = regexp.MustCompile(`^([^:<>]{1,64})(:[^:]{0,64}:[^:]{0,64}:[0-9]{1,3})$`)
	plainNumber = regexp.MustCompile(`^\+?[0-9*#]+$`)
)

// number returns the number of a device identifier, and learns how the client writes it. What is no identifier stays as it is.
func (v *avaya) number(id string) string {
	parts := avayaDevice.FindStringSubmatch(id)
	if parts == nil {
		return id
	}
	number := strings.Clone(parts[1]) // a substring would keep its whole message in memory
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rest == "" {
		v.rest = strings.Clone(parts[2])
	}
	if _, known := v.named[number]; known || len(v.named) < maxNamed {
		v.named[number] = strings.Clone(id)
	}
	return number
}

// identifier returns the identifier of a device for the client.
func (v *avaya) identifier(number string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if id := v.named[number]; id != "" {
		return id
	}
	if plainNumber.MatchString(number) {
		return number + v.rest
	}
	return number
}

// ofSession is the reference of the monitor on the session itself. The core's references begin with 1.
const ofSession = "0"

// read implements vocabulary.
func (v *avaya) read(req *uacsta.Message) asked {
	devices := req.Devices()
	for _, d := range devices {
		if number := v.number(d.ID()); number != d.ID() {
			d.Set(number, "")
		}
	}
	name := req.Name()
	switch {
	case name == uacsta.NameStartApplicationSession:
		return v.start(req)
	case name == uacsta.NameStopApplicationSession:
		return asked{req: req, done: v.ended}
	case name == uacsta.NameMonitorStart && len(devices) == 0 && req.Has("monitorObject/deviceObject"):
		return asked{req: req, own: func(answer func(*uacsta.Message, error)) {
			answer(uacsta.Encode(uacsta.MonitorStartResponse{MonitorCrossRefID: ofSession}, uacsta.Edition3), nil)
		}}
	case name == uacsta.NameMonitorStop && req.CrossRef() == ofSession:
		return asked{req: req, own: accepting(req)}
	case name == uacsta.NamePlayMessage:
		if file := req.Text("extensions/privateData/private/PlayMessagePrivateData/fileList"); file != "" {
			req.SetText("messageToBePlayed", strings.Clone(file)) // which says 0 then
		}
	}
	if own := v.own(req); own != nil {
		return asked{req: req, own: own}
	}
	return asked{req: req, done: v.monitor(req)}
}

// own returns what carries out a request that the standard does not have, or nil.
func (v *avaya) own(req *uacsta.Message) ownRequest {
	switch req.Name() {
	case "GetDeviceId", "GetThirdPartyDeviceId":
		return v.deviceID(req)
	case "ReleaseDeviceId":
		return accepting(req)
	case "GetCallLinkageData":
		return v.linkage(req)
	case "TransferMonitorObjects":
		return v.transfer(req)
	case "RegisterTerminalRequest", "UnregisterTerminalRequest":
		return v.terminal(req)
	}
	return nil
}

// ended forgets the session that the client has ended.
func (v *avaya) ended(res *uacsta.Message, respond func()) {
	if res.Name() == uacsta.NameStopApplicationSessionPosResponse {
		v.mu.Lock()
		r := v.record
		v.record = nil
		v.mu.Unlock()
		v.sessions.forget(r)
	}
	respond()
}

// write implements vocabulary.
func (v *avaya) write(m *uacsta.Message) *uacsta.Message {
	v.reference(m)
	for _, d := range m.Devices() {
		if id := v.identifier(d.ID()); id != d.ID() {
			d.Set(id, "other")
		}
	}
	switch calls := m.Connections(); {
	case len(calls) == 0:
	case m.Kind() == uacsta.Event:
		m.Default("callLinkageData/globalCallData/globalCallLinkageID/"+linkage, linkageOf(calls[0].CallID()))
	case m.Name() == uacsta.NameMakeCallResponse: // the standard's has it from edition 6 on
		m = m.WithPrivate("avaya", namespaceAvaya, linkage, linkageOf(calls[0].CallID()))
	}
	return m
}

// linkage is the element with an identifier of a call that is the same in all sessions.
const linkage = "globallyUniqueCallLinkageID"

// linkageOf returns that identifier in Avaya's form: 20 digits.
func linkageOf(callID string) string { return strings.Repeat("0", max(0, 20-len(callID))) + callID }

// accepting carries out a request that changes nothing here.
func accepting(req *uacsta.Message) ownRequest {
	return func(answer func(*uacsta.Message, error)) {
		answer(uacsta.NewMessage(req.Namespace(), req.Name()+"Response"), nil)
	}
}

// refusing refuses a request.
func refusing(why error) ownRequest {
	return func(answer func(*uacsta.Message, error)) { answer(nil, why) }
}

// deviceID answers with the identifier of an extension. It gives no right on the device: that is asked when it is used.
func (v *avaya) deviceID(req *uacsta.Message) ownRequest {
	instance := req.Text("deviceInstance")
	if instance == "" {
		instance = "0"
	}
	id := strings.Join([]string{req.Text("extension"), req.Text("switchName"), req.Text("switchIPInterface"), instance}, ":")
	if !avayaDevice.MatchString(id) {
		return refusing(uacsta.Refuse(uacsta.Operation, uacsta.InvalidDeviceID))
	}
	return func(answer func(*uacsta.Message, error)) {
		v.number(id)
		answer(uacsta.NewMessage(namespaceAvaya, req.Name()+"Response", "device", id), nil)
	}
}

// linkage answers with the identifier of a call, if the client may observe it.
func (v *avaya) linkage(req *uacsta.Message) ownRequest {
	call := uacsta.Conn(strings.Clone(req.Text("call/callID")), v.number(req.Text("call/deviceID")))
	return func(answer func(*uacsta.Message, error)) {
		v.of.session.Request(uacsta.Encode(uacsta.SnapshotCall{SnapshotObject: call}, uacsta.Edition3), func(res *uacsta.Message) {
			if err := refusalOf(res); err != nil {
				answer(nil, err)
				return
			}
			answer(uacsta.NewMessage(namespaceAvaya, "GetCallLinkageDataResponse", linkage, linkageOf(call.CallID)), nil)
		})
	}
}

// The codes in responses to RegisterTerminalRequest and UnregisterTerminalRequest.
const (
	terminalDone    = "1"
	terminalRefused = "2"
)

// terminal registers a client as the terminal of a device that it may observe, or ends that. Calls are controlled without; voice
// does not go to the client.
func (v *avaya) terminal(req *uacsta.Message) ownRequest {
	id := strings.Clone(req.Text("device"))
	name := strings.TrimSuffix(req.Name(), "Request") + "Response"
	device := uacsta.Dev(v.number(id))
	return func(answer func(*uacsta.Message, error)) {
		v.of.session.Request(uacsta.Encode(uacsta.SnapshotDevice{SnapshotObject: device}, uacsta.Edition3), func(res *uacsta.Message) {
			fields := []string{"device", id, "signalingEncryption", "NONE", "code", terminalDone, "reason", "Normal"}
			if err := refusalOf(res); err != nil {
				fields = []string{"device", id, "code", terminalRefused, "reason", err.Error()}
			}
			answer(uacsta.NewMessage(namespaceAvaya, name, fields...), nil)
		})
	}
}

// refusalOf returns the refusal that a response is, without its detail, which can have names of rules; or nil.
func refusalOf(res *uacsta.Message) error {
	if res == nil {
		return errors.New("no response")
	}
	if refusal := res.Err(); refusal != nil {
		return uacsta.Refuse(refusal.Category, refusal.Value)
	}
	return nil
}
