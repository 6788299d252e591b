package softswitch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/tr87proxy/tr87proxy/gate"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

// Switch is the built-in switching function; it implements proxy.Link.
type Switch struct {
	cfg     Config
	devices map[string]*device
	order   []*device // as configured

	// those of order that are looked for at every change
	queues, trunks, parks []*device

	mu            sync.Mutex
	calls         map[string]*call
	monitors      map[string]*monitor // by cross reference
	booked        []*callBack
	freed         []*agent                 // whose calls are over in this change
	patient       map[*connection]struct{} // camp on a device, or are to be answered as soon as it is free
	registrations map[string]*registration // for routeing
	dialogues     map[string]*dialogue
	userData      uacsta.Data // of the request that is being served
	lastCall      uint64
	changes       int    // counts what has an order of its own
	prefix        string // of callIDs: they are not reused after a restart
	pending       []func()
	core          core

	phones  Phones    // nil: none
	touched []*call   // in this change
	changed []*device // whose features changed in it
	voice   []Voice   // of it
	library Library   // nil: no messages
}

var _ proxy.ConnectionKeeper = (*Switch)(nil)

// KeepsConnections implements proxy.ConnectionKeeper: every service finds its connections by
// callID and device together ([Switch.find]).
func (*Switch) KeepsConnections() {}

// New makes a switch. It serves once Run is called.
func New(cfg Config) (*Switch, error) {
	cfg.setDefaults()
	s := &Switch{
		cfg: cfg, devices: map[string]*device{}, calls: map[string]*call{}, monitors: map[string]*monitor{},
		patient: map[*connection]struct{}{}, registrations: map[string]*registration{}, dialogues: map[string]*dialogue{}, prefix: newRef()[:4],
	}
	s.core.awaited = map[*awaited]struct{}{}
	return s, s.build()
}

// Has reports whether a number is one of the switch's devices.
func (s *Switch) Has(number string) bool {
	_, ok := s.devices[number] // never changes after New
	return ok
}

// Run implements proxy.Link: the switch is up until ctx ends.
func (s *Switch) Run(ctx context.Context, up proxy.Upcalls) error {
	failed := s.begin(up)
	s.core.outbox.Tell()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-failed:
	}
	s.end()
	return err
}

// stopTimers ends whatever would change something later.
func (s *Switch) stopTimers() {
	for _, d := range s.order {
		d.terminal.Close()
		for _, x := range d.connections {
			x.stopTimers()
		}
		for _, a := range d.agents {
			a.stopTimer()
		}
	}
	for _, r := range s.dialogues {
		r.timer.Stop()
	}
}

// Request implements proxy.Link.
func (s *Switch) Request(req *uacsta.Message, reply func(*uacsta.Message, error)) {
	if slices.Contains(physicalServices, req.Name()) && s.phones != nil {
		s.physical(req, reply)
		return
	}
	s.mu.Lock()
	if s.core.up == nil {
		s.mu.Unlock()
		reply(nil, proxy.Refusal(gate.ErrClosed))
		return
	}
	s.perform(req, func(res *uacsta.Message, err error) { s.core.outbox.Post(func() { reply(res, err) }) })
	s.mu.Unlock()
	s.core.outbox.Tell()
}

// perform carries out a request, and gives its answer before the events. s.mu is held.
func (s *Switch) perform(req *uacsta.Message, answer func(*uacsta.Message, error)) {
	handler := handlers[req.Name()]
	if handler == nil || s.library == nil && speaks(req.Name()) {
		answer(nil, uacsta.Refuse(uacsta.Operation, uacsta.ServiceNotSupported))
		return
	}
	res, err := handler(s, req)
	if err != nil {
		s.pending, s.userData, s.touched, s.changed, s.voice = nil, uacsta.Data{}, nil, nil, nil // a refused request changed nothing
		answer(nil, err)
		return
	}
	answer(res, nil)
	s.flush()
}

// handlers has one entry for each service.
var handlers map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error)

func init() { //nolint:gochecknoinits // the table refers to methods that refer to it
	handlers = map[string]func(*Switch, *uacsta.Message) (*uacsta.Message, error){
		"AlternateCall":               service((*Switch).alternateCall),
		"AnswerCall":                  service((*Switch).answerCall),
		"AssociateData":               service((*Switch).associateData),
		"CallBack":                    service((*Switch).callBack),
		"CallBackNonCallRelated":      service((*Switch).callBackNonCallRelated),
		"CamponCall":                  service((*Switch).camponCall),
		"CancelCallBack":              service((*Switch).cancelCallBack),
		"ChangeMonitorFilter":         service((*Switch).changeMonitorFilter),
		"ClearCall":                   service((*Switch).clearCall),
		"ClearConnection":             service((*Switch).clearConnection),
		"ConferenceCall":              service((*Switch).conferenceCall),
		"ConsultationCall":            service((*Switch).consultationCall),
		"DeflectCall":                 service((*Switch).deflectCall),
		"DirectedPickupCall":          service((*Switch).directedPickupCall),
		"GenerateDigits":              service((*Switch).generateDigits),
		"GetAgentState":               service((*Switch).getAgentState),
		"GetAutoAnswer":               service((*Switch).getAutoAnswer),
		"GetAutoWorkMode":             service((*Switch).getAutoWorkMode),
		"GetCSTAFeatures":             (*Switch).getFeatures,
		"GetCallBack":                 service((*Switch).getCallBack),
		"GetDoNotDisturb":             service((*Switch).getDoNotDisturb),
		"GetForwarding":               service((*Switch).getForwarding),
		"GetLastNumberDialed":         service((*Switch).getLastNumberDialed),
		"GetLogicalDeviceInformation": service((*Switch).getLogicalDeviceInformation),
		"GetMessageWaitingIndicator":  service((*Switch).getMessageWaitingIndicator),
		"GetMonitors":                 service((*Switch).getMonitors),
		"GetSwitchingFunctionCaps":    service((*Switch).getSwitchingFunctionCaps),
		"GetSwitchingFunctionDevices": service((*Switch).getSwitchingFunctionDevices),
		"GroupPickupCall":             service((*Switch).groupPickupCall),
		"HoldCall":                    service((*Switch).holdCall),
		"IntrudeCall":                 service((*Switch).intrudeCall),
		"JoinCall":                    service((*Switch).joinCall),
		"MakeCall":                    service((*Switch).makeCall),
		"MakePredictiveCall":          service((*Switch).makePredictiveCall),
		"MonitorStart":                service((*Switch).monitorStart),
		"MonitorStop":                 service((*Switch).monitorStop),
		"ParkCall":                    service((*Switch).parkCall),
		"PlayMessage":                 service((*Switch).playMessage),
		"ReconnectCall":               service((*Switch).reconnectCall),
		"RecordMessage":               service((*Switch).recordMessage),
		"RequestSystemStatus":         service((*Switch).requestSystemStatus),
		"RetrieveCall":                service((*Switch).retrieveCall),
		"RouteEnd":                    service((*Switch).routeEnd),
		"RouteRegister":               service((*Switch).routeRegister),
		"RouteRegisterCancel":         service((*Switch).routeRegisterCancel),
		"RouteReject":                 service((*Switch).routeReject),
		"RouteSelect":                 service((*Switch).routeSelect),
		"SendUserInformation":         service((*Switch).sendUserInformation),
		"SetAgentState":               service((*Switch).setAgentState),
		"SetAutoAnswer":               service((*Switch).setAutoAnswer),
		"SetAutoWorkMode":             service((*Switch).setAutoWorkMode),
		"SetDoNotDisturb":             service((*Switch).setDoNotDisturb),
		"SetForwarding":               service((*Switch).setForwarding),
		"SetMessageWaitingIndicator":  service((*Switch).setMessageWaitingIndicator),
		"SingleStepConferenceCall":    service((*Switch).singleStepConferenceCall),
		"SingleStepTransferCall":      service((*Switch).singleStepTransferCall),
		"SnapshotCall":                service((*Switch).snapshotCall),
		"SnapshotDevice":              service((*Switch).snapshotDevice),
		"Stop":                        service((*Switch).stop),
		"TransferCall":                service((*Switch).transferCall),
	}
}

// service wraps a handler of a typed request; its answer is a message struct, or
// nil where there is none.
func service[T any](handler func(*Switch, *T) (any, error)) func(*Switch, *uacsta.Message) (*uacsta.Message, error) {
	return func(s *Switch, m *uacsta.Message) (*uacsta.Message, error) {
		req := new(T)
		if err := m.Decode(req); err != nil {
			return nil, err
		}
		if f := reflect.ValueOf(req).Elem().FieldByName("UserData"); f.IsValid() {
			s.userData, _ = f.Interface().(uacsta.Data)
		}
		res, err := handler(s, req)
		if err != nil || res == nil {
			return nil, err
		}
		return uacsta.Encode(res, uacsta.Edition3), nil
	}
}

// do runs a change that no request asked for: a timer, or a phone.
func (s *Switch) do(change func()) {
	defer s.core.outbox.Tell()
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.flush()
}

func newRef() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *Switch) newCallID() string {
	s.lastCall++
	return fmt.Sprintf("%s_%d", s.prefix, s.lastCall)
}

// Counts returns how many calls and monitors there are.
func (s *Switch) Counts() (calls, monitors int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls), len(s.monitors)
}
